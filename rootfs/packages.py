#!/usr/bin/env python3
"""Prepares a package layer: the wheels of one lock, unpacked, compiled, published. `jailrun packages` runs
this and holds the store's lock. Standard library of Python 3.11 only.

    packages.py add --recipe DIR --lock FILE --image GENERATION --store DIR --cache DIR
    packages.py digest --tree DIR

GENERATION is the directory of one image in its store. STORE gets layers/DIGEST/{tree/NAME, layer.json} and the
link GENERATION/NAME, NAME being the lock's. Prints a line of JSON last: {"digest": …}, or {"error": …,
"remedy": …}. Expects to be root of its own mount namespace. No code of a wheel runs: wheels have no build
scripts, and byte code is compiled, not executed.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build
import wheels
from common import BuildError, progress, run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("add", "digest"))
    for name in ("recipe", "lock", "image", "store", "cache", "tree"):
        parser.add_argument(f"--{name}", type=Path)
    args = parser.parse_args()
    os.umask(0o022)
    try:
        told = {"digest": digest(args.tree)} if args.verb == "digest" else add(args)
    except BuildError as error:
        told = {"error": error.message, "remedy": error.remedy}
    print(json.dumps(told), flush=True)
    sys.exit(1 if "error" in told else 0)


def add(args):
    recipe = tomllib.loads((args.recipe / "recipe.toml").read_text())
    name = args.lock.stem
    image = args.image / "tree"
    check_image(args.lock, name, image, recipe["wheels"]["site"])
    check_neighbours(args.lock, name)
    layers = args.store / "layers"
    layers.mkdir(parents=True, exist_ok=True)
    for left in layers.glob(".making-*"):  # of one that was killed; the lock is ours
        shutil.rmtree(left)
    making = layers / f".making-{os.getpid()}"
    (making / "tree" / name).mkdir(parents=True)
    try:
        files = wheels.download(recipe["wheels"], args.lock, args.cache / "packages" / name)
        unpacked = [wheels.unpack(path, making / "tree" / name, ".") for path in files]
        progress(f"{name}: unpacked {len(files)} wheels")
        compile_all(image, making / "tree", name)
        build.seal(making / "tree", recipe["tree"]["source_date_epoch"])
        called = digest(making / "tree")
        size = sum(path.lstat().st_size for path in making.rglob("*") if path.is_file())
        told = {"digest": called, "name": name, "bytes": size, "wheels": unpacked}
        (making / "layer.json").write_text(json.dumps(told))
        if not (layers / called).exists():
            run(["sync", "--file-system", str(making)], remedy="check the disk")
            making.rename(layers / called)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    names = args.store / args.image.name
    names.mkdir(exist_ok=True)
    link = names / f".{name}"
    link.unlink(missing_ok=True)
    link.symlink_to(f"../layers/{called}")
    link.rename(names / name)
    return told


def check_neighbours(lock, name):
    """Layers are seen side by side, so whatever two of them bring is of one version."""
    own = wheels.locked(lock)
    for other in sorted(lock.parent.glob("*.lock")):
        for member, (version, _) in wheels.locked(other).items():
            if own.get(member, (version,))[0] != version:
                raise BuildError(f"package {name} conflicts with {other.stem}: {member} {own[member][0]} "
                                 f"against {version}",
                                 "make both locks anew with rootfs/maintain/lock_packages.py")


def check_image(lock, name, image, site):
    """The image has exactly the versions that the layer was resolved with, and none of what it brings."""
    have = {}
    for info in (image / site).glob("*.dist-info"):
        member, _, version = info.name.removesuffix(".dist-info").rpartition("-")
        have[wheels.normalize(member)] = version
    for member, version in re.findall(r"^# image: (\S+)==(\S+)$", lock.read_text(), re.MULTILINE):
        there = have.get(member, "none")
        if there != version:
            raise BuildError(f"package {name} conflicts with the image: it was locked with {member} {version}, "
                             f"the image has {there}",
                             f"make the lock anew: python3 rootfs/maintain/lock_packages.py {name}")
    for member, (version, _) in wheels.locked(lock).items():
        if have.get(member, version) != version:
            raise BuildError(f"package {name} conflicts with the image: it brings {member} {version}, the "
                             f"image has {have[member]}",
                             f"make the lock anew: python3 rootfs/maintain/lock_packages.py {name}")


def compile_all(image, into, name):
    """Byte code as the image's Python has it, for the place at which a jail will see it."""
    place = image / "packages"
    run(["mount", "--bind", str(into), str(place)], remedy="preparing a layer needs the right to mount")
    try:
        modules = sorted(f"/packages/{path.relative_to(into)}" for path in (into / name).rglob("*.py"))
        code = ("import sys, py_compile\nmode = py_compile.PycInvalidationMode.UNCHECKED_HASH\n"
                "for path in sys.stdin.read().splitlines():\n"
                "    try: py_compile.compile(path, doraise=True, quiet=2, invalidation_mode=mode)\n"
                "    except Exception: pass\n")

        def work(part):
            return build.inside(image, ["/usr/bin/python3", "-I", "-S", "-W", "ignore", "-c", code],
                                root=True, input="\n".join(part).encode())

        with ThreadPoolExecutor(2) as workers:
            list(workers.map(work, (modules[0::2], modules[1::2])))
        progress(f"compiled {len(modules)} modules")
    finally:
        run(["umount", str(place)], remedy="unmount it by hand")


def digest(tree):
    """SHA-256 over names, modes and contents: what a layer is called by."""
    total = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        line = f"{path.relative_to(tree)}\0{status.st_mode:o}\0{hashlib.sha256(content).hexdigest()}\n"
        total.update(line.encode("utf-8", "surrogateescape"))
    return total.hexdigest()


if __name__ == "__main__":
    main()
