"""What all processes of a session know: which of them is live, who holds which state. In shared memory."""

import mmap
import os
import struct

from jailrun_snapshot import shared_maps

MOST = 24  # holders are processes, and so count against the policy's pids
HEAD = struct.Struct("<iiQIIiQ")  # as in Table.change()
ENTRY = struct.Struct("<Ii")  # number, pid of its holder
BRANCH = struct.Struct("<7i")  # pid and the outer ends of its pipes, or an errno
BRANCH_AT = 1024  # in the table
TRIAL = 1 << 31  # in the number of a state that a transaction returns to


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

    @property
    def branch(self):
        return BRANCH.unpack_from(self.memory, BRANCH_AT)

    @branch.setter
    def branch(self, values):
        BRANCH.pack_into(self.memory, BRANCH_AT, *values)

    def set_entries(self, entries):
        for i, entry in enumerate(entries):
            ENTRY.pack_into(self.memory, HEAD.size + i * ENTRY.size, *entry)
        self.change(entries=len(entries))
