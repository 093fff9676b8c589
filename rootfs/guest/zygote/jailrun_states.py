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
HEAD = struct.Struct("<iiQIIiQ")  # as in Table.change()
ENTRY = struct.Struct("<Ii")  # number, pid of its holder
TRIAL = 1 << 31
WORK = "/work"
LEAVE = -1  # for `waiting`: nobody goes on
WAKE, KILL = signal.SIGUSR1, signal.SIGUSR2
HEARD = {WAKE, KILL, signal.SIGCHLD, signal.SIGINT}
OURS = (WAKE, KILL, signal.SIGCHLD)


class Refused(Exception):
    """What cannot be saved or restored, and why."""


# --- what cannot be taken along ---------------------------------------------------------------


def descriptors():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the listing's own


def runs(child):
    """Not for one that has ended and is only not waited for yet."""
    try:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, child, flags) is None
    except OSError:
        return False


def obstacles(shared, holders):
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
    found += [
        f"writable shared memory ({name})" for at, name in shared_maps().items() if at != shared
    ]
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        if any(int(pid) not in holders and runs(int(pid)) for pid in children.read().split()):
            found.append("a running child process")
    if sqlite := sys.modules.get("sqlite3"):
        import gc

        if any(isinstance(thing, sqlite.Connection) for thing in gc.get_objects()):
            found.append("an open sqlite3 connection")
    return sorted(set(found))


# --- files ------------------------------------------------------------------------------------


def stamp(status):
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def cannot_read(error):
    raise Refused(f"cannot save {error.filename}: {error.strerror}")


class Files:
    """The contents of /work, held in memory. What has not changed since `before` is shared."""

    def __init__(self, before=None):
        known = before.entries if before else {}
        self.entries = {}
        for parent, folders, files in os.walk(WORK, onerror=cannot_read):
            for name in folders + files:
                path = os.path.join(parent, name)
                status = os.lstat(path)
                old = known.get(path)
                if old and old[0] == stamp(status) and old[1] == status.st_mode:
                    self.entries[path] = old
                    continue
                try:
                    content = self.content(path, status)
                except OSError as error:
                    cannot_read(error)
                self.entries[path] = (stamp(status), status.st_mode, content)
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
        for parent, folders, _ in os.walk(WORK):  # first, to get into all of them
            for name in folders:
                path = os.path.join(parent, name)
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
        there = self.remove_new()
        changed = [path for path, (was, *_) in self.entries.items() if there.get(path) != was]
        for path in changed:  # room for all before anything is written
            if path in there and stat.S_ISREG(self.entries[path][1]):
                if os.lstat(path).st_nlink > 1:
                    os.unlink(path)
                    del there[path]
                else:
                    os.chmod(path, 0o600)
                    os.truncate(path, 0)
        for path in sorted(changed):
            _, mode, content = self.entries[path]
            self.put(path, mode, content, path in there)
        for path, (_, mode, _) in sorted(self.entries.items(), reverse=True):
            if stat.S_ISDIR(mode):
                os.chmod(path, stat.S_IMODE(mode))
        for fd, path, flags, offset, inode in self.offsets:
            self.reopen(fd, path, flags, offset, inode)

    def remove_new(self):
        """What is left, with its stamps."""
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
        return there

    @staticmethod
    def put(path, mode, content, there):
        if stat.S_ISDIR(mode):
            if not there:
                os.mkdir(path, 0o700)
        elif stat.S_ISLNK(mode):
            if there:
                os.unlink(path)
            os.symlink(content, path)
        elif stat.S_ISFIFO(mode):
            if not there:
                os.mkfifo(path)
        elif stat.S_ISREG(mode):
            # In place: whoever has it open goes on having it.
            with open(path, "wb", buffering=0) as file:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
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


def shared_maps():
    """Addresses and names of writable shared memory."""
    with open("/proc/self/maps") as maps:
        fields = [line.split(None, 5) for line in maps]
    return {
        field[0].split("-")[0]: field[-1].strip()
        for field in fields
        if field[1].startswith("rw") and field[1].endswith("s")
    }


