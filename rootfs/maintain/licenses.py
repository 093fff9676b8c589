#!/usr/bin/env python3
"""Writes LICENSES.md, the licences of everything in the image, from the manifest of a built one.

    python3 rootfs/maintain/licenses.py STATE/rootfs/python/manifest.json

STATE is /var/lib/jailrun for root and ~/.local/share/jailrun for others.
"""

import json
import sys
from pathlib import Path

HEAD = """# Licences of what is in the image

Made by `python3 rootfs/maintain/licenses.py STATE/rootfs/python/manifest.json`; do not edit. The image is
built on the machine that uses it, and nothing of it is part of this project's source. The full texts are in
the image: `/usr/share/doc/PACKAGE/copyright` for Debian's packages, the `.dist-info` directories below
`/usr/local/lib/python3.13/dist-packages` for wheels. Versions of Debian's packages are those of the day of
the build; wheels are locked.
"""


def table(title, packages):
    rows = [f"\n## {title}\n", "| package | version | licence |", "|---|---|---|"]
    for package in sorted(packages, key=lambda p: p["name"].lower()):
        licence = package["license"].replace("|", "/")
        rows.append(f"| {package['name']} | {package['version']} | {licence} |")
    return "\n".join(rows) + "\n"


def main(manifest):
    packages = json.loads(Path(manifest).read_text())["packages"]
    text = HEAD
    for title, origin in (("Wheels", "wheel"), ("Debian packages", "debian")):
        text += table(title, [p for p in packages if p["origin"] == origin])
    (Path(__file__).resolve().parent.parent / "LICENSES.md").write_text(text)


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
