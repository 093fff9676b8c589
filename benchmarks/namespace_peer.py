"""A rung of benchmarks/ladder: a zygote whose children make their namespaces themselves.

Commands on stdin, one a line, each answered by one line: nanoseconds to the first byte of the
child, of the cycle, of CPU (not the kernel's own threads: they take network namespaces down).
    fork null    namespaces of its own, the network namespace without a way out is this process's
    fork own     the network namespace, too, is made for the child
"""

import ctypes
import gc
import os
import resource
import struct
import sys
import time

import matplotlib  # noqa: F401
import pandas  # noqa: F401

SYS_CLONE3, SYS_MOUNT = 435, 165
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 1 << 14, 1 << 18
HOST_ID = 65534
NAMESPACES = (
    os.CLONE_NEWUSER
    | os.CLONE_NEWPID
    | os.CLONE_NEWNS
    | os.CLONE_NEWIPC
    | os.CLONE_NEWUTS
    | os.CLONE_NEWCGROUP
)
libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL: the lock of the interpreter stays taken
python = ctypes.pythonapi


def cpu_ns():
    total = 0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += int((usage.ru_utime + usage.ru_stime) * 1e9)
    return total


def clone(flags):
    """fork() with flags, as libc and CPython have to know of it."""
    args = (ctypes.c_uint64 * 11)(flags, 0, 0, 0, 17)  # 17: SIGCHLD
    python.PyOS_BeforeFork()
    pid = libc.syscall(SYS_CLONE3, args, ctypes.sizeof(args))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    return pid


def mount(source, target, kind, flags, data=None):
    words = [ctypes.c_char_p(word and word.encode()) for word in (source, target, kind)]
    data = ctypes.c_char_p(data and data.encode())
    if libc.mount(*words, ctypes.c_ulong(flags), data) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def child(mapped, first):
    """What each jail needs, as plainly as it can be made."""
    try:
        os.read(mapped, 1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        for where in ("/tmp", "/work", "/dev/shm"):
            mount("tmpfs", where, "tmpfs", MS_NOSUID | MS_NODEV, "size=64m")
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        os.write(first, struct.pack("q", time.monotonic_ns()))
    except OSError as error:
        os.write(first, str(error).encode())
    finally:
        os._exit(0)


def fork(flags):
    mapped, first = os.pipe(), os.pipe()
    cpu, start = cpu_ns(), time.monotonic_ns()
    pid = clone(flags)
    if pid == 0:
        child(mapped[0], first[1])
    for ids in ("gid_map", "uid_map"):
        with open(f"/proc/{pid}/{ids}", "w") as file:
            file.write(f"0 {HOST_ID} 1")
    os.write(mapped[1], b"m")
    os.waitpid(pid, 0)
    end = time.monotonic_ns()
    said = os.read(first[0], 4096)
    for end_of_pipe in (*mapped, *first):
        os.close(end_of_pipe)
    if len(said) != 8:
        return said.decode()
    return f"{struct.unpack('q', said)[0] - start} {end - start} {cpu_ns() - cpu}"


def main():
    gc.collect()
    os.unshare(os.CLONE_NEWNET)
    for line in sys.stdin:
        own = line.split()[1] == "own"
        try:
            print(fork(NAMESPACES | (os.CLONE_NEWNET if own else 0)), flush=True)
        except OSError as error:
            print(error, flush=True)


main()
