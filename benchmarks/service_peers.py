"""What `service` measures with: a jailagent of its own, a crowd of connections that do nothing, the disk."""

import contextlib
import http.client
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import threading
import time

from contenders import LIBC, PR_SET_PDEATHSIG, Daemon

CHUNK = 1 << 20


class Fault(Exception):
    """A figure cannot be had; or what was measured did not behave."""


class Agent:
    """A jailagent on a port of loopback that was free."""

    def __init__(self, stack, jailrun, directory, jaild):
        program = os.path.join(os.path.dirname(jailrun), "jailagent")
        self.store = os.path.join(directory, "store")
        log = stack.enter_context(open(os.path.join(directory, "jailagent.log"), "wb"))
        self.process = subprocess.Popen(
            [program, "serve", "--listen", "127.0.0.1:0", "--jaild", jaild, "--store", self.store,
             "--record", os.path.join(directory, "record.db"), "--keys", os.path.join(directory, "keys.json"),
             "--execute-policy", "python"],
            stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"MAX_FILE_SIZE_MB": "2048"},
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM))
        Daemon.pids.add(self.process.pid)
        stack.callback(self.process.stdout.close)
        stack.callback(self.process.wait)
        stack.callback(self.process.terminate)
        line = self.process.stdout.readline().strip()
        if not (port := re.search(r":(\d+)$", line)):
            raise SystemExit(f"service: jailagent does not listen; it says: {line or 'nothing'}")
        self.port = int(port[1])

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def timed(self, method, path, body):
        began = time.monotonic()
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            reply.read()
            return reply.status, time.monotonic() - began

    def ask(self, method, path, body=None):
        with contextlib.closing(self.connect()) as connection:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            said = reply.read()
            if reply.status >= 300:
                raise Fault(f"{method} {path}: {reply.status} {said.decode(errors='replace')[:200]}")
            return json.loads(said or b"null")

    def wait_for_jails(self):
        deadline = time.monotonic() + 120
        while self.timed("POST", "/v1/run", '{"code": "1"}')[0] != 200:
            if time.monotonic() > deadline:
                raise SystemExit("service: no jail in two minutes; see `jailrun doctor`")
            time.sleep(0.2)

    # --- memory -----------------------------------------------------------------------------------

    def status_mib(self, key):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))

    def memory_mib(self):
        return self.status_mib("VmRSS:")

    def peak_mib(self):
        """The most since forget_peak()."""
        return self.status_mib("VmHWM:")

    def forget_peak(self):
        with open(f"/proc/{self.process.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    # --- files ------------------------------------------------------------------------------------

    def upload(self, source, size):
        """Seconds, the file's id, and the path of its content."""
        began = time.monotonic()
        with open(source, "rb") as file, contextlib.closing(self.connect()) as connection:
            connection.putrequest("POST", "/v1/users/bench/files?filename=big.bin")
            connection.putheader("Content-Length", str(size))
            connection.endheaders()
            left = size
            while left > 0:
                left -= connection.sock.sendfile(file, size - left, left)
            reply = connection.getresponse()
            said = json.loads(reply.read())
            if reply.status != 201:
                raise Fault(f"the upload: {reply.status} {said}")
        took = time.monotonic() - began
        return took, said["file_id"], os.path.join(self.store, "blobs", said["metadata"]["sha256"])

    def download(self, file_id, size, blob):
        """Seconds, from the disk."""
        forget(blob)
        buffer = bytearray(CHUNK)
        began = time.monotonic()
        # By hand: http.client takes more time for it than the service does.
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            connection.sendall(f"GET /v1/users/bench/files/{file_id}/content HTTP/1.1\r\n"
                               "Host: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head and (part := connection.recv(4096)):
                head += part
            got = len(head) - head.find(b"\r\n\r\n") - 4
            while n := connection.recv_into(buffer):
                got += n
        if not head.startswith(b"HTTP/1.1 200 ") or got != size:
            raise Fault(f"the download: {head[:40]}, {got} of {size} bytes")
        return time.monotonic() - began


class Crowd:
    """Connections to be held: half of them idle after a request, half in the middle of a head that comes a byte at a
    time. None of them would be ended by a server that waits thirty seconds for each head."""

    def __init__(self, port, count):
        self.port, self.count, self.all = port, count, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.trickle, daemon=True)

    def __enter__(self):
        try:
            self.gather()
        except (Fault, OSError):
            self.close()
            raise
        self.thread.start()
        return self

    def gather(self):
        for index in range(self.count):
            each = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            self.all.append(each)
            each.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + (b"\r\n" if index % 2 else b"X-Slow: "))
        for each in self.all[1::2]:
            if not each.recv(4096).startswith(b"HTTP/1.1 200"):
                raise Fault("a connection of the crowd is refused")

    def trickle(self):
        """Each slow one a byte in ten seconds."""
        slow, at = self.all[0::2], 0
        while not self.stop.wait(0.02):
            for _ in range(max(1, len(slow) // 500)):
                with contextlib.suppress(OSError):
                    slow[at % len(slow)].send(b"x")
                at += 1

    def held(self):
        """How many the server has not ended. What it has said to them is nothing, so whoever can be read has."""
        with selectors.DefaultSelector() as selector:
            for each in self.all:
                selector.register(each, selectors.EVENT_READ)
            return len(self.all) - len(selector.select(0))

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.close()

    def close(self):
        for each in self.all:
            each.close()


# --- the disk -------------------------------------------------------------------------------------


def forget(path):
    """From here on its bytes come from the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_write(path, size):
    """Seconds for so many bytes and fsync(2), as dd does with conv=fsync."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    block = os.urandom(CHUNK)
    began = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        left = size
        while left > 0:
            left -= file.write(block[:left])
        os.fsync(file.fileno())
    return time.monotonic() - began


def disk_read(path):
    forget(path)
    buffer = bytearray(CHUNK)
    began = time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.monotonic() - began


def loopback(path):
    """Seconds for a file from the cache through a bare TCP connection of this machine, in the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as server, open(path, "rb") as file:
        def send():
            with socket.create_connection(server.getsockname()) as sender:
                sender.sendfile(file)

        thread = threading.Thread(target=send)
        began = time.monotonic()
        thread.start()
        receiver, _ = server.accept()
        buffer = bytearray(CHUNK)
        with receiver:
            while receiver.recv_into(buffer):
                pass
        thread.join()
    return time.monotonic() - began


def left_behind():
    """Of what was started, daemons included: command lines of processes that are still there."""
    left = []
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:
        for pid in children.read().split():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", "rb") as line:
                    left.append(f"{pid} {line.read().replace(bytes(1), b' ').decode(errors='replace')}")
    return left
