#!/usr/bin/env python3
"""Builds the tree of the image: `jailrun rootfs build` runs this and owns everything around it (lock, key,
manifest, rename). Standard library of Python 3.11 only.

    build.py --recipe DIR --tree DIR --cache DIR --report FILE [--mirror URL]

Expects to be root of its own mount namespace, as which the caller starts it: mounts made here vanish with
it, however it ends. TREE must not exist; REPORT gets
{"python": …, "debian": […], "wheel": […]}, or {"error": …, "remedy": …}.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit("jailrun rootfs build: python3 is older than 3.11; use a newer one")

import tomllib

import debian
import wheels
from common import BuildError, progress, run

BROKEN = "this is a fault of the recipe: please report it"
SHARE = "usr/share/jailrun"


def main():
    parser = argparse.ArgumentParser()
    for name in ("recipe", "tree", "cache", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--mirror")
    args = parser.parse_args()
    # A killed build must take its children along, so that nobody writes into a tree being removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    os.umask(0o022)
    try:
        check_tools()
        args.report.write_text(json.dumps(build(args)))
    except BuildError as error:
        args.report.write_text(json.dumps({"error": error.message, "remedy": error.remedy}))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def check_tools():
    """All missing tools at once, with the one command that brings them."""
    packages = {"mmdebstrap": "mmdebstrap", "dpkg-deb": "dpkg", "unshare": "util-linux", "mount": "mount"}
    missing = {tool: package for tool, package in packages.items() if not shutil.which(tool)}
    if importlib.util.find_spec("pip") is None:
        missing["pip for python3"] = "python3-pip"
    if missing:
        raise BuildError(f"{' and '.join(missing)} missing on this machine",
                         f"install: apt install {' '.join(missing.values())}")


def build(args):
    recipe = tomllib.loads((args.recipe / "recipe.toml").read_text())
    tree, site = args.tree, recipe["wheels"]["site"]
    with ThreadPoolExecutor(1) as worker:  # both wait for the network most of the time
        downloads = worker.submit(
            wheels.download, recipe["wheels"], args.recipe / "requirements.lock", args.cache)
        packages = debian.unpack(recipe["debian"], tree, args.cache, args.mirror)
        debian.licences(tree, packages)
        files = downloads.result()
    debian.keep_cache(args.cache)
    prune(recipe["prune"]["paths"], tree, site)

    progress(f"unpacking {len(files)} wheels")
    unpacked = [wheels.unpack(path, tree, site) for path in files]
    for path in sorted((args.recipe / "guest/site").glob("*.py")):
        shutil.copyfile(path, tree / site / path.name)
    furnish(recipe["tree"], tree)

    with workshop(tree):
        bake(args.recipe / "guest/bake", tree)
        patch(recipe["patch"], tree, site)
        prune(recipe["prune"]["paths"], tree, site)
        prune_tests(recipe["prune"], tree, site)
        compile_all(tree, site)
        inside(tree, ["/usr/sbin/ldconfig"], root=True)
        python = inside(tree, ["/usr/bin/python3", "-V"]).decode().split()[1]
    prune(["var/cache", "usr/sbin/ldconfig"], tree, site)
    progress("sealing the tree")
    seal(tree, recipe["tree"]["source_date_epoch"])
    return {"python": python, "debian": packages, "wheel": unpacked}


def prune(patterns, tree, site):
    """Removes what matches; a pattern that matches nothing is fine, Debian moves files between releases."""
    for pattern in patterns:
        for path in tree.glob(pattern.replace("@site", site)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def prune_tests(recipe, tree, site):
    """Removes tests of the packages named, and documentation other than the licences."""
    for package in recipe["tests_of"]:
        for path in sorted((tree / site / package).rglob("tests")):
            if path.is_dir():
                shutil.rmtree(path)
    for path in (tree / "usr/share/doc").glob("*/*"):
        if path.name != recipe["keep_in_doc"]:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def furnish(recipe, tree):
    """Users, names, mount points, bind targets, links."""
    for name in recipe["directories"]:
        shutil.rmtree(tree / name, ignore_errors=True)
    for name in recipe["directories"]:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in recipe["bind_targets"]:
        (tree / name).touch()
    for name, text in recipe["files"].items():
        path = tree / name
        path.unlink(missing_ok=True)
        path.write_text(text.removeprefix("\n"))
    for name, target in recipe["links"].items():
        (tree / name).unlink(missing_ok=True)
        (tree / name).symlink_to(target)
    (tree / SHARE / "datasets").mkdir(parents=True)


@contextlib.contextmanager
def workshop(tree):
    """While it lasts, programs run in the tree have a /tmp and the two devices that Python needs."""
    mounts = []

    def mount(*arguments):
        run(["mount", *arguments], remedy="building an image needs the right to mount")
        mounts.append(arguments[-1])

    try:
        mount("-t", "tmpfs", "tmpfs", str(tree / "tmp"))
        for device in ("null", "urandom"):
            mount("--bind", f"/dev/{device}", str(tree / "dev" / device))
        yield
    finally:
        for target in reversed(mounts):
            run(["umount", target], remedy=BROKEN)


def inside(tree, command, *, root=False, input=None):
    """Runs a program of the tree, rooted in it, without network. Unless `root`, as nobody: code from wheels
    is locked, but not ours."""
    whole_host = Path("/proc/self/uid_map").read_text().split()[2] != "1"
    ids = ["--setuid=65534", "--setgid=65534"] if whole_host and not root else []
    environment = {"PATH": "/usr/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", "MPLBACKEND": "Agg",
                   "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    return run(["unshare", "--net", "--ipc", "--pid", "--fork", "--kill-child", f"--root={tree}", *ids,
                "--", *command], remedy=BROKEN, env={**environment, "PATH": os.environ["PATH"]}, input=input)


def bake(scripts, tree):
    """What is computed once instead of in every jail. Scripts answer on stdout: they can write nothing."""
    (tree / "tmp").chmod(0o1777)  # the tmpfs
    progress("collecting the data sets that packages ship")
    answer = inside(tree, ["/usr/bin/python3", "-"], input=(scripts / "datasets.py").read_bytes())
    sets = json.loads(answer)
    for name, entry in sets.items():
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise BuildError(f"a data set has the name {name!r}", BROKEN)
        (tree / SHARE / "datasets" / f"{name}.csv").write_text(entry["csv"])
    sources = "".join(f"{name}: {entry['from']}\n" for name, entry in sorted(sets.items()))
    (tree / SHARE / "datasets/SOURCES").write_text(sources)
    progress("listing fonts")
    fonts = inside(tree, ["/usr/bin/python3", "-"], input=(scripts / "fonts.py").read_bytes())
    (tree / SHARE / "fontlist.json").write_bytes(fonts)


def patch(patches, tree, site):
    """The recipe's changes to installed packages; each must fit exactly once."""
    for change in patches:
        path = tree / change["file"].replace("@site", site)
        text = path.read_text()
        if "find" in change:
            if text.count(change["find"]) != 1:
                raise BuildError(f"the patch of {change['file']} does not fit any more", BROKEN)
            text = text.replace(change["find"], change["replace"])
        path.write_text(text + change.get("append", ""))


