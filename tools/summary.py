#!/usr/bin/env python3
"""Counts what ctest found: summary.py [--broken N] SKIPS.txt RESULTS.xml…

N steps outside of ctest failed (a build, a lint); they count as failures.

The set of skipped tests must equal the checked-in list, name and reason: a test that silently stops running
is a failure. Prints failures and differences, then one line "N passed, N failed, N skipped"; exits 1 where
anything failed.
"""
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
    build = re.sub(r".*/([^/]+)\.xml$", r"\1", path)
    for case in suite.iter("testcase"):
        name = f"{build}:{case.get('name')}"
        text = case.findtext("system-out") or ""
        if case.find("failure") is not None or case.find("error") is not None:
            yield name, "failed", text
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


def read_skips(path):
    """Lines "BUILD:TEST | reason"; '#' begins a comment. A skip that only some hosts have ends in " (maybe)"."""
    expected, possible = {}, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            line = line.split("#")[0].strip()
            if not line:
                continue
            name, _, reason = (part.strip() for part in line.partition("|"))
            maybe = reason.endswith("(maybe)")
            (possible if maybe else expected)[name] = reason.removesuffix("(maybe)").strip()
    return expected, possible


def main(arguments):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if arguments[0] == "--broken":
        counts["failed"] = int(arguments[1])
        arguments = arguments[2:]
    expected, possible = read_skips(arguments[0])
    skipped, builds = {}, set()
    for path in arguments[1:]:
        for name, state, text in read_results(path):
            counts[state] += 1
            builds.add(name.partition(":")[0])
            if state == "failed":
                print(f"FAILED {name}")
                print("    " + "\n    ".join(text.strip().splitlines()[-25:]))
            if state == "skipped":
                skipped[name] = text
    problems = []
    for name, reason in skipped.items():
        known = expected.get(name, possible.get(name))
        if known is None:
            problems.append(f"skipped without leave: {name} | {reason}")
        elif known != reason:
            problems.append(f"skipped for another reason: {name} | {reason}; tests/skips.txt says: {known}")
    for name in expected:
        if name not in skipped and name.partition(":")[0] in builds:
            problems.append(f"no longer skipped, take it out of tests/skips.txt: {name}")
    for problem in problems:
        print(f"FAILED {problem}")
    counts["failed"] += len(problems)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
