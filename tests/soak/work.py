"""What the soak asks of jails: friendly and hostile work, each with the only answers that are
right.

A run prints the number that it was asked with, and its cube modulo a prime, computed in the jail
by some way of its own: an answer that is another's, or of before, cannot look right.
"""

import json
import re

PRIME = 1_000_000_007
DIGITS = 18  # of a number: as long as no other that jobs print
OK, FAILED, TIME, MEMORY = "ok", "nonzero_exit", "wall_timeout", "out_of_memory"
OUTPUT, DISK, PIDS, SIGNAL, VIOLATION = (
    "output_limit",
    "disk_limit",
    "pids_limit",
    "signalled",
    "policy_violation",
)

HEAD = f"n, p = @NONCE@, {PRIME}\n"
SAY = "print(n, pow(n, 3, p))\n"


class Job:
    """One kind of work. `repeat`: how many lines it prints; 0: the number, then anything."""

    def __init__(self, name, script, verdicts=(OK,), weight=1.0, wall_ms=0, repeat=1):
        self.name, self.script = name, HEAD + script.lstrip("\n")
        self.verdicts, self.weight, self.wall_ms, self.repeat = verdicts, weight, wall_ms, repeat

    def asked_with(self, nonce):
        return self.script.replace("@NONCE@", str(nonce))

    def fault(self, nonce, verdict, out, err=""):
        """None, or (kind, detail): "mixed", "wrong", "ended" (it says itself that it was ended)."""
        seen = (
            f"{self.name} asked with {nonce}: {verdict}, stdout {out[:100]!r}, stderr {err[:300]!r}"
        )
        if any(
            each != str(nonce)
            for each in re.findall(rf"(?<!\d)\d{{{DIGITS}}}(?!\d)", out + " " + err)
        ):
            return "mixed", seen
        line = f"{nonce} {pow(nonce, 3, PRIME)}\n"
        fits = out == line * self.repeat if self.repeat else out.startswith(str(nonce))
        if verdict == TIME and str(nonce).startswith(out):  # a busy host: it had no time to say so
            fits = True
        if verdict in self.verdicts and fits:
            return None
        return ("ended" if verdict in ("cancelled", SIGNAL) else "wrong"), seen


def hostile(name, script, *verdicts, weight=1.0, wall_ms=30_000):
    return Job(name, "print(n)\n" + script, verdicts, weight, wall_ms, repeat=0)


def timed(name, script, weight=1.0):
    """What only its deadline ends."""
    return hostile(name, script, TIME, weight=weight, wall_ms=300)


FRIENDLY = [
    Job("line", SAY, weight=12),
    Job("status", SAY + "raise SystemExit(7)", (FAILED,)),
    Job("error", SAY + "raise ValueError('as asked')", (FAILED,)),
    Job("lines", "for _ in range(5000): print(n, pow(n, 3, p))", repeat=5000),
    Job(
        "numpy",
        """
import numpy as np
a = np.array([n % p] * 3, dtype=object)
print(n, int(np.prod(a)) % p)
""",
        weight=2,
    ),
    Job(
        "pandas",
        """
import pandas as pd
table = pd.DataFrame({"k": ["a", "b", "a"], "v": [n % p, 1, n % p]})
squares = table.groupby("k")["v"].agg(lambda v: int(v.iloc[0]) * int(v.iloc[-1]) % p)
print(n, int(squares["a"]) * (n % p) % p)
""",
        weight=2,
    ),
    Job(
        "sqlite",
        """
import sqlite3
base = sqlite3.connect("/work/base")
base.execute("create table t (v)")
base.executemany("insert into t values (?)", [(n % p,)] * 2)
base.commit()
a, b = (row[0] for row in base.execute("select v from t"))
print(n, a * b % p * (n % p) % p)
""",
    ),
    Job(
        "child",
        """
import os
there, here = os.pipe()
if os.fork() == 0:
    os.write(here, str(pow(n, 3, p)).encode())
    os._exit(0)
os.wait()
print(n, int(os.read(there, 100)))
""",
    ),
    Job(
        "threads",
        """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool: parts = list(pool.map(lambda x: x % p, [n] * 3))
print(n, parts[0] * parts[1] % p * parts[2] % p)
""",
    ),
    Job(
        "files",
        """
for name in ("/work/a", "/tmp/b", "/dev/shm/c"):
    with open(name, "x") as file: file.write(str(n))
read = [int(open(name).read()) for name in ("/work/a", "/tmp/b", "/dev/shm/c")]
print(n, read[0] * read[1] * read[2] % p)
""",
        weight=2,
    ),
]

