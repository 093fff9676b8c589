"""The ways to a jail: `jailrun` cold and warm, HTTP, jaild's socket. Each is a thread that asks,
and judges what comes.
"""

import http.client
import json
import os
import random
import subprocess
import threading
import time

import work

GONE = (ConnectionError, http.client.HTTPException, TimeoutError, OSError, json.JSONDecodeError)
HANGS_S = 180  # of a run that ends within seconds


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class Event:
    """A run that was not right: "mixed", "wrong", "ended", "refused", "broken" or "hung"."""

    def __init__(self, path, job, kind, detail, begin_ns, end_ns):
        self.path, self.job, self.kind, self.detail = path, job, kind, detail
        self.begin_ns, self.end_ns = begin_ns, end_ns


class Book:
    """What all paths write into."""

    def __init__(self):
        self.lock = threading.Lock()
        self.right = {}  # path -> {job: count}
        self.events = []
        self.overshoot_us = {}  # path -> {job: [us]}

    def note_right(self, path, job, count=1):
        with self.lock:
            jobs = self.right.setdefault(path, {})
            jobs[job] = jobs.get(job, 0) + count

    def note(self, *event):
        with self.lock:
            self.events.append(Event(*event))

    def note_overshoot(self, path, job, samples):
        with self.lock:
            self.overshoot_us.setdefault(path, {}).setdefault(job, []).extend(samples)

    def done(self):
        with self.lock:
            return sum(sum(jobs.values()) for jobs in self.right.values())


class Path(threading.Thread):
    """One thread's runs, one after the other."""

    name_of_path = ""

    def __init__(self, daemons, book, seed):
        super().__init__(daemon=True)
        self.daemons, self.book, self.dice = daemons, book, random.Random(seed)
        self.stop, self.pause_s = False, 0

    def run(self):
        while not self.stop:
            self.once(self.choose())
            time.sleep(self.pause_s)

    def choose(self):
        return work.mixed(self.dice)

    def once(self, job):
        nonce = self.dice.randrange(10 ** (work.DIGITS - 1), 10**work.DIGITS)
        begin = now_ns()
        try:
            fault = self.ask(job, nonce)
        except GONE as gone:
            fault = ("broken", f"{type(gone).__name__}: {gone}")
        if fault is None:
            self.book.note_right(self.name_of_path, job.name)
        else:
            self.book.note(self.name_of_path, job.name, *fault, begin, now_ns())
            if fault[0] in ("refused", "broken"):
                time.sleep(0.02)

    def ask(self, job, nonce):
        raise NotImplementedError


