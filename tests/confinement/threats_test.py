#!/usr/bin/env python3
"""THREATS.md against the tests that there are: each row once, each test that it names known to ctest.

    threats_test.py BUILD_DIR      BUILD_DIR is where ctest has listed its tests, as it does when it begins
"""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from known_tests import TEST, known_tests  # noqa: E402

COUNTS = {"FS": 24, "PS": 13, "DV": 6, "NS": 16, "SC": 30, "FD": 8, "SG": 8, "CG": 12, "RX": 28, "PR": 13, "OF": 13,
          "DE": 6, "XT": 16}
ROWS = [f"{kind}-{number:02}" for kind, count in COUNTS.items() for number in range(1, count + 1)]


def faults(table, tests):
    seen = []
    # A test of a table is "Instance/Suite.Name/Case", and some begin with how the jail was started.
    bare = {part + "." + rest for name in tests for part, _, rest in [last_suite(name)]}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not re.match(r"[A-Z]{2}-\d+$", cells[0]):
            continue
        seen.append(cells[0])
        named = [name for name in re.findall(r"`([^`]+)`", cells[-1]) if TEST.fullmatch(name)]
        yield from (f"{cells[0]}: there is no test {name}" for name in named if name not in bare)
        if not named and "[pending]" not in cells[-1] and not cells[-1].startswith("n/a: "):
            yield f"{cells[0]} names no test, is not pending and does apply"
    yield from (f"{row} is there {seen.count(row)} times" for row in ROWS if seen.count(row) != 1)
    yield from (f"{row} is no row" for row in seen if row not in ROWS)


def last_suite(name):
    """Suite and test of "parked/Files/Refusal.InsideAndNotOutside/Mounting"."""
    for part in name.split("/"):
        if "." in part:
            return part.partition(".")
    return name.partition(".")


def main():
    with open(os.path.join(HERE, "THREATS.md")) as file:
        table = file.read()
    tests = known_tests(sys.argv[1])
    # The check is one: a row taken away, a test that is none and an empty proof are all found.
    broken = table.replace("| FS-01 |", "| FS-02 |").replace("`page.hostile`", "`page.nothing`").replace("| n/a: ", "| ")
    expected = {"FS-01 is there 0 times", "FS-02 is there 2 times", "OF-09: there is no test page.nothing",
                "XT-14 names no test, is not pending and does apply"}
    missed = expected - set(faults(broken, tests))
    found = list(faults(table, tests)) + [f"a broken table passes: {each}" for each in missed]
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