# Against these the deadline is measured.
DEADLINES = [
    timed("spin", "while True: pass"),
    timed("sleep", "import time\ntime.sleep(1000)"),
    timed(
        "fork-storm",
        """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
    ),
    timed("stop-itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
    timed(
        "deaf",
        """
import os, signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for _ in range(3): os.fork()
while True: pass
""",
    ),
    timed("held-sum", "sum(range(10**15))"),
    timed("held-pow", "pow(7, 10**9)"),
    timed("held-regex", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    timed("held-sort", "import numpy as np\na = np.random.rand(4_000_000)\nwhile True: np.sort(a)"),
    timed(
        "threads-that-spin",
        """
import threading
def spin():
    while True: sum(range(10**6))
for _ in range(20): threading.Thread(target=spin, daemon=True).start()
spin()
""",
    ),
]

# A storm each of whose processes says all the time that it runs: two readings of CLOCK_MONOTONIC, the
# first and the last, in a file that is handed out.
STAMPS = timed(
    "stamps",
    """
import mmap, os, struct, time
file = os.open("/work/stamps", os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 4096)
page = mmap.mmap(file, 4096)
struct.pack_into("q", page, 0, time.monotonic_ns())
while True:
    struct.pack_into("q", page, 8, time.monotonic_ns())
    try: os.fork()
    except OSError: pass
""",
)

HOSTILE = [
    hostile("memory", "x = []\nwhile True: x.append(bytearray(1 << 22))", MEMORY, weight=0.3),
    hostile("flood", "while True: print('x' * 8000)", OUTPUT),
    hostile(
        "work-full",
        """
with open("/tmp/big", "wb") as file:
    while True: file.write(bytes(1 << 20))
""",
        DISK,
        FAILED,
    ),
    hostile("crash", "import ctypes\nctypes.string_at(0)", SIGNAL),
    hostile("red-list", "import ctypes\nctypes.CDLL(None).syscall(155, b'/', b'/')", VIOLATION),
    hostile(
        "daemons",
        """
import os, time
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(3): os.close(fd)
            while True: time.sleep(1000)
        os._exit(0)
""",
        OK,
    ),
    hostile(
        "stopped-children",
        """
import os, signal
for _ in range(4):
    if os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)
""",
        OK,
    ),
    hostile(
        "kill-all",
        """
import os
for pid in list(range(1, 100)) + [-1]:
    try:
        if pid != os.getpid(): os.kill(pid, 9)
    except OSError: pass
print("lived")
""",
        OK,
    ),
    hostile(
        "forged-answers",
        """
import os
for fd in range(3, 64):
    try: os.write(fd, b"jra1" + bytes(52))
    except OSError: pass
""",
        OK,
    ),
    hostile(
        "descriptors",
        """
import os
try:
    while True: os.dup(1)
except OSError: pass
""",
        OK,
    ),
    hostile(
        "inodes",
        """
try:
    for number in range(1 << 20): open(f"/tmp/{number}", "x").close()
except OSError: pass
""",
        OK,
        DISK,
        weight=0.2,
    ),
]

# For `jailrun exec -- /bin/sh -c`.
NATIVE_HEAD = f"n=@NONCE@ p={PRIME} m=$(($n % {PRIME}))\n"
NATIVE_SAY = "echo $n $(($m * $m % $p * $m % $p))\n"


def native(name, script, statuses=(0,), weight=1.0, wall_ms=0, repeat=1):
    job = Job(name, "", [f"status {status}" for status in statuses], weight, wall_ms, repeat)
    job.script = NATIVE_HEAD + script
    return job


NATIVE = [
    native("sh-line", NATIVE_SAY, weight=80),
    native("sh-status", NATIVE_SAY + "exit 7", (7,), weight=5),
    native("sh-killed", NATIVE_SAY + "kill -9 $$", (137,), weight=5),
    native("sh-child", "(" + NATIVE_SAY.strip() + ") & wait", weight=5),
    native("sh-files", NATIVE_SAY.strip() + " >/tmp/a; cat </tmp/a", weight=4),
    native("sh-spin", "echo $n; while :; do :; done", (124,), 0.1, 300, repeat=0),
    # A shell that cannot fork gives up.
    native("sh-storm", "echo $n; f() { f | f & f; }; f", (2, 124), 0.1, 300, repeat=0),
]

ALL = FRIENDLY + DEADLINES + HOSTILE
BY_NAME = {job.name: job for job in ALL}


def mixed(dice):
    """Mostly friendly; what waits for its deadline takes long, so there is less of it."""
    kind = dice.choices((FRIENDLY, DEADLINES, HOSTILE), (90, 3, 7))[0]
    return dice.choices(kind, [job.weight for job in kind])[0]


def write_jobs(path, hostile=6):
    """For soak_worker. `hostile`: in a hundred jobs."""
    write(
        path,
        (FRIENDLY, 100 - hostile),
        (DEADLINES, hostile / 6),
        (HOSTILE, hostile * 5 / 6),
    )


def write_native(path):
    """For soak_worker --exec."""
    write(path, (NATIVE, 100))


def write(path, *groups):
    jobs = [
        {
            "name": job.name,
            "script": job.script,
            "verdicts": list(job.verdicts),
            "repeat": job.repeat,
            "wall_ms": job.wall_ms,
            "weight": part * job.weight / sum(each.weight for each in group),
        }
        for group, part in groups
        for job in group
    ]
    with open(path, "w") as file:
        json.dump(jobs, file)
