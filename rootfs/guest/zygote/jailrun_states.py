"""States of a session: saved, restored, dropped, by fork, never by pickling.

    live ──save──▶ fork: the parent, or a copy, becomes the holder of the state and waits
         ──restore──▶ wakes the holder, which forks a new live process; the old one ends

What a state is: the private memory of the interpreter, the files in /work, and the offsets of open
files. All processes are of one jail and one trust domain: a successor can end a holder or wake it,
not read or change it (no process here is dumpable). Who waits on whom:

    root (the jail's guest, ends the jail) ── waits for its child
      └─ live ── holder ── live …           each holder waits for the live process that it forked

A table in shared memory says which process is live and who holds what.

A branch is forked by the live process or by a holder, makes pipes of its own, and is then the root
of states of its own: it and its origin have the jail in common, and nothing else.

    live or holder ──fork──▶ branch, in its own directory ◀──pipes── whoever asked for it
"""

import errno
import os
import random
import signal

import jailrun_files
from jailrun_snapshot import WORK, Files, Refused, below, obstacles
from jailrun_table import MOST, TRIAL, Table

BRANCHES = "/tmp/branches"  # their directories
LEAVE = -1  # for `waiting`: nobody goes on
WAKE, KILL = signal.SIGUSR1, signal.SIGUSR2
HEARD = {WAKE, KILL, signal.SIGCHLD, signal.SIGINT}
OURS = (WAKE, KILL, signal.SIGCHLD)


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except OSError:
        return False


def ended(pid):
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else's, who reaps it
        return not alive(pid)


def wake(holder):
    """Whether it has taken over; None: it lives and does not. A cell may have stopped or ended it."""
    try:
        for tries in range(300):
            if ended(holder):
                return False
            if tries == 0:
                os.kill(holder, signal.SIGCONT)
                os.kill(holder, WAKE)
            if signal.sigtimedwait({WAKE}, 0.1):
                return True
    except OSError:
        return False
    return None


class States:
    """The states of one session, as its live process sees them."""

    def __init__(self, adopt_orphans, tell_death, branched):
        """`tell_death(request, status, owed)` is called in the process that takes a dead one's place;
        `branched(theirs)` in a branch, with the ends of its pipes that are not its own."""
        self.adopt_orphans = adopt_orphans
        self.tell_death = tell_death
        self.branched = branched
        self.begin_here(WORK)

    def begin_here(self, work):
        self.root = os.getpid()
        self.work = jailrun_files.WORK = work
        self.table = None  # from the first save or branch on
        self.files = None
        self.branches = set()  # pids
        self.adopted = False

    def begin(self, request):
        """Whose answer is missing, should the live process die."""
        if self.table is not None:
            self.table.change(request=request)

    # --- asked for by the client ----------------------------------------------------------------

    def save(self, request, trial=False):
        """The number of the state; None in a process that goes on from it after a restore."""
        self.look(request)
        entries = self.table.entries()
        if len(entries) >= MOST:
            raise Refused(f"{MOST} states are saved already: drop one")
        if not self.adopted:
            self.adopt_orphans()  # from here on the root hears of every death
            self.adopted = True
        number = self.table.take_number() | (TRIAL if trial else 0)
        dice, handlers = self.lay_down()
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

    def look(self, request):
        """Is what is here in one process?"""
        if self.table is None:
            self.table = Table()
            self.table.change(request=request)
        ours = self.branches | {pid for _, pid in self.table.entries()}
        if found := obstacles(self.table.address, ours):
            raise Refused("cannot save a state with " + ", ".join(found))

    def lay_down(self):
        """What a fork would not take along. For live_on()."""
        self.files = Files(self.work, self.files)
        dice = random.getstate()  # a fork would seed it anew
        handlers = {each: signal.signal(each, signal.SIG_DFL) for each in OURS}
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        return dice, handlers

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
        if not (woken := wake(holder)):
            self.table.change(live=os.getpid())
            if woken is None:
                os._exit(1)  # which is noticed
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
            raise Refused("the state to return to was ended from within the session")
        answer(self.table.head[5])
        os._exit(0)

    def branch(self, request, number=None):
        """From the state `number` or from here: pid and outer ends (request, answer, in, out, err) of
        the branch. None in the branch itself."""
        if number is None:
            self.look(request)
            dice, handlers = self.lay_down()
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        self.table.change(waiting=os.getpid())
        self.table.branch = (0,) * 7
        fault = 0
        try:
            if number is not None:
                os.kill(dict(self.table.entries())[number], WAKE)
            elif (made := os.fork()) == 0:
                self.become_branch()
                self.live_on(dice, handlers)
                return None
            else:
                self.branches.add(made)
            if signal.sigtimedwait({WAKE}, 30) is None:
                fault = errno.ETIMEDOUT
        except OSError as error:
            fault = error.errno
        self.table.change(waiting=0)
        if number is None:
            self.live_on(dice, handlers)
        else:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        theirs, pid, *ends = self.table.branch
        if fault := fault or theirs:
            raise Refused("cannot branch: " + os.strerror(fault))
        return pid, ends

    def become_branch(self):
        """In a fork of the live process or of a holder. Where it cannot be a branch it ends."""
        table, waiting = self.table, self.table.head[1]
        error, inner, outer = 0, [], []
        try:
            os.setsid()  # how all that it starts is found
            os.makedirs(BRANCHES, exist_ok=True)
            work = f"{BRANCHES}/{os.getpid()}"
            os.mkdir(work, 0o700)
            here, before = os.getcwd(), self.files.root
            self.files.copy_to(work)
            os.chdir(work + here[len(before) :] if below(here, before) else here)
            pipes = [os.pipe() for _ in range(5)]  # request, answer, in, out, err
            outer = [pipe[side] for pipe, side in zip(pipes, (1, 0, 1, 0, 0))]
            inner = [pipe[1 - side] for pipe, side in zip(pipes, (1, 0, 1, 0, 0))]
        except OSError as fault:
            error = fault.errno or errno.EIO
        table.branch = (error, os.getpid(), *(outer or (0,) * 5))
        if not error:
            for fd, place in zip(inner, (3, 4, 0, 1, 2)):
                os.dup2(fd, place, inheritable=place < 3)
                os.close(fd)
            files = self.files
            self.begin_here(work)
            self.files = files
        try:
            os.kill(waiting, WAKE)
        except OSError:
            error = errno.ESRCH
        table.memory.close()
        if error:
            os._exit(1)
        self.branched(outer)

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
                if self.table.live:
                    if os.fork() == 0:
                        return self.become_branch()
                    continue
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
            os.kill(holder, signal.SIGCONT)
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
