"""States of a session: saved, restored, dropped, by fork, never by pickling.

    live ──save──▶ fork: the parent, or a copy, becomes the holder of the state and waits
         ──restore──▶ wakes the holder, which forks a new live process; the old one ends

What a state is: the private memory of the interpreter, the files in /work, and the offsets of open
files. All processes are of one jail and one trust domain: a successor can end a holder or wake it,
not read or change it (no process here is dumpable). Who waits on whom:

    root (the jail's guest, ends the jail) ── waits for its child
      └─ live ── holder ── live …           each holder waits for the live process that it forked

A table in shared memory says which process is live and who holds what.
"""

import mmap
import os
import random
import signal
import stat
import struct
import sys

MOST = 24  # holders are processes, and so count against the policy's pids
HEAD = struct.Struct("<iiQIIi")  # as in Table.change()
ENTRY = struct.Struct("<Ii")  # number, pid of its holder
TRIAL = 1 << 31
WORK = "/work"
LEAVE = -1  # for `waiting`: nobody goes on
WAKE, KILL = signal.SIGUSR1, signal.SIGUSR2
HEARD = {WAKE, KILL, signal.SIGCHLD, signal.SIGINT}


class Refused(Exception):
    """What cannot be saved or restored, and why."""


# --- what cannot be taken along ---------------------------------------------------------------


def descriptors():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the listing's own


def obstacles(shared):
    """Things whose state is not in this process alone."""
    found = []
    tasks = os.listdir("/proc/self/task")
    if len(tasks) > 1:
        names = set()
        for task in tasks:
            if int(task) != os.getpid():
                with open(f"/proc/self/task/{task}/comm") as comm:
                    names.add(comm.read().strip())
        threads = len(tasks) - 1
        plural = "s" if threads > 1 else ""
        found.append(f"{threads} running thread{plural} ({', '.join(sorted(names))})")
    for _, target in descriptors():
        if target.startswith("socket:"):
            found.append("an open socket")
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(None, 5)
            if fields[1].startswith("rw") and fields[1].endswith("s"):
                start = int(fields[0].split("-")[0], 16)
                if start != shared:
                    found.append(f"writable shared memory ({fields[-1].strip()})")
    if sqlite := sys.modules.get("sqlite3"):
        import gc

        if any(isinstance(thing, sqlite.Connection) for thing in gc.get_objects()):
            found.append("an open sqlite3 connection")
    return sorted(set(found))


# --- files ------------------------------------------------------------------------------------


def stamp(status):
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Files:
    """The contents of /work, held in memory. What has not changed since `before` is shared."""

    def __init__(self, before=None):
        known = before.entries if before else {}
        self.entries = {}
        for parent, folders, files in os.walk(WORK):
            for name in folders + files:
                path = os.path.join(parent, name)
                status = os.lstat(path)
                old = known.get(path)
                if old and old[0] == stamp(status) and old[1] == status.st_mode:
                    self.entries[path] = old
                    continue
                self.entries[path] = (stamp(status), status.st_mode, self.content(path, status))
        self.offsets = []
        for fd, target in descriptors():
            status = os.fstat(fd)
            if fd > 4 and stat.S_ISREG(status.st_mode):
                flags = self.flags(fd)
                offset = os.lseek(fd, 0, os.SEEK_CUR)
                self.offsets.append((fd, target, flags, offset, status.st_ino))

    @staticmethod
    def content(path, status):
        if stat.S_ISREG(status.st_mode):
            with open(path, "rb", buffering=0) as file:
                return file.readall()
        return os.readlink(path) if stat.S_ISLNK(status.st_mode) else None

    @staticmethod
    def flags(fd):
        with open(f"/proc/self/fdinfo/{fd}") as info:
            for line in info:
                if line.startswith("flags:"):
                    return int(line.split()[1], 8)
        return 0

    def restore(self):
        there = {}
        for parent, folders, files in os.walk(WORK, topdown=False):
            for name in files + folders:
                path = os.path.join(parent, name)
                status = os.lstat(path)
                kept = self.entries.get(path)
                if kept is None or stat.S_IFMT(kept[1]) != stat.S_IFMT(status.st_mode):
                    os.rmdir(path) if stat.S_ISDIR(status.st_mode) else os.unlink(path)
                else:
                    there[path] = stamp(status)
        for path, (was, mode, content) in sorted(self.entries.items()):
            if there.get(path) != was:
                self.put(path, mode, content, path in there)
        for fd, path, flags, offset, inode in self.offsets:
            self.reopen(fd, path, flags, offset, inode)

    @staticmethod
    def put(path, mode, content, there):
        if stat.S_ISDIR(mode):
            if not there:
                os.mkdir(path)
        elif stat.S_ISLNK(mode):
            if there:
                os.unlink(path)
            os.symlink(content, path)
            return
        elif stat.S_ISREG(mode):
            # In place: whoever has it open goes on having it.
            with open(path, "wb", buffering=0) as file:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
        else:
            return
        os.chmod(path, stat.S_IMODE(mode))

    @staticmethod
    def reopen(fd, path, flags, offset, inode):
        try:
            if os.stat(path).st_ino != inode:
                plain = flags & ~(os.O_CREAT | os.O_TRUNC | os.O_EXCL)
                fresh = os.open(path, plain)
                os.dup2(fresh, fd, inheritable=not flags & os.O_CLOEXEC)
                os.close(fresh)
            os.lseek(fd, offset, os.SEEK_SET)
        except OSError:
            pass  # a file outside of /work that is gone: reading it will say so


# --- the table --------------------------------------------------------------------------------


