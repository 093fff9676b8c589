#!/usr/bin/env python3
"""What `jailrun ask` and the services log.

    ask_logs_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jailrun and jailrun-full
"""

import json
import os
import re
import subprocess
import urllib.request

import asking
from asking import WORKS, AskTest
from scripted_server import ScriptedServer, calls, text


class Logs(AskTest):
    """What is logged of a question: to a file and the terminal, as text and as JSON, without keys."""

    LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - ask - (DEBUG|INFO|WARNING|ERROR|CRITICAL) - .")
    FORGED = "\n2026-01-01 00:00:00,000 - ask - ERROR - forged\r\x1b[2J{\"level\": \"ERROR\"}"

    def logged(self, name="log"):
        with open(os.path.join(self.dir, name), newline="") as file:
            return file.read()

    def test_a_log_tells_each_run_by_its_id_and_neither_keys_nor_forged_lines(self):
        key = "scripted-key-0123456789abcdef"
        raises = f"import sys\nsys.exit({self.FORGED + key!r})"
        with ScriptedServer([calls(raises), calls(WORKS), text("done")], key=key) as server:
            question = f"mean tip? {key}{self.FORGED}"
            status, out, err = self.ask("--json", "--file", self.tips, question, server=server,
                                        LOG_LEVEL="debug", LOG_FORMAT="json", LOG_FILE="log")
        self.assertEqual((server.faults, status), ([], 0), err)
        content = self.logged()
        self.assertNotIn(key, content + err)
        lines = [json.loads(line) for line in content.split("\n")[:-1]]
        self.assertEqual([json.loads(line) for line in err.splitlines()], lines)
        self.assertEqual({line["run_id"] for line in lines}, {json.loads(out)["run_id"]})
        self.assertEqual({line["level"] for line in lines}, {"DEBUG", "INFO", "WARNING"})
        told = [line["message"] for line in lines if line["level"] != "DEBUG"]
        for part, message in zip(("asks scripted about 1 file", "run 1: nonzero_exit", "run 2: ok", "answered: 2 runs"),
                                 told, strict=True):
            self.assertTrue(message.startswith(part), told)

        status, _, err = self.ask("--file", self.tips, "sing" + self.FORGED, "--log-file", "text", "--verbose")
        self.assertEqual(status, 1, err)
        for content in (self.logged("text"), err):
            for line in content.split("\n")[:-1]:
                self.assertRegex(line, self.LINE)
            self.assertEqual(content.count(" - ERROR - "), 2, content)  # one is the question's own, inside its line
            self.assertEqual(sum(" - ERROR - [run_id=" in line for line in content.split("\n")), 1, content)
            self.assertNotIn("\x1b", content)
            self.assertNotIn("\r", content)

    def test_what_fails_is_one_line_with_its_cause_and_a_level_that_is_none_is_named(self):
        with ScriptedServer([(401, {})]) as server:
            status, _, err = self.ask("--file", self.tips, "q", server=server, LOG_LEVEL="Error", LOG_FILE="log")
        self.assertEqual(status, 125, err)
        line, end = self.logged().split("\n")
        self.assertEqual(end, "")
        self.assertRegex(line, r" - ask - ERROR - \[run_id=[0-9a-f]+\] .*check OPENAI_API_KEY")
        for name, value in (("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml"), ("LOG_FILE", "nowhere/log")):
            status, out, err = self.ask("--file", self.tips, "average tip", **{name: value})
            self.assertEqual((status, out), (125, ""), err)
            self.assertIn(value, err)
        self.assert_nothing_left()

    def test_the_services_log_alike(self):
        refused = subprocess.run([os.path.join(asking.BIN, "jaild"), "--socket", os.path.join(self.dir, "s")], text=True,
                                 capture_output=True, timeout=60, env=self.environment(LOG_LEVEL="loud"))
        self.assertEqual((refused.returncode, "no log level loud" in refused.stderr), (2, True), refused.stderr)
        env = self.environment(LOG_FORMAT="json", LOG_FILE=os.path.join(self.dir, "log"), SOME_TOKEN="abcdefgh12345678")
        service = subprocess.Popen([os.path.join(asking.BIN, "jailagent"), "serve", "--listen", "127.0.0.1:0", "--store",
                                    os.path.join(self.dir, "store"), "--keys", os.path.join(self.dir, "keys")],
                                   env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(service.stdout.close)
        self.addCleanup(service.wait, 60)
        self.addCleanup(service.terminate)
        address = service.stdout.readline().split()[-1]
        url = f"http://{address}/healthz?key=abcdefgh12345678%0A2026"
        with urllib.request.urlopen(url, timeout=60) as reply:
            request_id = reply.headers["X-Request-Id"]
        service.terminate()
        service.wait(60)
        lines = [json.loads(line) for line in self.logged().split("\n")[:-1]]
        asked = [line for line in lines if line.get("request_id") == request_id]
        self.assertEqual(len(asked), 1, lines)
        self.assertRegex(asked[0]["message"], r"^GET /healthz\S* 200 ")
        self.assertNotIn("abcdefgh12345678", self.logged())


if __name__ == "__main__":
    asking.main()
