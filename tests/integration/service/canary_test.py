#!/usr/bin/env python3
"""Secrets that lie with jailagent and jaild, looked for in their jails: from inside by all that a guest can read, from
outside by root in memory, environment and descriptors of every process below jaild. Each look finds what it may find.

    canary_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jaild, jailagent and jailrun
"""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

import daemons
from daemons import Service

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, "..", "agent"), os.path.join(HERE, "..", "..", "guests")]
import canary_search  # noqa: E402
from scripted_server import ScriptedServer, calls, text  # noqa: E402

POLICIES = os.path.join(HERE, "..", "..", "..", "policies")


class Canaries(dict):
    """Name → word."""

    def __missing__(self, name):
        self[name] = "canary-" + secrets.token_hex(16)
        return self[name]

    def told(self, kinds):
        """{name: kinds} of what a look found, which told digests."""
        names = {hashlib.sha256(word.encode()).hexdigest(): name for name, word in self.items()}
        return {names.get(digest, "unknown " + digest): set(found) for digest, found in kinds.items()}


def code(own):
    with open(canary_search.__file__) as file:
        return file.read() + f"\nsearch({own!r})\n"


def look_from_outside(pid):
    """Digests found in a process; nothing where it is gone."""
    findings, place = canary_search.Findings(), f"/proc/{pid}"
    findings.file("environ", place + "/environ")
    with contextlib.suppress(OSError):
        with open(place + "/maps") as file:
            maps = file.read()
        with open(place + "/mem", "rb", buffering=0) as memory:
            for begin, end in canary_search.spans(maps):
                findings.all_of("memory", lambda size, at: os.pread(memory.fileno(), size, at), begin, end)
    with contextlib.suppress(OSError):
        for fd in os.listdir(place + "/fd"):
            findings.file("descriptor", f"{place}/fd/{fd}")
    return findings.kinds


def below(pid):
    """Keepers, zygotes, inits and guests of a jaild: its processes that are not in its own pid namespace."""
    def levels(each):
        with open(f"/proc/{each}/status") as file:
            return len(next(line for line in file if line.startswith("NSpid:")).split())

    found, rest = [], [pid]
    while rest:
        with contextlib.suppress(OSError):
            each = rest.pop()
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children") as file:
                    rest += map(int, file.read().split())
            if levels(each) > levels(pid):
                found.append(each)
    return found


def jailrun(socket, *words, given=None):
    ran = subprocess.run([os.path.join(daemons.BIN, "jailrun"), *words], cwd=os.path.dirname(socket), input=given, text=True,
                         capture_output=True, timeout=120, env={"PATH": os.environ["PATH"], "JAILRUN_SOCKET": socket})
    return ran.returncode, ran.stdout.strip(), ran.stderr


class CanaryTest(unittest.TestCase):
    def check_inside(self, canaries, out, expected):
        """The look of a guest: it saw much, and found each of these, where it must, and nothing else."""
        told = json.loads(out)
        for kind, least in {"memory": 10 << 20, "environ": 50, "name": 1000, "file": 1000}.items():
            self.assertGreater(told["seen"].get(kind, 0), least, kind)
        found = canaries.told(told["kinds"])
        self.assertEqual(set(found), set(expected))
        for name, kinds in expected.items():
            self.assertLessEqual(kinds, found[name], name)

    def check_outside(self, canaries, jaild, trusted):
        """Each process below jaild has at most what one of these sets has; how many have each name."""
        count = {}
        for pid in below(jaild):
            found = set(canaries.told(look_from_outside(pid)))
            self.assertTrue(any(found <= each for each in trusted), f"process {pid} has {sorted(found)}")
            for name in found:
                count[name] = count.get(name, 0) + 1
        return count


class Guarded(Service):
    """jailagent has more in its environment than jaild has."""

    def __init__(self, agent, **options):
        self.of_agent = agent
        super().__init__(**options)

    def start_agent(self):
        with mock.patch.dict(os.environ, self.of_agent):
            super().start_agent()


MINE = {"memory", "file", "descriptor"}  # where a guest has left its own


