"""Runs unittest modules and writes what became of each case: inside.py OUT MODULE[:CASE]…

The same file runs in a jail and outside of it. Modules lie in /data, or are the standard library's
in /data/testsuite.tar.
"""

import faulthandler
import importlib
import json
import os
import sys
import tarfile
import unittest


class Outcomes(unittest.TestResult):
    """One line of JSON for each case, at once: what crashes later has told what came before."""

    def __init__(self, file):
        super().__init__()
        self.file, self.failed = file, {}

    def say(self, test, outcome, detail=""):
        print(json.dumps([test.id(), outcome, detail[-600:]]), file=self.file, flush=True)

    def startTest(self, test):
        super().startTest(test)
        self.failed.pop(test.id(), None)

    def addSuccess(self, test):
        if test.id() not in self.failed:
            self.say(test, "ok")

    def addSkip(self, test, reason):
        self.say(test, "skipped", reason)

    def addFailure(self, test, err):
        self.say(test, "failed", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        self.say(test, "error", self._exc_info_to_string(err, test))

    def addExpectedFailure(self, test, err):
        self.say(test, "ok")

    def addUnexpectedSuccess(self, test):
        self.say(test, "failed", "unexpected success")

    def addSubTest(self, test, subtest, err):
        if err is not None and test.id() not in self.failed:
            self.failed[test.id()] = True
            self.say(test, "failed", self._exc_info_to_string(err, test))


def standard_library():
    """The package `test`, from a copy that it may write beside."""
    with tarfile.open("/data/testsuite.tar") as archive:
        archive.extractall("/tmp/lib", filter="tar")
    sys.path.insert(0, "/tmp/lib")
    from test import support

    support.use_resources = ("subprocess", "decimal", "tzdata")
    support.verbose = False


def load(module, case):
    if case:
        return unittest.defaultTestLoader.loadTestsFromName(case, module)
    return unittest.defaultTestLoader.loadTestsFromModule(module)


def main(out, modules):
    faulthandler.enable()
    if os.path.exists("/data/testsuite.tar"):
        standard_library()
    sys.path.insert(1, "/data")
    os.makedirs("/tmp/here")
    os.chdir("/tmp/here")
    with open(out, "w") as file:
        outcomes = Outcomes(file)
        for name in modules:
            name, _, case = name.partition(":")
            try:
                suite = load(importlib.import_module(name), case)
            except unittest.SkipTest as skip:
                print(json.dumps([name, "skipped", str(skip)]), file=file)
                continue
            suite.run(outcomes)
        print(json.dumps(["", "end", ""]), file=file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
