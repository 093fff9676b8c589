"""Trees of files that a cell may have made: of any depth, with any names, full of holes."""

import errno
import os
import re
import stat

MOST_FILES = 1000  # that are listed after a cell
MOST_SKIPPED = 100  # others, with the reason
DEEPEST = 32  # directories, as for the files of runs: the kernel asks Landlock about each above

# What a terminal or a record would take for something else, and bytes that are not UTF-8.
UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u206e]")


def printable(name):
    """The name with \\xNN for what is not to be printed."""

    def escaped(match):
        return "".join(f"\\x{byte:02x}" for byte in match[0].encode(errors="surrogateescape"))

    return UNPRINTABLE.sub(escaped, name)


def stamp(status):
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def walk(root, failed):
    """All that is no directory, as entries of scandir(). `failed` gets (path, why) of the rest."""
    todo = [(root, 1)]
    while todo:
        path, depth = todo.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        yield entry
                    elif depth < DEEPEST:
                        todo.append((entry.path, depth + 1))
                    else:
                        failed.append((entry.path, "too many directories deep"))
        except OSError as error:
            if error.errno != errno.ENOENT:  # a thread of the cell's has removed it
                failed.append((path, f"cannot be read: {error.strerror}"))


def changes(root, seen):
    """Stamps by path, as of now, and what differs from `seen`.

    "files": what is new or changed; "files_skipped": what else is, and why it is no file to have.
    """
    now, files, skipped, failed, more = {}, [], [], [], 0
    for entry in walk(root, failed):
        if len(now) >= MOST_FILES:
            more += 1
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # a thread of the cell's has removed it
        now[entry.path] = stamp(status)
        if seen.get(entry.path) == now[entry.path]:
            continue
        name = os.path.relpath(entry.path, root)
        told = printable(name)
        if not stat.S_ISREG(status.st_mode):
            why = "not a regular file (link, fifo, socket or device)"
            skipped.append({"name": told, "reason": why})
        elif told != name:
            skipped.append({"name": told, "reason": "its name is not printable UTF-8"})
        else:
            files.append({"name": name, "bytes": status.st_size})
    for path, why in failed:
        skipped.append({"name": printable(os.path.relpath(path, root)[:200]), "reason": why})
    more += max(len(skipped) - MOST_SKIPPED, 0)
    if more:
        why = f"and {more} more entries: {MOST_FILES} are looked at, {MOST_SKIPPED} named here"
        skipped[MOST_SKIPPED:] = [{"name": "", "reason": why}]
    told = {"files": files, "files_skipped": skipped}
    return now, {key: entries for key, entries in told.items() if entries}


def remove(parent, name):
    """A whole tree. By one descriptor: no path is as long, nor are there as many descriptors.

    What lies deep is moved up first: the kernel asks Landlock about every directory above.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    top, here = os.open(parent, flags), os.open(parent, flags)
    inside, waiting, moved = [], [[name]], 0  # where `here` is, and what is to go at each level
    try:
        while True:
            if waiting[-1]:
                child = waiting[-1].pop()
                os.chmod(child, 0o700, dir_fd=here)
                if len(inside) == 64:
                    moved += 1
                    waiting[0].append(f".jailrun-removed-{os.getpid()}-{moved}")
                    os.rename(child, waiting[0][-1], src_dir_fd=here, dst_dir_fd=top)
                    continue
                above, here = here, os.open(child, flags, dir_fd=here)
                os.close(above)
                inside.append(child)
                waiting.append(_remove_files(here))
            elif inside:
                waiting.pop()
                below, here = here, os.open("..", flags, dir_fd=here)
                os.close(below)
                os.rmdir(inside.pop(), dir_fd=here)
            else:
                return
    finally:
        os.close(here)
        os.close(top)


def _remove_files(folder):
    """The directories that are left in it."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


def content(path):
    """Size, and what of a file is no hole: (offset, bytes) each."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size, at, parts = os.fstat(fd).st_size, 0, []
        while at < size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break  # a hole to its end
            part = os.pread(fd, os.lseek(fd, at, os.SEEK_HOLE) - at, at)
            if not part:
                break
            parts.append((at, part))
            at += len(part)
        return size, parts
    finally:
        os.close(fd)


def write(path, size, parts):
    """In place: whoever has the file open goes on having it."""
    with open(path, "wb", buffering=0) as file:
        for at, part in parts:
            view = memoryview(part)
            while view:
                done = os.pwrite(file.fileno(), view, at)
                view, at = view[done:], at + done
        file.truncate(size)
