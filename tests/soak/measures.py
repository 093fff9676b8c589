"""How late a deadline strikes, and what a neighbour feels: one thing at a time, nothing killed."""

import json
import os
import statistics
import struct
import subprocess
import tempfile

import work
from paths import Book, Cold, Socket, now_ns

NEIGHBOUR_RUNS = 60
ATTACKS = ("spin", "fork-storm", "held-sort", "memory", "flood", "inodes", "daemons")


def at(samples, share):
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def summary(samples):
    """Of microseconds, in milliseconds."""
    if not samples:
        return {"samples": 0}
    return {
        "samples": len(samples),
        "p50_ms": at(samples, 0.5) / 1000,
        "p99_ms": at(samples, 0.99) / 1000,
        "worst_ms": max(samples) / 1000,
    }


class Measures:
    def __init__(self, daemons, worker, jobs, seed):
        self.daemons, self.worker, self.jobs, self.seed = daemons, worker, jobs, seed
        self.events = []

    def socket(self, book, only, *options):
        return Socket(
            self.daemons, book, self.worker, self.seed, self.jobs, [*options, "--only", *only]
        )

    def deadlines(self, rounds):
        """{path: {attack: summary, "all": summary}}, each attack about `rounds` times a path."""
        book = Book()
        names = [job.name for job in work.DEADLINES]
        warm = self.socket(book, names, "--clients", 1, "--runs", rounds * len(names))
        warm.start()
        warm.join()
        cold = Cold(self.daemons, book, self.seed)
        # A policy's first run compiles it, before any clock of a jail begins: 50 ms of no deadline.
        cold.once(work.BY_NAME["line"])
        for _ in range(rounds):
            for job in work.DEADLINES:
                cold.once(job)
        self.events += book.events
        told = {}
        for path, jobs in book.overshoot_us.items():
            told[path] = {job: summary(samples) for job, samples in sorted(jobs.items())}
            told[path]["all"] = summary([each for samples in jobs.values() for each in samples])
        return told

    def last_instructions(self, rounds):
        """{way: summary} of a fork storm's last sign of life, beyond the limit. At most the truth and
        the start of jailrun: what is measured begins before the limit does."""
        told = {}
        for way in ("--cold", "--warm"):
            samples = [self.last_instruction(way) for _ in range(rounds)]
            told[way] = summary([us for us in samples if us is not None])
        return told

    def last_instruction(self, way):
        """Microseconds; None where it did not come to its first."""
        with tempfile.TemporaryDirectory() as out:
            command = [self.daemons.program("jailrun"), "run", way, "--json", "--out", out]
            begun = now_ns()
            done = subprocess.run(
                [*command, "-t", f"{work.STAMPS.wall_ms}ms", "-"],
                input=work.STAMPS.asked_with(10 ** (work.DIGITS - 1)),
                env={**os.environ, "JAILRUN_SOCKET": self.daemons.socket},
                capture_output=True,
                text=True,
            )
            stages = {each["stage"]: each["at_ns"] for each in json.loads(done.stdout)["timeline"]}
            begun += stages["exec"] if way == "--cold" else 0
            try:
                with open(os.path.join(out, "stamps"), "rb") as file:
                    _, last = struct.unpack("qq", file.read(16))
            except FileNotFoundError:
                return None
        return (last - begun - work.STAMPS.wall_ms * 1_000_000) // 1000

    def line_us(self, runs=NEIGHBOUR_RUNS):
        """The median time of the least work."""
        book = Book()
        neighbour = self.socket(book, ("line",), "--clients", 1, "--runs", runs)
        neighbour.run()
        self.events += book.events
        return statistics.median(neighbour.summary["took_us"].get("line", [0]))

    def neighbours(self):
        """{attack: how many times as long as alone}; an attacker repeats itself all the while."""
        alone, told = self.line_us(), {}
        for attack in ATTACKS:
            book = Book()
            attacker = self.socket(book, (attack,), "--clients", 1, "--seconds", 3600)
            attacker.start()
            try:
                told[attack] = round(self.line_us() / alone, 2)
            finally:
                attacker.process.kill()
                attacker.join()
            self.events += book.events
        return {"alone_us": alone, "times": told}