class Table:
    def __init__(self):
        before = shared_maps()
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.address = next(iter(shared_maps().keys() - before.keys()))
        self.head = (os.getpid(), 0, 0, 1, 0, 0, 0)

    @property
    def head(self):
        return HEAD.unpack_from(self.memory)

    @head.setter
    def head(self, values):
        HEAD.pack_into(self.memory, 0, *values)

    def change(self, **values):
        """live: pid of the live process, 0 while it changes; waiting: who is told when it has, 0 where
        the last one died; status: with which, or the errno of files that could not be restored;
        request: the latest; next: number of a state; owed: bytes of the frame that is written."""
        names = ("live", "waiting", "request", "next", "entries", "status", "owed")
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
        """`tell_death(request, status, owed)` is called in the process that takes a dead one's place."""
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
        if found := obstacles(self.table.address, {pid for _, pid in self.table.entries()}):
            raise Refused("cannot save a state with " + ", ".join(found))
        entries = self.table.entries()
        if len(entries) >= MOST:
            raise Refused(f"{MOST} states are saved already: drop one")
        number = self.table.take_number() | (TRIAL if trial else 0)
        self.files = Files(self.files)
        dice = random.getstate()  # a fork would seed it anew
        handlers = {each: signal.signal(each, signal.SIG_DFL) for each in OURS}
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        # The root holds itself, for its end is the jail's; of any other live process a copy holds.
        is_root = os.getpid() == self.root
        if is_root:
            self.table.set_entries(entries + [(number, self.root)])
        try:
            made = os.fork()
        except OSError as error:
            self.table.set_entries(entries)
            self.live_on(dice, handlers)
            raise Refused(f"there is no process for a state: {error.strerror}") from None
        if (made == 0) != is_root:  # the holder
            self.hold(trial)
            number = None
        elif is_root:
            self.table.change(live=os.getpid())
        else:
            self.table.set_entries(entries + [(number, made)])
        self.live_on(dice, handlers)
        return number

    @staticmethod
    def live_on(dice, handlers):
        random.setstate(dice)
        for each, handler in handlers.items():
            if handler is not None:  # one that was not set by Python stays the default
                signal.signal(each, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    def owes(self, count):
        if self.table is not None:
            self.table.change(owed=count)

    def check(self, number):
        pids = [pid for each, pid in (self.table.entries() if self.table else []) if each == number]
        if not pids:
            raise Refused(f"there is no saved state {number}")
        if not alive(pids[0]):
            raise Refused(f"the saved state {number} was ended from within the session")

    def restore(self, number, answer):
        """Does not return: another process goes on from the state. `answer(errno)` once it stands."""
        entries = self.table.entries()
        place = [each for each, _ in entries].index(number)
        for _, pid in entries[place + 1 :]:
            if pid != os.getpid():
                self.end(pid)
        holder = entries[place][1]
        self.table.set_entries(entries[: place if number & TRIAL else place + 1])
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        self.table.change(live=0, waiting=os.getpid(), status=0)
        os.kill(holder, WAKE)
        if signal.sigtimedwait({WAKE}, 30) is None:
            self.table.change(live=os.getpid())  # so that this end is noticed
            os._exit(1)
        answer(self.table.head[5])
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
                    if (live := self.table.live) > 0:
                        os.kill(live, signal.SIGKILL if heard == KILL else heard)
                except OSError:
                    pass

    def go_on(self):
        fault = 0
        try:
            self.files.restore()
        except OSError as error:
            fault = error.errno or 5
        _, waiting, request, _, _, status, owed = self.table.head
        self.table.change(live=os.getpid(), waiting=0, owed=0, status=fault)
        if waiting == 0:
            return self.tell_death(request, status, owed)
        try:
            os.kill(waiting, WAKE)
        except OSError:
            pass  # it was killed meanwhile

    def reap(self):
        """Was it the live process that has ended, and not because another takes its place?"""
        ended = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.table.live:
                ended = status
        if ended is not None:
            self.replace(ended)

    def replace(self, status):
        """Wakes the latest state; where none is left, the session ends as its process did."""
        entries = [entry for entry in self.table.entries() if alive(entry[1])]
        if entries:
            number, holder = entries[-1]
            self.table.set_entries(entries[:-1] if number & TRIAL else entries)
            self.table.change(live=0, waiting=0, status=status)
            os.kill(holder, WAKE)
        else:
            self.table.set_entries([])
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
