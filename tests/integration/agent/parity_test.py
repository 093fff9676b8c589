#!/usr/bin/env python3
"""agent/PARITY.md against the tests that there are: each row once, each test that it names known to ctest.

    parity_test.py BUILD_DIR      BUILD_DIR is where ctest has listed its tests, as it does when it begins
"""

import fnmatch
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
from known_tests import TEST, known_tests  # noqa: E402

ROWS = [f"S0-{i}" for i in range(1, 57)] + [f"S4-{i}" for i in range(1, 75)]


def faults(table, tests):
    seen = []
    bare = {name.split("/", 1)[-1] for name in tests} | {name.split("/")[0] for name in tests}
    bare |= {part for name in tests for part in name.split("/")} | set(tests)
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not re.match(r"S\d+-\d+$", cells[0]):
            continue
        seen.append(cells[0])
        if len(cells) != 3:
            yield f"{cells[0]} has {len(cells)} cells"
            continue
        named = [name for name in re.findall(r"`([^`]+)`", cells[2]) if TEST.fullmatch(name)]
        for name in named:
            if not fnmatch.filter(bare, name):
                yield f"{cells[0]}: there is no test {name}"
        if not named and "ruling: " not in cells[2]:
            yield f"{cells[0]} names neither a test nor a ruling"
    for row in ROWS:
        if seen.count(row) != 1:
            yield f"{row} is there {seen.count(row)} times"
    yield from (f"{row} is no row" for row in seen if row not in ROWS)


def main():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../agent/PARITY.md")) as file:
        table = file.read()
    tests = known_tests(sys.argv[1])
    # The check is one: a row taken away, one twice, a test that is none and an empty proof are all found.
    broken = table.replace("| S0-1 |", "| S0-2 |").replace("`ask.Recorded`", "`ask.Nothing`").replace("ruling: the jail; ", "")
    expected = {"S0-1 is there 0 times", "S0-2 is there 2 times", "S4-6: there is no test ask.Nothing",
                "S4-17 names neither a test nor a ruling"}
    missed = expected - set(faults(broken, tests))
    found = list(faults(table, tests)) + [f"a broken table passes: {each}" for each in missed]
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
