"""The Debian part of the image: packages unpacked by mmdebstrap, then what is not wanted taken out."""

import glob
import os
import re
import shlex
import shutil
from pathlib import Path

from common import progress, run

NO_PACKAGES = "check that the Debian mirror can be reached, or name another with --mirror URL"


def host_sources():
    """(uri, suite) of every binary entry in the host's apt sources, one-line and deb822 style."""
    found = []
    for path in sorted(glob.glob("/etc/apt/sources.list") + glob.glob("/etc/apt/sources.list.d/*.list")):
        for line in Path(path).read_text(errors="replace").splitlines():
            match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b", line.strip())
            if match:
                found.append((match[1], match[2]))
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", Path(path).read_text(errors="replace")):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.M))
            if "deb" not in fields.get("Types", "").split() or fields.get("Enabled") == "no":
                continue
            if "main" in fields.get("Components", "").split():
                found += [(u, s) for u in fields["URIs"].split() for s in fields["Suites"].split()]
    return found


def sources(suite, mirror):
    """The lines of apt sources to build from: --mirror's, the host's own mirror if the host is Debian,
    else none, which means mmdebstrap's default."""
    if mirror:
        return [f"deb {mirror} {suite} main"]
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    if release.get("ID", "").strip('"') != "debian":
        return []
    codename = release.get("VERSION_CODENAME", "").strip('"')
    lines = []
    for uri, entry in host_sources():
        if uri.startswith(("http:", "https:", "file:")) and entry.startswith(codename):
            lines.append(f"deb {uri} {suite}{entry.removeprefix(codename)} main")
    # Suites such as backports would bring other versions.
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    lines = [line for line in dict.fromkeys(lines) if line.split()[2] in wanted]
    return lines if any(line.split()[2] == suite for line in lines) else []


def unpack(recipe, tree, cache, mirror):
    """Unpacks the recipe's packages into `tree`; gives [{name, version, license_file}]."""
    lines = sources(recipe["suite"], mirror)
    origin = "the given mirror" if mirror else "the host's mirror" if lines else "mmdebstrap's default mirror"
    progress(f"unpacking Debian {recipe['suite']} packages from {origin}")
    debs = cache / "debs"
    fresh = cache / "debs.new"  # what this build used: the cache never grows old versions
    for folder in (debs, fresh):
        folder.mkdir(parents=True, exist_ok=True)
    quoted = {name: shlex.quote(str(path)) for name, path in {"debs": debs, "fresh": fresh}.items()}
    command = [
        "mmdebstrap", "--variant=extract", "--mode=root", "--quiet",
        "--include=" + ",".join(recipe["packages"]),
        "--aptopt=APT::Sandbox::User \"root\"",
        "--skip=chroot/mount",  # nothing runs in the tree; a plain user could not mount devpts
        "--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives",
        f"--setup-hook=cp -t \"$1\"/var/cache/apt/archives/ {quoted['debs']}/*.deb 2>/dev/null || true",
        f"--extract-hook=cp -t {quoted['fresh']} \"$1\"/var/cache/apt/archives/*.deb",
        recipe["suite"], str(tree), *lines,
    ]
    run(command, remedy=NO_PACKAGES, env={**os.environ, "LC_ALL": "C.UTF-8"})
    packages = remove_unwanted(recipe["unwanted"], tree, newest(fresh))
    return packages


def newest(fresh):
    """{name: deb} of the packages that apt chose, the versions it chose."""
    return {deb.name.split("_")[0]: deb for deb in sorted(fresh.glob("*.deb"))}


def remove_unwanted(unwanted, tree, debs):
    """Deletes the files of packages that only came along, as their archives list them."""
    packages = []
    for name, deb in debs.items():
        version = deb.name.split("_")[1].replace("%3a", ":")
        if name not in unwanted:
            packages.append({"name": name, "version": version})
            continue
        listing = run(["dpkg-deb", "--contents", str(deb)], remedy="empty the cache and build again")
        for line in listing.decode().splitlines():
            path = tree / line.split(maxsplit=5)[5].split(" -> ")[0].split(" link to ")[0]
            if path.is_symlink() or path.is_file():
                path.unlink()
    return packages


def keep_cache(cache):
    """Makes what this build used the cache of the next."""
    if (cache / "debs.new").exists():
        shutil.rmtree(cache / "debs", ignore_errors=True)
        (cache / "debs.new").rename(cache / "debs")


def licences(tree, packages):
    """Adds to each package the licences that its machine-readable copyright file names."""
    for package in packages:
        path = tree / "usr/share/doc" / package["name"] / "copyright"
        text = path.read_text(errors="replace") if path.exists() else ""
        names = dict.fromkeys(re.findall(r"^License:[ \t]*(\S.*)$", text, re.M))
        if not names:
            names = dict.fromkeys(re.findall(r"/usr/share/common-licenses/([A-Za-z]+-?[\d.]*\d)", text))
        package["license"] = ", ".join(names) or "see its copyright file"
