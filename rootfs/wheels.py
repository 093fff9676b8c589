"""The Python part of the image: hash-locked wheels, unpacked. No code of theirs runs here."""

import base64
import csv
import email.parser
import hashlib
import io
import re
import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

from common import BuildError, progress, run


def locked(lock):
    """{normalized name: (version, {sha256})} of a requirements.lock."""
    found = {}
    for line in Path(lock).read_text().replace("\\\n", " ").splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*$", line)
        if match:
            found[normalize(match[1])] = (match[2], set(re.findall(r"[0-9a-f]{64}", match[3])))
        elif line.strip() and not line.startswith("#"):
            raise BuildError(f"line {line!r} of {lock} is not NAME==VERSION --hash=…",
                             "make the lock anew with maintain/lock.py")
    return found


def normalize(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(recipe, lock, cache):
    """Wheels of the lock, in the lock's order: from the cache where the digest agrees, else by pip."""
    folder = cache / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = locked(lock)
    have = {digest(path): path for path in folder.glob("*.whl")}
    missing = [name for name, (_, hashes) in wanted.items() if not hashes & have.keys()]
    if missing:
        progress(f"downloading {len(missing)} wheels")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps",
                   "--require-hashes", "--only-binary=:all:", "--implementation=cp",
                   f"--python-version={recipe['python']}", f"--dest={folder}", f"--requirement={lock}"]
        command += [f"--abi={abi}" for abi in recipe["abis"]]
        command += [f"--platform={platform}" for platform in recipe["platforms"]]
        run(command, remedy="check that the package index can be reached, then run the same command again")
        have = {digest(path): path for path in folder.glob("*.whl")}
    chosen = []
    for name, (version, hashes) in wanted.items():
        if not hashes & have.keys():
            raise BuildError(f"no wheel of {name} {version} has a locked digest",
                             "make the lock anew with maintain/lock.py")
        chosen.append(have[next(iter(hashes & have.keys()))])
    for path in set(folder.glob("*.whl")) - set(chosen):
        path.unlink()
    return chosen


def unpack(wheel, tree, site):
    """Unpacks one wheel as PEP 427 says; gives its {name, version, license}. Entry points get no script:
    nobody types commands in a jail."""
    with zipfile.ZipFile(wheel) as archive:
        info = next(n.split("/")[0] for n in archive.namelist() if n.split("/")[0].endswith(".dist-info"))
        check_record(archive, wheel, info)
        for entry in archive.infolist():
            target = place(entry.filename, tree, site)
            if target is None or entry.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, open(target, "xb") as out:
                shutil.copyfileobj(source, out)
            # Bit 0o111 of the stored mode is all that is taken over: no setuid bit can come in.
            target.chmod(0o755 if (entry.external_attr >> 16) & 0o111 else 0o644)
        metadata = email.parser.Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    (tree / site / info / "INSTALLER").write_text("jailrun\n")
    return {"name": metadata["Name"], "version": metadata["Version"], "license": license_of(metadata)}


def place(name, tree, site):
    """Where a member of a wheel goes, or None for what is not unpacked."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise BuildError(f"a wheel holds the path {name!r}", "do not use this wheel")
    if len(parts) < 2 or not parts[0].endswith(".data"):
        return tree / site / name
    roots = {"purelib": site, "platlib": site, "data": "usr/local", "scripts": "usr/local/bin"}
    if parts[1] not in roots or len(parts) < 3:  # headers
        return None
    return tree / roots[parts[1]] / Path(*parts[2:])


def check_record(archive, wheel, info):
    """Every member has the digest that the wheel's RECORD says, and no member is unlisted."""
    rows = csv.reader(io.StringIO(archive.read(f"{info}/RECORD").decode()))
    record = {row[0]: row[1] for row in rows if row}
    unlisted = {f"{info}/RECORD", f"{info}/RECORD.jws", f"{info}/RECORD.p7s"}
    for entry in archive.infolist():
        if entry.is_dir() or entry.filename in unlisted:
            continue
        algorithm, _, expected = record.get(entry.filename, "").partition("=")
        actual = None
        if algorithm in ("sha256", "sha384", "sha512"):
            raw = hashlib.new(algorithm, archive.read(entry)).digest()
            actual = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        if actual != expected:
            raise BuildError(f"{entry.filename} in {wheel.name} is not what its RECORD says",
                             "remove the file from the cache and build again")


def license_of(metadata):
    """The licence in a few words, from the newest field that the wheel has."""
    if metadata["License-Expression"]:
        return metadata["License-Expression"]
    classifiers = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", [])
                   if c.startswith("License :: ") and c != "License :: OSI Approved"]
    text = (metadata["License"] or "").strip()
    if text and "\n" not in text and len(text) < 60:
        return text
    return ", ".join(classifiers) or text.split("\n")[0] or "unknown"
