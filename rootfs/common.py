"""What the build steps share: progress lines, failures with a remedy, commands that die with us."""

import ctypes
import os
import signal
import subprocess
import sys
import time

START = time.monotonic()
PR_SET_PDEATHSIG = 1


class BuildError(Exception):
    """We could not build; the message names the object, the remedy says what to do about it."""

    def __init__(self, message, remedy):
        super().__init__(message)
        self.message, self.remedy = message, remedy


def progress(text):
    """One line on stdout, with the seconds since the build began."""
    print(f"  {time.monotonic() - START:5.1f} s  {text}", flush=True)


def inherited_lock():
    """The descriptor of the store's lock. Each process that may write into the tree holds it, so that the
    next build waits for the last of them even if the first was killed."""
    return [int(os.environ["JAILRUN_LOCK_FD"])] if "JAILRUN_LOCK_FD" in os.environ else []


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run(command, *, remedy, env=None, input=None):
    """Runs a command to its end and gives its stdout (bytes); a failure carries the end of its stderr."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        pass_fds=inherited_lock(),
        preexec_fn=_die_with_parent,
    )
    try:
        out, err = process.communicate(input)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode != 0:
        tail = err.decode(errors="replace").strip().splitlines()[-12:]
        for line in tail:
            print(f"    {line}", file=sys.stderr)
        raise BuildError(f"{command[0]} failed with status {process.returncode}", remedy)
    return out
