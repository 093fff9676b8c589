"""How late a deadline strikes, and what a neighbour feels: one thing at a time, nothing killed."""

import statistics

import work
from paths import Book, Cold, Socket

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
        for _ in range(rounds):
            for job in work.DEADLINES:
                cold.once(job)
        self.events += book.events
        told = {}
        for path, jobs in book.overshoot_us.items():
            told[path] = {job: summary(samples) for job, samples in sorted(jobs.items())}
            told[path]["all"] = summary([each for samples in jobs.values() for each in samples])
        return told

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