class Agent(CanaryTest):
    def setUp(self):
        self.canaries = Canaries()
        self.dir = tempfile.mkdtemp(prefix="canary-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.model = self.enterContext(ScriptedServer([], key=self.canaries["model key"]))
        add = [os.path.join(daemons.BIN, "jailagent"), "keys", "--keys", os.path.join(self.dir, "keys.json"), "add"]
        self.heads = []
        for owner in ("ada", "bob"):
            made = subprocess.run([*add, self.canaries[owner + ": name of a key"]], check=True, capture_output=True, text=True)
            self.canaries[owner + ": key"] = key = made.stdout.strip()
            self.heads.append({"Authorization": "Bearer " + key})
        self.put("config", f'[models]\nanthropic-key = "{self.canaries["key in the configuration"]}"\n', 0o600)
        with mock.patch.dict(os.environ, {"JAILD_TEST_SECRET": self.canaries["jaild's environment"]}):
            self.service = Guarded(
                {"LLM_PROVIDER": "openai", "OPENAI_API_KEY": self.model.key, "OPENAI_BASE_URL": self.model.url,
                 "OPENAI_MODEL": "scripted", "JAILRUN_CONFIG": os.path.join(self.dir, "config"),
                 "JAILRUN_DATASETS": os.path.join(self.dir, "sets")},
                keys=os.path.join(self.dir, "keys.json"), key=self.canaries["bob: key"])
        self.addCleanup(lambda: self.assertEqual(self.service.end(), 0))

    def put(self, name, content, mode=0o644):
        path = os.path.join(self.dir, name)
        with open(path, "w") as file:
            file.write(content)
        os.chmod(path, mode)
        return path

    def ask(self, owner, method, path, body=None, status=200):
        headers = dict(self.heads[owner])
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/octet-stream"
        got, reply = self.service.ask(method, path, body, headers)
        self.assertEqual(got, status, reply)
        return reply

    def upload(self, owner, name, word):
        return self.ask(owner, "POST", f"/v1/users/me/files?filename={name}.csv", f"a,b\n1,{word}\n".encode(), 201)["file_id"]

    def chat(self, owner, *script, **body):
        self.model.play(script)
        reply = self.ask(owner, "POST", "/chat", body)
        self.assertEqual((reply["status"], self.model.faults), ("succeeded", []), reply)
        return reply

    def test_of_keys_store_record_and_other_owner_are_in_no_guest_of_an_owner(self):
        canaries, ada, bob = self.canaries, 0, 1
        shop = self.put("shop.csv", f"a,b\n1,{canaries['data set']}\n")
        subprocess.run([os.path.join(daemons.BIN, "jailrun"), "datasets", "add", "shop", shop, "--as-of", "2026-01-01",
                        "--dir", os.path.join(self.dir, "sets")], check=True, capture_output=True)
        file = self.upload(ada, canaries["ada: name of a file"], canaries["ada: file"])
        session = self.ask(ada, "POST", "/v1/sessions", {"files": [file], "user_id": "me"}, 201)["id"]
        kept = f"kept = open('/work/kept', 'w').write({canaries['ada: session']!r}), {canaries['ada: session']!r}"
        self.assertEqual(self.ask(ada, "POST", f"/v1/sessions/{session}/execute", {"code": kept})["outcome"], "ok")
        for data in ({"files": [file], "user_id": "me"}, {"dataset_id": "shop"}):
            self.chat(ada, calls(f"print({canaries['ada: code']!r})"), text(canaries["ada: answer"]),
                      message=canaries["ada: question"], thread_id=canaries["ada: thread"] if "files" in data else None, **data)
        self.check_at_rest({"model key", "key in the configuration", "data set"} | {
            "ada: " + each for each in ("name of a key", "name of a file", "file", "question", "answer", "thread", "code")})

        own = canaries["bob: code"]
        self.check_inside(canaries, self.ask(bob, "POST", "/v1/run", {"code": code(own)})["stdout"], {"bob: code": MINE})
        file = self.upload(bob, "bob", canaries["bob: file"])
        mine = self.ask(bob, "POST", "/v1/sessions", {"files": [file], "user_id": "me"}, 201)["id"]
        reply = self.ask(bob, "POST", f"/v1/sessions/{mine}/execute", {"code": code(own)})
        both = {"bob: code": MINE, "bob: file": {"file"}}
        self.check_inside(canaries, reply["stdout"], both)
        reply = self.chat(bob, calls(code(own)), text("done"), message="look", files=[file], user_id="me")
        (step,) = self.ask(bob, "GET", "/runs/" + reply["run_id"])["steps"]
        self.check_inside(canaries, step["stdout"], both)

        # Both sessions live: each process has what one of them has, if anything.
        count = self.check_outside(canaries, self.service.jaild.pid, [{"ada: session", "ada: file"}, set(both)])
        self.assertLessEqual({"ada: session", "bob: code"}, set(count), "the twins: sessions have their own")
        self.assertIn("model key", canaries.told(look_from_outside(self.service.agent.pid)), "the twin: the service has it")

    def check_at_rest(self, names):
        """The twin: this is what lies on the host, for whoever can read it; the model's key is in the environment."""
        findings = canary_search.Findings()
        for top in (self.dir, self.service.dir):
            for directory, _, files in os.walk(top):
                for each in files:
                    findings.note("name", os.fsencode(each))
                    findings.file("file", os.path.join(directory, each))
        findings.file("environ", f"/proc/{self.service.agent.pid}/environ")
        self.assertLessEqual(names, set(self.canaries.told(findings.kinds)))


class Daemon(CanaryTest):
    """What jaild itself has: variables, a key of the configuration, a descriptor that was left open to it."""

    def start(self, canaries, *options):
        place = self.enterContext(tempfile.TemporaryDirectory(prefix="canary-test-"))
        # The word of this policy is in every environment, and found wherever environments are looked at.
        with open(os.path.join(POLICIES, "python.textproto")) as file:
            policy = file.read() + f'environment {{ key: "OF_THE_POLICY" value: "{canaries["policy"]}" }}\n'
        left = {"config": f'[models]\nopenai-key = "{canaries["configuration"]}"\n', "open": canaries["descriptor"],
                "python.textproto": policy}
        for name, content in left.items():
            with open(os.path.join(place, name), "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(content)
        socket = os.path.join(place, "s")
        env = {**os.environ, "JAILD_TEST_SECRET": canaries["variable"], "JAILRUN_CONFIG": os.path.join(place, "config"),
               "JAILRUN_POLICY_DIR": place}
        with open(os.path.join(place, "open")) as low, open(os.path.join(place, "log"), "w") as log:
            # A keeper puts what it needs on the lowest numbers, over what is there: this one only a close can end.
            held = self.enterContext(open(fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 300)))
            jaild = subprocess.Popen([os.path.join(daemons.BIN, "jaild"), "--socket", socket, *options], env=env,
                                     pass_fds=(held.fileno(),), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(lambda: (jaild.terminate(), jaild.wait(60)))
        until = time.monotonic() + 60
        while jailrun(socket, "run", "--warm", "-", given="1")[0] != 0:
            assert time.monotonic() < until, "no jail in a minute"
        return jaild.pid, socket

    def check_jails(self, *options, parked):
        canaries = Canaries()
        jaild, socket = self.start(canaries, *options)
        everywhere = {"policy": {"environ", "memory"}}
        status, out, err = jailrun(socket, "run", "--warm", "-", given=code(canaries["run"]))
        self.assertEqual(status, 0, err)
        self.check_inside(canaries, out, {"run": MINE, **everywhere})

        sessions = [jailrun(socket, "session", "new")[1] for _ in range(2)]
        names = ["first session", "second session"]
        words = [canaries[name] for name in names]
        with concurrent.futures.ThreadPoolExecutor() as both:
            ran = list(both.map(lambda session, word: jailrun(socket, "session", "exec", session, "-", given=code(word)),
                                sessions, words))
        for name, (status, out, err) in zip(names, ran):
            self.assertEqual(status, 0, err)
            self.check_inside(canaries, out, {name: MINE, **everywhere})

        until = time.monotonic() + 60
        while True:
            jails = json.loads(jailrun(socket, "ps", "--json")[1])["jails"]
            waiting = [jail["pid"] for jail in jails if jail["state"] == "parked"]
            if len(waiting) >= parked:
                break
            self.assertLess(time.monotonic(), until, jails)
        self.assertLessEqual(set(waiting), set(below(jaild)))
        count = self.check_outside(canaries, jaild, [{"policy", name} for name in names])
        self.assertEqual([count.get(name) for name in names], [1, 1], "the twins: sessions have their own")
        self.assertGreaterEqual(count["policy"], 3 + parked, "the twin: zygote, sessions and parked guests have it")
        has = canaries.told(look_from_outside(jaild))
        self.assertLessEqual({"environ", "memory"}, has["variable"], "the twins: jaild has them")
        self.assertIn("memory", has["configuration"])
        self.assertIn("descriptor", has["descriptor"])

    def test_has_nothing_that_a_parked_jail_or_a_session_has(self):
        self.check_jails(parked=4)

    def test_has_nothing_that_a_jail_forked_on_demand_has(self):
        self.check_jails("--on-demand", parked=0)


if __name__ == "__main__":
    if len(sys.argv) < 2 or not os.path.exists(os.path.join(sys.argv[1], "jailagent")):
        sys.exit("usage: canary_test.py BIN_DIR [unittest arguments]; BIN_DIR holds jaild, jailagent and jailrun")
    daemons.BIN = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
