#!/usr/bin/env python3
"""Counts what ctest found: summary.py [--broken N] SKIPS.txt RESULTS.xml…

N steps outside of ctest failed (a build, a lint); they count as failures.

The set of skipped tests must equal the checked-in list, name and reason: a test that silently stops running
is a failure. Prints failures and differences, then one line "N passed, N failed, N skipped"; exits 1 where
anything failed.
"""
import os
import re
import sys
import xml.etree.ElementTree as ET


def skip_reason(text):
    """The text that a GoogleTest skip gave, on one line."""
    match = re.search(r"Skipped\n(.*?)(?:\n\n|\n\[|\Z)", text or "", re.DOTALL)
    return " ".join(match.group(1).split()) if match else "no reason given"


def read_results(path):
    """(name, state, text) of each test of a ctest --output-junit file; its build's name leads the name."""
    suite = ET.parse(path).getroot()
    build = re.sub(r".*/([^/.]+)(?:\.\d+)?\.xml$", r"\1", path)  # release.1 is a share of release
    for case in suite.iter("testcase"):
        name = f"{build}:{case.get('name')}"
        text = case.findtext("system-out") or ""
        if case.find("failure") is not None or case.find("error") is not None:
            failure = case.find("failure")
            yield name, "failed", text or (failure.get("message") if failure is not None else "")
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped = case.find("skipped")
            known = "[  SKIPPED ]" in text or "Skipped" in text
            reason = skip_reason(text) if known else (skipped.get("message") if skipped is not None else "")
            yield name, "skipped", reason or "not run"
        elif case.get("status") == "disabled":
            yield name, "skipped", "disabled"
        elif case.get("status") == "fail":
            yield name, "failed", text
        else:
            yield name, "passed", ""


def facts_of_host():
    """What a line of skips.txt may ask for, of the host that this runs on."""
    pure = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    return {"v2" if pure else "v1", "root" if os.geteuid() == 0 else "user",
            "systemd" if os.path.isdir("/run/systemd/system") else "no-systemd",
            "chromium" if os.path.exists("/usr/bin/chromium") else "no-chromium"}


class Skips:
    """The checked-in list, as far as it holds on this host."""

    def __init__(self, path):
        self.lines = []  # (name, reason, whole name or a prefix)
        host, machine = facts_of_host(), {"v2", "systemd", "root"}
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                line = line.split("#")[0].strip()
                if not line:
                    continue
                name, reason, where = ([part.strip() for part in line.split("|")] + ["", ""])[:3]
                if set(where.split()) <= (machine if name.startswith("vm-") else host):
                    self.lines.append((name.removesuffix("*"), reason, not name.endswith("*")))

    def differences(self, skipped, ran):
        """One text for each skip without a line, with another reason, and for each line without a skip.

        `skipped`: name to reason; `ran`: the names of all tests of the builds that there are.
        """
        used = set()
        for name, reason in skipped.items():
            lines = [line for line in self.lines if covers(line, name)]
            if not lines:
                yield f"skipped without leave: {name} | {reason}"
            elif reason not in [line[1] for line in lines]:
                yield f"skipped for another reason: {name} | {reason}; tests/skips.txt says: {lines[0][1]}"
            used.update(lines)
        for line in self.lines:
            if line in used and all(name in skipped for name in ran if covers(line, name)):
                continue
            if any(covers(line, name) for name in ran):
                yield f"no longer skipped, take it out of tests/skips.txt: {line[0]}"


def covers(line, name):
    return name == line[0] if line[2] else name.startswith(line[0])


def main(arguments):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if arguments[0] == "--broken":
        counts["failed"] = int(arguments[1])
        arguments = arguments[2:]
    skipped, ran = {}, set()
    for path in arguments[1:]:
        for name, state, text in read_results(path):
            counts[state] += 1
            ran.add(name)
            if state == "failed":
                print(f"FAILED {name}")
                print("    " + "\n    ".join(text.strip().splitlines()[-25:]))
            if state == "skipped":
                skipped[name] = text
    for problem in Skips(arguments[0]).differences(skipped, ran):
        counts["failed"] += 1
        print(f"FAILED {problem}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
