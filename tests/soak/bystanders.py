#!/usr/bin/env python3
"""Processes that nobody has business with: whoever kills by a number that is another's by now hits
one of them. Some are born and some end all the time, so that they take numbers over.

    bystanders.py COUNT

until its standard input ends; then a line of JSON: how many there were, and how those ended that
did not end by themselves.
"""

import json
import os
import random
import select
import sys
import time

LIFE_S = 4  # at most


def bystander():
    if os.fork() == 0:
        time.sleep(random.random() * LIFE_S)
        os._exit(0)


def reap():
    """How the next one ended; None if it ended as it should."""
    pid, status, usage = os.wait3(0)
    code = os.waitstatus_to_exitcode(status)
    return f"bystander {pid} ended with {code}" if code else None


def main(count):
    hit = []
    for _ in range(count):
        bystander()
    born = count
    while not select.select([0], [], [], 0)[0]:
        hit.append(reap())
        bystander()
        born += 1
    hit += [reap() for _ in range(count)]
    print(json.dumps({"born": born, "hit": [each for each in hit if each]}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
