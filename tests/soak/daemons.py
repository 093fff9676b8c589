"""A jaild and a jailagent of one's own, whom to kill among them, and how long it takes until they
serve again.
"""

import collections
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import ledger

# ToDaemon{stats{request: 1}} of jail/daemon/jaild.proto, with its length.
ASK = struct.pack("<I", 4) + bytes((0x2A, 0x02, 0x08, 0x01))
PATIENCE_S = 60


class Broken(Exception):
    """What must not be, whatever is killed."""


class Daemons:
    """`owners`: for each a key of jailagent's, in `keys`. Names of victims: victims()."""

    def __init__(self, programs, owners=("a",), jaild_options=("--warm", "python")):
        self.programs, self.jaild_options = programs, jaild_options
        self.dir = tempfile.mkdtemp(prefix="soak-")
        self.socket = os.path.join(self.dir, "jaild")
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.keys_file = os.path.join(self.dir, "keys.json")
        self.keys = [
            subprocess.run(
                [self.program("jailagent"), "keys", "--keys", self.keys_file, "add", name],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            for name in owners
        ]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start_jaild()
        self.start_agent()

    def program(self, name):
        return os.path.join(self.programs, name)

    def start_jaild(self):
        self.jaild = subprocess.Popen(
            [self.program("jaild"), "--socket", self.socket, *self.jaild_options],
            stdout=self.log,
            stderr=self.log,
        )

    def start_agent(self):
        self.agent = subprocess.Popen(
            [
                self.program("jailagent"),
                "serve",
                "--listen",
                f"127.0.0.1:{self.port}",
                "--jaild",
                self.socket,
                "--store",
                os.path.join(self.dir, "store"),
                "--keys",
                self.keys_file,
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        if not self.agent.stdout.readline():
            raise Broken(f"jailagent does not start; see {self.log.name}")

    def await_jaild(self):
        """Until its socket answers a question."""
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE_S:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
                line.settimeout(PATIENCE_S)
                line.connect(self.socket)
                line.sendall(ASK)
                if line.recv(4):
                    return
            time.sleep(0.002)
        raise Broken("jaild's socket is silent")

    def await_jail(self):
        """Until a jail of its is had."""
        begun = time.monotonic()
        command = [self.program("jailrun"), "run", "--warm", "-"]
        while (
            subprocess.run(
                command,
                env={**os.environ, "JAILRUN_SOCKET": self.socket},
                input="1",
                text=True,
                capture_output=True,
            ).returncode
            != 0
        ):
            if time.monotonic() - begun > 2 * PATIENCE_S:
                raise Broken("no jail by jaild; see " + self.log.name)
            time.sleep(0.05)

    def restart_jaild(self):
        """kill -9, and another one. Seconds until the socket answers."""
        self.jaild.kill()
        begun = time.monotonic()
        self.jaild.wait()
        self.start_jaild()
        self.await_jaild()
        return time.monotonic() - begun

    def restart_agent(self):
        self.agent.kill()
        self.agent.wait()
        self.agent.stdout.close()
        self.start_agent()

    def guests(self):
        """All below jaild: keepers, zygotes, inits, guests."""
        return [pid for pid, _ in ledger.descendants(self.jaild.pid)]

    def victims(self):
        """{kind: [pid]} below jaild, by where a process stands."""
        kinds = collections.defaultdict(list)
        for pid, parent in ledger.descendants(self.jaild.pid):
            with contextlib.suppress(OSError, AttributeError):
                program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
                with open(f"/proc/{pid}/status") as file:
                    inner = re.search(r"NSpid:\s+(.*)", file.read()).group(1).split()
                if parent == self.jaild.pid:
                    kinds["keeper"].append(pid)
                elif program.startswith("jailrun"):
                    kinds["init"].append(pid)
                else:
                    kinds["zygote" if len(inner) == 2 else "guest"].append(pid)
        return kinds

    def end(self):
        """Both by SIGTERM: {what they left on their way}."""
        left = set()
        for process in (self.agent, self.jaild):
            process.send_signal(signal.SIGTERM)
            if process.wait(PATIENCE_S) != 0:
                left.add(f"{process.args[0]} ended with {process.returncode}")
        self.agent.stdout.close()
        self.log.close()
        return left

    def forget(self):
        shutil.rmtree(self.dir)


def kill(pid):
    """True if it was there. Returns when it is dead."""
    with contextlib.suppress(ProcessLookupError):
        victim = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(victim, signal.SIGKILL)
            select.select([victim], [], [], PATIENCE_S)
        finally:
            os.close(victim)
        return True
    return False
