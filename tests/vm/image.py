"""The machine's disks: a Debian system with its cloud kernel, made from packages, and the image store.

Each is made once and kept by its content's key beside the image store's own cache. Nothing here needs
root: where the caller has none, mmdebstrap works in a user namespace, and the hook that packs the disk
runs in there with it.
"""

import hashlib
import lzma
import os
import shlex
import shutil
import stat
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "rootfs"))
import debian  # noqa: E402
from common import BuildError, progress, run  # noqa: E402

PACKAGES = [
    "linux-image-cloud-amd64", "busybox-static",  # booted, and the initrd's only program
    "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "login", "passwd", "uidmap",
    "cmake",  # ctest
    "apparmor",  # its parser
    "python3", "python3-jsonschema",  # the daemons' clients in tests, a Result against its schema
    "util-linux", "procps", "libcap2-bin", "diffutils", "binutils",
]
# What stands between the kernel and its root file system.
MODULES = ["virtio_pci", "virtio_blk", "virtio_rng", "ext4"]
# Nobody waits for these in a machine that lives for minutes.
UNWANTED = [
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "e2scrub_reap.service", "systemd-timesyncd.service", "systemd-pstore.service", "getty@tty1.service",
    "systemd-update-utmp.service", "ldconfig.service", "systemd-journal-flush.service",
    "apparmor.service",  # a hundred profiles that are nobody's here
    "systemd-binfmt.service", "systemd-udev-settle.service", "modprobe@drm.service",
]
REMEDY = "read the lines above; --fresh builds the machine's disks anew"


def cache():
    """Beside what `jailrun rootfs build` caches: root's for the system, a user's own in its home."""
    if os.geteuid() == 0:
        return Path("/var/lib/jailrun/cache/vm")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "jailrun/vm"


def system_disk(suite, fresh):
    """The folder of `suite`'s disk.ext4, vmlinuz and initrd."""
    key = hashlib.sha256(suite.encode())
    for path in [Path(__file__), HERE / "guest/init"]:
        key.update(path.read_bytes())
    name = f"{suite}-{key.hexdigest()[:16]}"
    return kept(name, f"{suite}-", fresh, lambda folder: build_system(suite, folder))


def store_disk(store):
    """A disk with the image of the store that is current."""
    image = store / "python"
    if not image.exists():
        raise BuildError(f"{store} holds no image", "`jailrun rootfs build` makes one")
    name = f"store-{image.resolve().name}"

    def build(folder):
        progress(f"packing {image.resolve()}")
        # A copy, for mke2fs packs whole trees, and older images of the store are not needed in there.
        tree = folder / "tree"
        tree.mkdir()
        run(["cp", "-a", str(image.resolve()), str(image), str(tree)], remedy=REMEDY)
        pack(tree, folder / "disk.ext4", "1600M")
        shutil.rmtree(tree)

    return kept(name, "store-", False, build)


def kept(name, kind, fresh, build):
    """The cached folder `name`, built if it is not there; older ones of its kind go."""
    folder = cache() / name
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        try:
            build(work)
            os.rename(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        for old in folder.parent.glob(kind + "*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    return folder


def pack(tree, disk, size):
    """A file system without a journal: nobody continues on it after a crash."""
    run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1", "-m", "0",
         "-d", str(tree), str(disk), size], remedy=REMEDY)


def build_system(suite, folder):
    progress(f"unpacking and configuring Debian {suite} with its cloud kernel")
    lines = debian.sources(suite, None)
    hook = shlex.join([sys.executable, str(HERE / "image.py"), str(folder)]) + ' "$1"'
    run(["mmdebstrap", "--variant=minbase", "--format=null", "--quiet",
         "--include=" + ",".join(PACKAGES),
         '--aptopt=APT::Sandbox::User "root"',
         '--aptopt=APT::Install-Recommends "false"',
         '--dpkgopt=force-confold',
         '--dpkgopt=path-exclude=/usr/share/man/*', '--dpkgopt=path-exclude=/usr/share/locale/*',
         '--dpkgopt=path-exclude=/usr/share/doc/*',
         # The kernel's own initrd would take half a minute, and longer to boot than ours.
         '--essential-hook=mkdir -p "$1"/etc/initramfs-tools',
         '--essential-hook=echo update_initramfs=no >"$1"/etc/initramfs-tools/update-initramfs.conf',
         f"--customize-hook={hook}", suite, "/dev/null", *lines],
        remedy=debian.NO_PACKAGES, env={**os.environ, "LC_ALL": "C.UTF-8"})