def compile_all(tree, site):
    """Byte code for every module, never checked against its source: the image cannot change, and a guest
    could not write a newer one. Two processes, as the modules have no order."""
    progress("compiling modules")
    roots = ["usr/lib/python3.13", "usr/lib/python3", site]
    modules = sorted(f"/{path.relative_to(tree)}" for root in roots for path in (tree / root).rglob("*.py"))
    for path in [p for root in roots for p in (tree / root).rglob("__pycache__")]:
        shutil.rmtree(path)

    def work(part):
        # Some wheels carry templates with .py names that are no Python: their errors are not ours.
        code = ("import sys, py_compile\nmode = py_compile.PycInvalidationMode.UNCHECKED_HASH\n"
                "for path in sys.stdin.read().splitlines():\n"
                "    try: py_compile.compile(path, doraise=True, quiet=2, invalidation_mode=mode)\n"
                "    except Exception: print(path)\n")
        lines = "\n".join(part).encode()
        return inside(tree, ["/usr/bin/python3", "-I", "-S", "-W", "ignore", "-c", code],
                      root=True, input=lines)

    with ThreadPoolExecutor(2) as workers:
        failed = b"".join(workers.map(work, (modules[0::2], modules[1::2]))).decode().split()
    progress(f"compiled {len(modules) - len(failed)} modules" + (f", not {', '.join(failed)}" if failed else ""))


def seal(tree, epoch):
    """Owner root, nobody else may write, no setuid or setgid bit, one time stamp. Refuses devices."""
    for folder, names, files in os.walk(tree, topdown=False):
        for path in [os.path.join(folder, name) for name in names + files] + [folder]:
            mode = os.lstat(path).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                os.unlink(path)  # sockets, devices, pipes: the jail mounts the devices it has
                continue
            os.lchown(path, 0, 0)
            if not stat.S_ISLNK(mode):
                executable = stat.S_ISDIR(mode) or mode & 0o111
                os.chmod(path, 0o755 if executable else 0o644)
            os.utime(path, (epoch, epoch), follow_symlinks=False)


if __name__ == "__main__":
    main()
