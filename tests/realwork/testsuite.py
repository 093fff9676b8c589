"""The standard library's own tests: Debian's package of them, of the image's very version, as one
archive.
"""

import os
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "rootfs"))
import debian  # noqa: E402

PACKAGE, SUITE, TESTS = "libpython3.13-testsuite", "trixie", "usr/lib/python3.13/test"
CACHE = "/var/cache/jailrun-realwork"

# What makes sense in a jail. Left out: what takes minutes (test_asyncio, test_concurrent_futures,
# test_multiprocessing_*, test_logging), a compiler or a display, and what tests the language alone.
MODULES = [
    "test.test_" + name
    for name in """
array ast base64 bytes bz2 collections copy csv ctypes datetime decimal dict email enum epoll
exceptions fcntl file fileinput float fork1 functools gc glob gzip hashlib io itertools json
locale lzma mailbox mmap operator os pathlib pickle platform poll popen posix pty pwd
queue random re resource select selectors shutil signal socket socketserver sqlite3 statistics
subprocess sys tarfile tempfile thread threading threadsignals time traceback typing uuid wait4
weakref xml_etree zipfile zlib zoneinfo
""".split()
]


def apt(state, program, *words):
    """apt-get with sources, lists and cache of its own: the host's are not looked at."""
    options = {
        "Dir::Etc::sourcelist": f"{state}/sources",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": f"{state}/state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": f"{state}/cache",
        "APT::Sandbox::User": "root",
    }
    command = [
        program,
        "-q",
        *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
        *words,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=state)


def fetch(target):
    """The package's tests at `target`."""
    with tempfile.TemporaryDirectory(prefix="realwork-") as state:
        for place in ("state/lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(state, place))
        lines = debian.sources(SUITE, None)
        if not lines:
            raise SystemExit(f"no apt source of Debian {SUITE} here, which {PACKAGE} comes from")
        with open(os.path.join(state, "sources"), "w") as file:
            file.write("\n".join(lines) + "\n")
        apt(state, "apt-get", "update")
        apt(state, "apt-get", "download", PACKAGE)
        deb = next(os.path.join(state, name) for name in os.listdir(state) if name.endswith(".deb"))
        subprocess.run(["dpkg-deb", "-x", deb, os.path.join(state, "tree")], check=True)
        os.rename(os.path.join(state, "tree", TESTS), target)


def archive(image):
    """The archive with `test`, made where there is none: the image's own part and the package's."""
    made = os.path.join(CACHE, "testsuite.tar")
    if os.path.exists(made):
        return made
    os.makedirs(CACHE, mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        fetch(os.path.join(place, "test"))
        with tarfile.open(os.path.join(place, "made"), "w") as file:
            file.add(os.path.join(image, TESTS), "test", filter=without_bytecode)
            file.add(os.path.join(place, "test"), "test", filter=without_bytecode)
        os.rename(os.path.join(place, "made"), made)
    return made


def without_bytecode(entry):
    return None if "__pycache__" in entry.name else entry
