"""What one state of a session consists of, apart from the memory of its process: files, and what
stands in the way of saving it at all.
"""

import os
import stat
import sys

import jailrun_trees as trees

WORK = "/work"  # of the session itself


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


def obstacles(shared, ours):
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
        if any(int(pid) not in ours and runs(int(pid)) for pid in children.read().split()):
            found.append("a running child process")
    if sqlite := sys.modules.get("sqlite3"):
        import gc

        if any(isinstance(thing, sqlite.Connection) for thing in gc.get_objects()):
            found.append("an open sqlite3 connection")
    return sorted(set(found))


def shared_maps():
    """Addresses and names of writable shared memory."""
    with open("/proc/self/maps") as maps:
        fields = [line.split(None, 5) for line in maps]
    return {
        field[0].split("-")[0]: field[-1].strip()
        for field in fields
        if field[1].startswith("rw") and field[1].endswith("s")
    }


# --- files ------------------------------------------------------------------------------------


def cannot_read(error):
    name = error.filename if len(error.filename) < 200 else error.filename[:200] + "…"
    raise Refused(f"cannot save {name}: {error.strerror}")


class Files:
    """The contents of `root`, held in memory. What has not changed since `before` is shared."""

    def __init__(self, root, before=None):
        self.root = root
        known = before.entries if before else {}
        self.entries = {}
        for parent, folders, files in os.walk(root, onerror=cannot_read):
            for name in folders + files:
                path = os.path.join(parent, name)
                try:
                    status = os.lstat(path)
                except OSError as error:  # deeper than a path may be long
                    cannot_read(error)
                old = known.get(path)
                if old and old[0] == trees.stamp(status) and old[1] == status.st_mode:
                    self.entries[path] = old
                    continue
                try:
                    content = self.content(path, status)
                except OSError as error:
                    cannot_read(error)
                self.entries[path] = (trees.stamp(status), status.st_mode, content)
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
            return trees.content(path)
        return os.readlink(path) if stat.S_ISLNK(status.st_mode) else None

    @staticmethod
    def flags(fd):
        with open(f"/proc/self/fdinfo/{fd}") as info:
            for line in info:
                if line.startswith("flags:"):
                    return int(line.split()[1], 8)
        return 0

    def restore(self):
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
        """What is left, with its stamps. Directories are opened up before they are entered."""
        there = {}
        for parent, folders, files in os.walk(self.root):
            for name in folders + files:
                path = os.path.join(parent, name)
                status = os.lstat(path)
                kept = self.entries.get(path)
                is_folder = stat.S_ISDIR(status.st_mode)
                if kept is None or stat.S_IFMT(kept[1]) != stat.S_IFMT(status.st_mode):
                    trees.remove(parent, name) if is_folder else os.unlink(path)
                    continue
                there[path] = trees.stamp(status)
                if is_folder:
                    os.chmod(path, 0o700)
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
            trees.write(path, *content)
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
            pass  # a file elsewhere that is gone: reading it will say so

    def copy_to(self, root):
        """The same below another directory, which is empty. Open files are those below it then."""

        def moved(path):
            return root + path[len(self.root) :] if below(path, self.root) else path

        self.entries = {moved(path): ((), *rest) for path, (_, *rest) in self.entries.items()}
        self.offsets = [(fd, moved(path), *rest[:-1], 0) for fd, path, *rest in self.offsets]
        self.root = root
        self.restore()


def below(path, root):
    return path == root or path.startswith(root + "/")
