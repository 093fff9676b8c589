"""What warm_bench compares with: the image's Python, unconfined, with pandas and matplotlib imported.

Commands on stdin, one a line, each answered by one line:
    fork       os.fork(), first byte, exit, wait: nanoseconds to the first byte, of the cycle, of CPU
    storm N    N such children, eight at a time: nanoseconds, nanoseconds of CPU
    park       a child that has run such code already and waits on descriptor 3; says "parked"
    reap       waits for that child
"""

import gc
import os
import resource
import struct
import sys
import time

import matplotlib  # noqa: F401
import pandas  # noqa: F401

LIVE_AT_ONCE = 8


def cpu_ns():
    total = 0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += int((usage.ru_utime + usage.ru_stime) * 1e9)
    return total


def fork():
    ours, theirs = os.pipe()
    cpu, start = cpu_ns(), time.monotonic_ns()
    pid = os.fork()
    if pid == 0:
        os.write(theirs, struct.pack("q", time.monotonic_ns()))
        os._exit(0)
    os.waitpid(pid, 0)
    end = time.monotonic_ns()
    (first,) = struct.unpack("q", os.read(ours, 8))
    os.close(ours)
    os.close(theirs)
    print(first - start, end - start, cpu_ns() - cpu, flush=True)


def storm(count):
    cpu, start, live = cpu_ns(), time.monotonic_ns(), 0
    for _ in range(count):
        if live == LIVE_AT_ONCE:
            os.wait()
            live -= 1
        if os.fork() == 0:
            os._exit(0)
        live += 1
    while live:
        os.wait()
        live -= 1
    print(time.monotonic_ns() - start, cpu_ns() - cpu, flush=True)


def run(script):
    code = compile(script, "/run/script.py", "exec")
    exec(code, {"__name__": "__main__"})


def park():
    """The least that a parked child can be: reads, compiles, runs, ends."""
    pid = os.fork()
    if pid:
        return pid
    for _ in range(20):
        run(b"import time; str(time.monotonic_ns())")
    print("parked", flush=True)
    run(os.read(3, 65536))
    os._exit(0)


def main():
    gc.collect()
    pid = 0
    for line in sys.stdin:
        words = line.split()
        if words[0] == "fork":
            fork()
        elif words[0] == "storm":
            storm(int(words[1]))
        elif words[0] == "park":
            pid = park()
        else:
            os.waitpid(pid, 0)
            print("reaped", flush=True)


main()