class Command(Path):
    """`jailrun run`: a process for each."""

    way = ""

    def __init__(self, daemons, book, seed):
        super().__init__(daemons, book, seed)
        self.process, self.killed = None, False

    def ask(self, job, nonce):
        command = [self.daemons.program("jailrun"), "run", self.way, "--json", "-"]
        if job.wall_ms:
            command[-1:] = ["-t", f"{job.wall_ms}ms", "-"]
        self.killed = False
        begun = now_ns()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "JAILRUN_SOCKET": self.daemons.socket},
            text=True,
        )
        try:
            out, err = self.process.communicate(job.asked_with(nonce), timeout=HANGS_S)
        except subprocess.TimeoutExpired:
            return "hung", f"{command} for {HANGS_S} s"
        ended = now_ns()
        status = self.process.returncode
        if status == -9:
            return "ended", "kill -9 of jailrun"
        if not out.startswith("{"):
            return "broken", f"status {status}: {out[:200]} {err[:300]}"
        result = json.loads(out)
        if "verdict" not in result:
            return "refused", f"status {status}: {out[:300]} {err[:300]}"
        if job.verdicts == (work.TIME,) and result["verdict"] == work.TIME:
            self.measure(job, result, ended - begun)
        return job.fault(nonce, result["verdict"], result["stdout"], result["stderr"])

    def measure(self, job, result, took_ns):
        """From the guest's first instruction to the end of jailrun, beyond the limit."""
        stages = {each["stage"]: each["at_ns"] for each in result["timeline"]}
        if self.way == "--cold":
            self.book.note_overshoot(
                self.name_of_path,
                job.name,
                [(took_ns - stages["exec"] - job.wall_ms * 1_000_000) // 1000],
            )


class Cold(Command):
    name_of_path, way = "jailrun --cold", "--cold"


class Warm(Command):
    name_of_path, way = "jailrun --warm", "--warm"


class Line:
    """A connection to jailagent with a key, made again where it broke. Raises what GONE names."""

    def __init__(self, port, key, timeout_s):
        self.port, self.key, self.timeout_s, self.connection = port, key, timeout_s, None

    def ask(self, method, path, body=None, kind="application/json"):
        """(status, content). `body`: bytes, or what becomes JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        head = {"Authorization": "Bearer " + self.key}
        if body is not None:
            head["Content-Type"] = kind
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(
                    "127.0.0.1", self.port, timeout=self.timeout_s
                )
            self.connection.request(method, path, body, head)
            reply = self.connection.getresponse()
            return reply.status, reply.read()
        except GONE:
            self.close()
            raise

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Http(Path):
    """POST /v1/run of one owner over one connection, made again where it broke."""

    name_of_path = "POST /v1/run"
    # A live interpreter says how a cell ended, jaild how its jail did.
    VERDICTS = {"ok": work.OK, "error": work.FAILED, "exit": work.FAILED}

    def __init__(self, daemons, book, seed):
        super().__init__(daemons, book, seed)
        self.line = Line(daemons.port, daemons.keys[0], HANGS_S)

    def choose(self):
        if self.pause_s:  # a connection that broke meanwhile would be found broken long after the kill
            self.line.close()
        if self.dice.random() < 0.97:
            return self.dice.choices(work.FRIENDLY, [job.weight for job in work.FRIENDLY])[0]
        return work.BY_NAME[self.dice.choice(("spin", "memory", "kill-all"))]

    def ask(self, job, nonce):
        body = {"code": job.asked_with(nonce)} | (
            {"timeout": job.wall_ms / 1000} if job.wall_ms else {}
        )
        status, content = self.line.ask("POST", "/v1/run", body)
        if status in (429, 503):
            return "refused", f"status {status}: {content[:300]}"
        if status != 200:
            return "wrong", f"status {status}: {content[:300]}"
        return self.judge(job, nonce, json.loads(content))

    def judge(self, job, nonce, answer):
        outcome = answer["outcome"]
        verdict = answer.get("verdict") or self.VERDICTS.get(outcome, outcome)
        if outcome == "interrupted" and answer.get("timed_out"):
            verdict = work.TIME
        if outcome == "died":  # of a session: whoever serves it was hit
            verdict = "cancelled"
        return job.fault(nonce, verdict, answer["stdout"])


class Volume(threading.Thread):
    """soak_worker: many clients. Its lines are events, its last one the counts."""

    name_of_path = ""

    def __init__(self, book, worker, way, seed, jobs, options):
        super().__init__(daemon=True)
        self.book, self.summary = book, None
        self.process = subprocess.Popen(
            [
                worker,
                *way,
                "--jobs",
                jobs,
                "--seed",
                str(seed),
                *map(str, options),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self):
        for line in self.process.stdout:
            try:
                said = json.loads(line)
            except json.JSONDecodeError:  # killed in the middle of it
                continue
            if "kind" in said:
                self.book.note(
                    self.name_of_path,
                    said["job"],
                    said["kind"],
                    said["detail"],
                    said["begin_ns"],
                    said["end_ns"],
                )
            else:
                self.take(said)
        self.process.wait()

    def take(self, summary):
        self.summary = summary
        for job, count in summary["right"].items():
            self.book.note_right(self.name_of_path, job, count)
        for job, samples in summary["overshoot_us"].items():
            self.book.note_overshoot(self.name_of_path, job, samples)


class Socket(Volume):
    """A connection for each client."""

    name_of_path = "jaild's socket"

    def __init__(self, daemons, book, worker, seed, jobs, options):
        super().__init__(book, worker, ["--socket", daemons.socket], seed, jobs, options)


class Exec(Volume):
    """`jailrun exec`: a process for each, and no Python."""

    name_of_path = "jailrun exec"

    def __init__(self, daemons, book, worker, seed, jobs, options):
        super().__init__(book, worker, ["--exec", daemons.program("jailrun")], seed, jobs, options)
