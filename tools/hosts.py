#!/usr/bin/env python3
"""The table of hosts, jail/HOSTS.md, from test results: hosts.py [--write] RESULTS.xml…

For each kind of host: each mechanism of a jail, what enforces it there, and by which tests that is seen. What
enforces is what `jailrun doctor` printed on such a host: the golden outputs, each of which a test of that kind
compares. The tests are those of RESULTS.xml that passed there. Without --write: compares the sections of the kinds
that have results with the file, prints what differs, and exits 1 where something does.
"""
import json
import re
import sys
from pathlib import Path

from summary import facts_of_host, read_results

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "jail/HOSTS.md"
GOLDEN = ROOT / "tests/integration/cli/golden"

# Title, golden output, results, what the names of its tests begin with, the test that compares its doctor.
KINDS = [
    ("root, controllers on cgroup v1 beside an empty v2", "root_hybrid", "release", "", "ForRoot"),
    ("root, pure cgroup v2, systemd, kernel 6.12", "root_v2", "vm-trixie", "", "ForRoot"),
    ("root, pure cgroup v2, systemd, kernel 6.1", "root_v2_6.1", "vm-bookworm", "", "ForRoot"),
    ("plain user, delegated cgroup, kernel 6.12", "user_delegated_v2", "vm-trixie", "users: ",
     "ForAUserWithADelegatedGroup"),
    ("plain user, delegated cgroup, kernel 6.1", "user_delegated_v2_6.1", "vm-bookworm", "users: ",
     "ForAUserWithADelegatedGroup"),
    ("plain user, nothing delegated, cgroup v1 (policy python-unlimited)", "user_hybrid", "release", "plain_",
     "ForAUserWithoutDelegation"),
    ("plain user, nothing delegated, cgroup v2 (policy python-unlimited)", "user_v2", "vm-trixie", "plain_",
     "ForAUserWithoutDelegation"),
    ("user namespaces restricted: refused", "restricted_hybrid", "release", None,
     "WhereUserNamespacesAreRestricted"),
    ("inside a container, /proc masked, cgroups read-only: refused", "container_hybrid", "release", None,
     "InsideAContainerWithMaskedProcAndReadOnlyCgroups"),
]

# Mechanism: what the names of its tests begin with, after the prefix of the kind.
TESTS = {
    "close_range": ["Posture.TheGuestHasThreePipesAndInitHasNothing"],
    "openat2": ["its files come out"],
    "rights of the owner": ["Posture.EveryProcessHasFiveEmptyCapabilitySets"],
    "user namespace": ["Posture.EveryNamespaceIsNoneOfTheHost"],
    "pid namespace": ["Posture.EveryNamespaceIsNoneOfTheHost", "Owner.KilledTakesGuestAndInit"],
    "mount namespace": ["Posture.ExactlyThreeMountsAreWritable"],
    "ipc namespace": ["Posture.EveryNamespaceIsNoneOfTheHost"],
    "uts namespace": ["Posture.EveryNamespaceIsNoneOfTheHost"],
    "cgroup namespace": ["Posture.EveryNamespaceIsNoneOfTheHost"],
    "network namespace": ["Posture.TheNetworkHasNoInterfaceThatIsUp"],
    "host uid range": ["Posture.EveryProcessHasOneHostUid", "a user without a range", "it lies in a scope"],
    "mount API": ["Posture.ExactlyThreeMountsAreWritable"],
    "id-mapped mounts": ["a private input"],
    "seccomp filter": ["Posture.EveryGuestProcessIsFiltered", "Verdict.PolicyViolation"],
    "clone into cgroup": ["Posture.EveryProcessIsInTheJailsOwnCgroups", "it lies in a scope"],
    "cgroup v2 leaf": ["Processes/Hostile", "nothing is left"],
    "memory limit": ["Verdict.OutOfMemoryKillsTheWholeJail", "its memory limit strikes"],
    "process limit": ["Verdict.PidsLimitIsTheVerdict", "its process limit strikes"],
    "CPU limit": ["Verdict.CpuTimeout", "a plain user's jail has three limits"],
    "out of memory is seen": ["Verdict.OutOfMemoryKillsTheWholeJail", "its memory limit strikes"],
    "a whole jail": ["Verdict.OkIsAnExitWithZero", "doctor says", "without delegation it is refused"],
}
NOT_OF_A_JAIL = ("kernel ", "image ", "policy ", "fresh network")


def tests_of(mechanism, prefix, passed):
    found = set()
    if prefix is None:
        return found
    for start in TESTS.get(mechanism, []):
        pattern = re.compile(re.escape(prefix).replace("plain_", "plain_[a-z]+/") + re.escape(start))
        found.update(name.split("  #")[0].split("/GuestIs")[0] for name in passed if pattern.match(name))
    return found


def section(kind, passed):
    title, golden, _, prefix, doctor = kind
    lines = [f"## {title}", "", f"By `DoctorPrints.{doctor}`, and:", "",
             "| mechanism | state | what enforces it | tested by |", "|---|---|---|---|"]
    for each in json.loads((GOLDEN / f"doctor_{golden}.json").read_text())["mechanisms"]:
        if each["name"].startswith(NOT_OF_A_JAIL):
            continue
        tests = ", ".join(f"`{name}`" for name in sorted(tests_of(each["name"], prefix, passed)))
        lines.append(f"| {each['name']} | {each['state']} | {each['enforces']} | {tests} |")
    return "\n".join(lines) + "\n"


def known_sections():
    """Title to text, of the file as it is."""
    if not TABLE.exists():
        return {}
    parts = re.split(r"^(?=## )", TABLE.read_text(), flags=re.MULTILINE)[1:]
    return {part.split("\n")[0].removeprefix("## "): part.rstrip("\n") + "\n" for part in parts}


def main(arguments):
    write = arguments[0] == "--write"
    passed = {}
    for path in arguments[write:]:
        for name, state, _ in read_results(path):
            build, _, test = name.partition(":")
            if state == "passed":
                passed.setdefault(build, set()).add(test)
    known, differs = known_sections(), []
    sections = dict(known)
    for kind in KINDS:
        names = passed.get(kind[2])
        # The release build's results are this host's, whichever kind it is of.
        if names is None or (kind[2] == "release" and not {"v1", "root"} <= facts_of_host()):
            continue
        sections[kind[0]] = section(kind, names)
        if f"DoctorPrints.{kind[4]}" not in names:
            differs.append(f"{kind[0]}: DoctorPrints.{kind[4]} has not passed")
        elif known.get(kind[0]) != sections[kind[0]]:
            differs.append(f"{kind[0]}: jail/HOSTS.md says otherwise")
    if write:
        text = "# Kinds of hosts\n\nMade by `tools/hosts.py` from the results of `tools/check`, which compares it.\n\n"
        TABLE.write_text(text + "\n".join(sections[kind[0]] for kind in KINDS if kind[0] in sections))
        return 0
    for line in differs:
        print(f"FAILED table of hosts: {line}; tools/hosts.py --write build/results/*.xml")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
