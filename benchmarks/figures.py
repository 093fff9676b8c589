"""What compare and ladder share: percentiles, and the plot that is drawn in a jail."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def end_orderly():
    """So that what was started and made is ended and removed on SIGTERM, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def beside(jailrun, name):
    """A benchmark program: of the build that jailrun is of, else of the bench preset; None where it is not built."""
    of_build = os.path.join(os.path.dirname(os.path.dirname(jailrun)), "benchmarks", name)
    for program in (of_build, f"{PROJECT}/build/bench/benchmarks/{name}"):
        if os.access(program, os.X_OK):
            return program
    return None


def plot(document, jailrun, file):
    """Drawn by benchmarks/plot.py in a jail: this host needs no library for it."""
    with tempfile.TemporaryDirectory(prefix="jailrun-plot-") as directory:
        data = os.path.join(directory, "figures.json")
        with open(data, "w", encoding="utf-8") as out:
            json.dump(document, out)
        subprocess.run([jailrun, "run", "--cold", "--file", data, "--out", directory,
                        f"{PROJECT}/benchmarks/plot.py"], check=True)
        shutil.move(os.path.join(directory, "figures.png"), file)
