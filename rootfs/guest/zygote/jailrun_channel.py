"""The channel of a session: requests that are read, frames that are written, and SIGINT between them.

Frames are those of jail/session/frames.h.
"""

import json
import os
import select
import signal
import struct
import sys
import threading
import time
import traceback

import jailrun_rich as rich
import jailrun_snapshot as snapshot

REQUEST_FD, ANSWER_FD = 3, 4
REQUEST = struct.Struct("<II")  # magic, bytes of JSON
REQUEST_MAGIC = 0x3173726A  # "jrs1"
ANSWER = struct.Struct("<III")  # magic, bytes of JSON, bytes of the body after it
ANSWER_MAGIC = 0x3172726A  # "jrr1"
MOST_REQUEST = 64 << 20
MOST_CONTENT = 200 << 20


# Bound here: what a cell patches is not meant for us.
encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
decode = json.JSONDecoder().decode
read, write, getpid, now_ns = os.read, os.write, os.getpid, time.monotonic_ns


class Ended(Exception):
    """The client is gone."""


def read_exactly(size, had=b""):
    """Not a byte more than asked for: what is read ahead would be lost in a rollback."""
    parts = [had[:size]]
    size -= len(parts[0])
    while size > 0:
        try:
            part = read(REQUEST_FD, min(size, 1 << 20))
        except Exception as error:
            if getattr(error, "errno", None):
                raise
            ignore(error)
            continue
        if not part:
            raise Ended
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def next_request(had):
    """`had`: what was read of it already."""
    magic, size = REQUEST.unpack(read_exactly(REQUEST.size, had))
    if magic != REQUEST_MAGIC or size > MOST_REQUEST:
        sys.exit("session: not a request on descriptor 3")
    return decode(read_exactly(size, had[REQUEST.size :]).decode())


def claimed(seconds):
    """Whether somebody says within this time that this interpreter is his."""
    if not select.select([REQUEST_FD], [], [], seconds)[0]:
        return False
    read_exactly(REQUEST.size)
    return True


def finish_frame(owed):
    """Of one that another process did not finish: no reader finds a head in it."""
    while owed > 0:
        owed -= write(ANSWER_FD, bytes(min(owed, 1 << 16)))


def ignore(error):
    """What a cell's signal handler raises between cells belongs to no cell: its next one sees it."""
    try:
        said = "".join(traceback.format_exception_only(error))
        print(f"ignored between cells: {rich.clean(said)}", end="", file=sys.stderr, flush=True)
    except Exception:
        pass


class Interrupts:
    """SIGINT is for the cell that runs: between cells it has come too late and is dropped.

    Nor does it come in the middle of a frame: its reader would wait for the other half.
    """

    running = writing = late = False

    def heard(self, number, frame):
        if self.writing:
            self.late = True
        elif self.running:
            raise KeyboardInterrupt

    def __enter__(self):
        self.running = True

    def __exit__(self, *_):
        self.running = self.late = False
        signal.signal(signal.SIGINT, self.heard)  # a cell may have put its own in place


class Channel:
    """Writes frames, whole and one after the other."""

    def __init__(self, interrupts, owes):
        self.interrupts = interrupts
        self.lock = threading.Lock()  # cells may display from threads
        self.owes = owes  # told how much of a frame is still to come
        self.pid = 0

    def belongs_here(self):
        """To this process: a fork of a cell's own has no say."""
        self.pid = getpid()

    def send(self, head, body=b""):
        if getpid() != self.pid:
            return
        if len(body) > MOST_CONTENT:
            raise snapshot.Refused(f"it has more than {MOST_CONTENT >> 20} MiB")
        text = encode(head).encode()
        frame = ANSWER.pack(ANSWER_MAGIC, len(text), len(body)) + text
        if len(body) < 65536:
            frame, body = frame + body, b""
        with self.lock:
            self.interrupts.writing = True
            try:
                left = len(frame) + len(body)
                for part in (frame, body):
                    part = memoryview(part)
                    while part:
                        self.owes(left)
                        done = write(ANSWER_FD, part)
                        part, left = part[done:], left - done
                self.owes(0)
            except Exception as error:
                if not getattr(error, "errno", None):  # of a cell's signal handler
                    write(ANSWER_FD, bytes(min(left, 1 << 16)))  # so that the next frame is found
                raise
            finally:
                self.interrupts.writing = False
        if self.interrupts.late and self.interrupts.running:
            self.interrupts.late = False
            raise KeyboardInterrupt
