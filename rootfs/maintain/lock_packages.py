#!/usr/bin/env python3
"""Writes policies/packages/NAME.lock for approved packages that come as layers: every wheel that NAME needs
beyond the image, its version, its digest.

    python3 rootfs/maintain/lock_packages.py [NAME…]        all that approved.txt calls `layer`

pip resolves as maintain/lock.py does, under the image's versions as constraints: what cannot live with them is
said here and gets no lock. Versions of the image that a layer relies on stand in its lock as `# image:` lines.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOTFS = Path(__file__).resolve().parent.parent
PACKAGES = ROOTFS.parent / "policies/packages"
sys.path.insert(0, str(ROOTFS))

import wheels


def resolve(name, recipe, constraints, folder):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
               "--only-binary=:all:", "--implementation=cp", f"--python-version={recipe['python']}",
               f"--constraint={constraints}", f"--target={folder}/none", f"--report={folder}/report.json", name]
    command += [f"--abi={abi}" for abi in recipe["abis"]]
    command += [f"--platform={platform}" for platform in recipe["platforms"]]
    environment = {**os.environ, "PIP_FIND_LINKS": ""}
    if subprocess.run(command, env=environment).returncode != 0:
        return None
    return json.loads(Path(folder, "report.json").read_text())["install"]


def main():
    recipe = tomllib.loads((ROOTFS / "recipe.toml").read_text())["wheels"]
    image = wheels.locked(ROOTFS / "requirements.lock")
    lines = [line.split() for line in (PACKAGES / "approved.txt").read_text().splitlines()]
    names = [words[0] for words in lines if words[0] != "#" and words[1] == "layer"]
    failed = []
    for name in sys.argv[1:] or names:
        with tempfile.TemporaryDirectory() as folder:
            constraints = Path(folder) / "constraints.txt"
            constraints.write_text("".join(f"{n}=={v}\n" for n, (v, _) in image.items()))
            found = resolve(name, recipe, constraints, folder)
        if found is None:
            failed.append(name)
            continue
        lock, relies = [], []
        for wheel in sorted(found, key=lambda w: w["metadata"]["name"].lower()):
            member, version = wheel["metadata"]["name"].lower(), wheel["metadata"]["version"]
            if wheels.normalize(member) in image:
                relies.append(f"# image: {wheels.normalize(member)}=={version}\n")
                continue
            digest = wheel["download_info"]["archive_info"]["hashes"]["sha256"]
            lock.append(f"{member}=={version} \\\n    --hash=sha256:{digest}\n")
        head = "# Made by maintain/lock_packages.py; do not edit.\n"
        (PACKAGES / f"{name}.lock").write_text(head + "".join(relies) + "".join(lock))
        print(f"{name}: {len(lock)} wheels, {len(relies)} of the image")
    if failed:
        sys.exit(f"cannot be resolved with the image's versions: {', '.join(failed)}")


main()
