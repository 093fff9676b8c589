"""Looks for canaries, words that nothing else contains, in all that a process can read of itself.

tests/integration/service/canary_test.py sends this into jails with a call of search() at its end, and uses Findings
itself where it looks from outside. The guest is told none of the words that it must not find, so that no search finds
itself; and it tells digests, because the service takes keys out of what it records, and with them a proof that one leaked.
"""

import ctypes
import hashlib
import json
import os
import re
import stat

# A canary, or a key as `jailagent keys add` makes them.
WORD = re.compile(rb"canary-[0-9a-f]{32}|jr_[0-9a-f]{64}")
LONGEST = 80
ENDLESS = 1 << 62


class Findings:
    def __init__(self):
        self.kinds = {}  # by digest of the word: where it was
        self.seen = {}  # by kind: how many bytes were looked at

    def note(self, kind, data):
        self.seen[kind] = self.seen.get(kind, 0) + len(data)
        for word in WORD.findall(data):
            self.kinds.setdefault(hashlib.sha256(word).hexdigest(), set()).add(kind)

    def all_of(self, kind, read, at=0, end=ENDLESS):
        """What read(bytes, offset) gives, to its end; of what has an end given, all pages that can be read."""
        tail = b""
        while at < end:
            try:
                part = read(min(1 << 20, end - at), at)
            except OSError:
                part = b""
            if part:
                self.note(kind, tail + part)
                at += len(part)
            elif end == ENDLESS:
                return
            else:
                at += 4096 - at % 4096
            tail = part[-LONGEST:]

    def file(self, kind, path):
        """Regular files and those of /proc: a stream would lose what is read, a device has no end."""
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return
        try:
            self.all_of(kind, lambda size, at: os.pread(fd, size, at))
        finally:
            os.close(fd)


def spans(maps):
    """Begin and end of what can be read and is not the image's, which nobody writes."""
    for line in maps.splitlines():
        span, rights, *rest = line.split(maxsplit=5)
        is_image = len(rest) == 4 and rest[3].startswith("/usr/") and rights[1] != "w"
        if rights[0] == "r" and not is_image and not line.endswith("[vsyscall]"):
            yield tuple(int(each, 16) for each in span.split("-"))


def look_at_memory(findings):
    """By write(2): /proc/self/mem is closed to a warm guest, and a page that is not there is an error, no signal."""
    write = ctypes.CDLL(None, use_errno=True).write
    write.argtypes, write.restype = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t), ctypes.c_ssize_t
    out, into = os.pipe()
    os.set_blocking(into, False)

    def read(size, at):
        count = write(into, at, min(size, 65536))
        return os.read(out, count) if count > 0 else b""

    with open("/proc/self/maps") as file:
        maps = file.read()
    for begin, end in spans(maps):
        findings.all_of("memory", read, begin, end)
    os.close(out)
    os.close(into)


def search(own):
    """Leaves its own word where each kind of look must find it, and says all that was found."""
    with open("/work/mine", "w") as file:
        file.write(own)
    held = os.memfd_create("held")
    os.write(held, own.encode())
    findings = Findings()
    look_at_memory(findings)
    findings.note("environ", "\n".join(os.environ.values()).encode())
    findings.file("environ", "/proc/self/environ")
    for directory, names, files in os.walk("/"):
        if directory == "/":
            names.remove("usr")
        for name in files:
            path = os.path.join(directory, name)
            findings.note("name", os.fsencode(path))
            if name not in ("mem", "pagemap"):  # seen as memory; the other is as long as the address space
                findings.file("file", path)
    for fd in os.listdir("/proc/self/fd"):
        findings.file("descriptor", "/proc/self/fd/" + fd)
    os.close(held)
    print(json.dumps({"kinds": {word: sorted(kinds) for word, kinds in findings.kinds.items()}, "seen": findings.seen}))