def finish_system(tree, folder):
    """mmdebstrap's last hook: sets the tree up as the machine and packs it."""
    kernel = max((tree / "boot").glob("vmlinuz-*"))
    shutil.copy(kernel, folder / "vmlinuz")
    (folder / "initrd").write_bytes(initrd(tree, kernel.name.removeprefix("vmlinuz-")))
    systemd = tree / "etc/systemd/system"
    for name in UNWANTED:
        (systemd / name).unlink(missing_ok=True)
        (systemd / name).symlink_to("/dev/null")
    login = systemd / "serial-getty@ttyS0.service.d"
    login.mkdir(parents=True)
    # A session of root's as an operator has it: through PAM and logind, in a scope below user.slice.
    (login / "root.conf").write_text(
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 - linux\n"
        "Restart=no\n")
    (tree / "root/.profile").write_text('[ "$(tty)" = /dev/ttyS0 ] && exec /vm/session\n')
    (tree / "etc/fstab").write_text("")
    (tree / "etc/hostname").write_text("jailrun-vm\n")
    (tree / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for name in ("vm", "var/lib/jailrun/rootfs"):
        (tree / name).mkdir(parents=True)
    for path in [*(tree / "boot").iterdir(), *(tree / "var/cache/apt/archives").glob("*.deb")]:
        if not path.is_dir():
            path.unlink()
    shutil.rmtree(tree / "var/lib/apt/lists", ignore_errors=True)
    # mmdebstrap has mounted /proc, /sys and /dev in there; a bind without them, in its mount namespace.
    bare = folder / "tree"
    bare.mkdir()
    run(["mount", "--bind", str(tree), str(bare)], remedy=REMEDY)
    pack(bare, folder / "disk.ext4", "2G")
    run(["umount", str(bare)], remedy=REMEDY)
    bare.rmdir()


def initrd(tree, version):
    """An archive with busybox, the modules and guest/init, in the kernel's cpio format."""
    modules = tree / "lib/modules" / version
    needs = dict(line.split(":", 1) for line in (modules / "modules.dep").read_text().splitlines())
    by_name = {Path(path).name.split(".ko")[0].replace("-", "_"): path for path in needs}
    order = []
    for name in MODULES:
        if name in by_name:  # else it is built in
            for path in [*reversed(needs[by_name[name]].split()), by_name[name]]:
                if path not in order:
                    order.append(path)
    archive = bytearray()
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        add(archive, name, stat.S_IFDIR | 0o755, b"")
    for number, path in enumerate(order):
        data = (modules / path).read_bytes()
        if path.endswith(".xz"):
            data = lzma.decompress(data)
        add(archive, f"modules/{number:02}.ko", stat.S_IFREG | 0o644, data)
    add(archive, "bin/busybox", stat.S_IFREG | 0o755, (tree / "bin/busybox").read_bytes())
    add(archive, "bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    add(archive, "init", stat.S_IFREG | 0o755, (HERE / "guest/init").read_bytes())
    add(archive, "TRAILER!!!", 0, b"")
    return bytes(archive)


def add(archive, name, mode, data):
    """One entry of the "newc" format: thirteen numbers in hex, the name, the data, each padded to four."""
    fields = [len(archive), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    archive += b"\0" * (-len(archive) % 4) + data
    archive += b"\0" * (-len(archive) % 4)


if __name__ == "__main__":
    finish_system(folder=Path(sys.argv[1]), tree=Path(sys.argv[2]))
