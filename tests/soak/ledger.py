"""What jails could leave behind on this host, and what others' jails are not to blame for.

Other programs make jails here as well: what counts is what nobody answers for. An owner holds a
lock on the uid of each of its jails and on each of their groups for as long as it lives; whatever
has neither is left over.
"""

import collections
import fcntl
import glob
import os
import re
import struct
import time

UIDS, SINGLE, BLOCK, BLOCKS = 1_900_000_000, 65_536, 1024, 256  # jail/confine/ids.h
PATIENCE_S = 30


def unleased(locks, uid):
    at = uid - UIDS if uid - UIDS < SINGLE else SINGLE + (uid - UIDS - SINGLE) // BLOCK
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
    return (
        struct.unpack("hhqqi4x", fcntl.fcntl(locks, 36, asked))[0] == fcntl.F_UNLCK
    )  # F_OFD_GETLK


def orphans():
    """Processes with a guest's uid for which no owner holds the lease."""
    found = set()
    if not os.path.exists("/run/jailrun/uids"):
        return found  # no jail was ever made on this host: nobody holds a lease
    with open("/run/jailrun/uids", "r+b") as locks:
        for path in glob.glob("/proc/[0-9]*"):
            try:
                uid = os.stat(path).st_uid
                if UIDS <= uid < UIDS + SINGLE + BLOCK * BLOCKS and unleased(locks.fileno(), uid):
                    found.add("process " + path)
            except OSError:
                pass
    return found


def own_groups():
    """This process's own group in each hierarchy: below it our daemons and commands make theirs."""
    with open("/proc/self/cgroup") as file:
        own = {line.rstrip("\n").split(":", 2)[2] for line in file}
    roots = ["/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*/")]
    return {os.path.normpath(root + "/" + path) for root in roots for path in own}


def groups():
    """Groups of jails without an owner, where ours are made: others look after theirs."""
    with open("/proc/locks") as file:
        locked = {words[5] for words in map(str.split, file) if len(words) > 5 and ":" in words[5]}
    found = set()
    for path in (each for own in own_groups() for each in glob.glob(own + "/jailrun-*")):
        try:
            stat = os.stat(path)
        except OSError:
            continue
        key = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
        if key not in locked:
            found.add("group " + path)
    return found


def mounts():
    with open("/proc/self/mountinfo") as file:
        return {"mount " + line.split()[4] for line in file if "jailrun" in line}


def files():
    """Of the run directory, where Plans are a cache."""
    there = os.listdir("/run/jailrun") if os.path.isdir("/run/jailrun") else []
    return {f"file /run/jailrun/{name}" for name in there if name[:5] != "plan-"}


KINDS = {"orphans": orphans, "groups": groups, "mounts": mounts, "files": files}


class Ledger:
    """Opened before anything runs; what is more at a later look, by kind."""

    def __init__(self, kinds=tuple(KINDS)):
        self.before = {kind: KINDS[kind]() for kind in kinds}

    def left(self, patience_s=PATIENCE_S):
        """{kind: set} of what is new and stays: what others are about to remove is theirs."""
        begun, suspects = time.monotonic(), None
        while True:
            now = {kind: KINDS[kind]() - before for kind, before in self.before.items()}
            suspects = (
                now
                if suspects is None
                else {kind: suspects[kind] & found for kind, found in now.items()}
            )
            if not any(suspects.values()) or time.monotonic() - begun > patience_s:
                return suspects
            time.sleep(0.05)


def look(pid):
    """Of a daemon from outside."""
    with open(f"/proc/{pid}/status") as file:
        resident = int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))
    return {
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "resident_kib": resident,
    }


def v1_dying():
    """Groups of v1's memory controller that are removed and that the kernel keeps."""
    with open("/proc/cgroups") as file:
        memory = next((line.split() for line in file if line.startswith("memory\t")), None)
    if memory is None or memory[1] == "0" or not os.path.isdir("/sys/fs/cgroup/memory"):
        return 0
    return int(memory[2]) - sum(1 for _ in os.walk("/sys/fs/cgroup/memory"))


def forks():
    """Processes and threads that this host has begun since it started."""
    with open("/proc/stat") as file:
        return int(re.search(r"^processes (\d+)", file.read(), re.MULTILINE).group(1))


def kernel():
    """What the kernel itself holds; of the whole host, with all that others do there."""
    with open("/proc/meminfo") as file:
        memory = dict(re.findall(r"(\w+):\s+(\d+)", file.read()))
    told = {
        name + "_kib": int(memory[name])
        for name in ("SUnreclaim", "Percpu", "KernelStack", "PageTables", "Shmem")
    }
    dying = v1_dying()
    for path in ("/sys/fs/cgroup/cgroup.stat", "/sys/fs/cgroup/unified/cgroup.stat"):
        if os.path.exists(path):
            with open(path) as file:
                dying += int(dict(line.split() for line in file)["nr_dying_descendants"])
    return told | {"dying_groups": dying}


def descendants(pid):
    """[(pid, parent)] of all below."""
    children = collections.defaultdict(list)
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                text = file.read()
        except OSError:
            continue
        children[int(text.rpartition(")")[2].split()[1])].append(int(path.split("/")[2]))
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        for child in children[parent]:
            found.append((child, parent))
            todo.append(child)
    return found