class Table:
    def __init__(self):
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)
        with open("/proc/self/maps") as maps:
            for line in maps:
                if "/dev/zero" in line and "rw-s" in line:
                    self.address = int(line.split("-")[0], 16)
        self.head = (os.getpid(), 0, 0, 1, 0, 0)

    @property
    def head(self):
        return HEAD.unpack_from(self.memory)

    @head.setter
    def head(self, values):
        HEAD.pack_into(self.memory, 0, *values)

    def change(self, **values):
        """live: pid of the live process, 0 while it changes; waiting: who is told when it has, 0 where
        the last one died, with `status`; request: the latest; next: number of a state."""
        names = ("live", "waiting", "request", "next", "entries", "status")
        self.head = {**dict(zip(names, self.head)), **values}.values()

    def take_number(self):
        number = self.head[3]
        self.change(next=(number + 1) % TRIAL)
        return number

    @property
    def live(self):
        return self.head[0]

    def entries(self):
        count = min(self.head[4], MOST)
        return [ENTRY.unpack_from(self.memory, HEAD.size + i * ENTRY.size) for i in range(count)]

    def set_entries(self, entries):
        for i, entry in enumerate(entries):
            ENTRY.pack_into(self.memory, HEAD.size + i * ENTRY.size, *entry)
        self.change(entries=len(entries))


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except OSError:
        return False


class States:
    """The states of one session, as its live process sees them."""

    def __init__(self, adopt_orphans, tell_death):
        """`tell_death(request, status)` is called in the process that takes a dead one's place."""
        self.root = os.getpid()
        self.adopt_orphans = adopt_orphans
        self.tell_death = tell_death
        self.table = None  # from the first save on
        self.files = None

    def begin(self, request):
        """Whose answer is missing, should the live process die."""
        if self.table is not None:
            self.table.change(request=request)

    # --- asked for by the client ----------------------------------------------------------------

    def save(self, request, trial=False):
        """The number of the state; None in a process that goes on from it after a restore."""
        if self.table is None:
            self.adopt_orphans()  # from here on the root hears of every death
            self.table = Table()
            self.table.change(request=request)
        if found := obstacles(self.table.address):
            raise Refused("cannot save a state with " + ", ".join(found))
        entries = self.table.entries()
        if len(entries) >= MOST:
            raise Refused(f"{MOST} states are saved already: drop one")
        number = self.table.take_number() | (TRIAL if trial else 0)
        self.files = Files(self.files)
        dice = random.getstate()  # a fork would seed it anew
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        # The root holds itself, for its end is the jail's; of any other live process a copy holds.
        is_root = os.getpid() == self.root
        if is_root:
            self.table.set_entries(entries + [(number, self.root)])
        made = os.fork()
        if (made == 0) != is_root:  # the holder
            self.hold(trial)
            random.setstate(dice)
            return None
        random.setstate(dice)
        if is_root:
            self.table.change(live=os.getpid())
        else:
            self.table.set_entries(entries + [(number, made)])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        return number

    def check(self, number):
        pids = [pid for each, pid in (self.table.entries() if self.table else []) if each == number]
        if not pids:
            raise Refused(f"there is no saved state {number}")
        if not alive(pids[0]):
            raise Refused(f"the saved state {number} was ended from within the session")

    def restore(self, number, answer):
        """Does not return: another process goes on from the state. `answer()` once it stands."""
        entries = self.table.entries()
        place = [each for each, _ in entries].index(number)
        for _, pid in entries[place + 1 :]:
            self.end(pid)
        holder = entries[place][1]
        self.table.set_entries(entries[: place if number & TRIAL else place + 1])
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        self.table.change(live=0, waiting=os.getpid())
        os.kill(holder, WAKE)
        if signal.sigtimedwait({WAKE}, 30) is None:
            os._exit(1)
        answer()
        os._exit(0)

    def drop(self, number):
        entries = self.table.entries()
        for each, pid in entries:
            if each == number:
                self.end(pid)
        self.table.set_entries([entry for entry in entries if entry[0] != number])

    def leave(self):
        """The session is over: no state is to be gone on from."""
        for _, pid in self.table.entries() if self.table else []:
            self.end(pid)
        if self.table:
            self.table.set_entries([])

    def end(self, pid):
        if pid == self.root:
            return
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except OSError:
            pass  # somebody else's child

    # --- a holder -------------------------------------------------------------------------------

    def hold(self, trial):
        """Waits. Returns in the process that goes on from here: a copy, or the holder of a trial."""
        while True:
            heard = signal.sigwait(HEARD)
            if heard == WAKE:
                if self.table.head[1] == LEAVE:
                    leave_as(self.table.head[5])
                if (trial and os.getpid() != self.root) or os.fork() == 0:
                    return self.go_on()
            elif heard == signal.SIGCHLD:
                self.reap()
            elif os.getpid() == self.root:  # from outside: for whoever is live
                try:
                    os.kill(self.table.live, signal.SIGKILL if heard == KILL else heard)
                except OSError:
                    pass

    def go_on(self):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        self.files.restore()
        _, waiting, request, _, _, status = self.table.head
        self.table.change(live=os.getpid(), waiting=0)
        if waiting == 0:
            return self.tell_death(request, status)
        try:
            os.kill(waiting, WAKE)
        except OSError:
            pass  # it was killed meanwhile

    def reap(self):
        """Was it the live process that has ended, and not because another takes its place?"""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.table.live:
                self.replace(status)

    def replace(self, status):
        """Wakes the latest state; where none is left, the session ends as its process did."""
        entries = [entry for entry in self.table.entries() if alive(entry[1])]
        self.table.set_entries(entries)
        if entries:
            self.table.change(live=0, waiting=0, status=status)
            os.kill(entries[-1][1], WAKE)
        else:
            self.table.change(waiting=LEAVE, status=status)
            os.kill(self.root, WAKE)


def leave_as(status):
    """Ends as the live process has ended: nothing is saved that could go on."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
