#!/usr/bin/env python3
"""Writes requirements.lock from requirements.in: every wheel of the image, its version, its digest.

    python3 rootfs/maintain/lock.py

pip resolves for the image's Python and platforms (recipe.toml), downloads no more than metadata and installs
nothing. It evaluates `python_version` markers with the Python that runs it; the image's own test checks
afterwards that every requirement of every package is met.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOTFS = Path(__file__).resolve().parent.parent


def main():
    recipe = tomllib.loads((ROOTFS / "recipe.toml").read_text())["wheels"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
               "--only-binary=:all:", "--implementation=cp", f"--python-version={recipe['python']}",
               f"--requirement={ROOTFS / 'requirements.in'}"]
    command += [f"--abi={abi}" for abi in recipe["abis"]]
    command += [f"--platform={platform}" for platform in recipe["platforms"]]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # Only the index: a directory of local wheels would lock digests that nobody else can get.
        environment = {**os.environ, "PIP_FIND_LINKS": ""}
        subprocess.run([*command, f"--target={folder}/none", f"--report={report}"], check=True,
                       env=environment)
        wheels = json.loads(report.read_text())["install"]
    lines = ["# Made by maintain/lock.py from requirements.in; do not edit."]
    for wheel in sorted(wheels, key=lambda w: w["metadata"]["name"].lower()):
        name, version = wheel["metadata"]["name"].lower(), wheel["metadata"]["version"]
        digest = wheel["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}")
    (ROOTFS / "requirements.lock").write_text("\n".join(lines) + "\n")
    print(f"requirements.lock: {len(wheels)} wheels")


main()
