#!/usr/bin/env python3
"""What outlives jailagent and jaild, and what does not.

    restart_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jaild and jailagent
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

import daemons
from daemons import Service


class Restart(unittest.TestCase):
    """What outlives the service, and what does not."""

    def setUp(self):
        self.service = Service()
        self.addCleanup(lambda: self.service.end())

    def jaild_sessions(self):
        listed = subprocess.run([os.path.join(daemons.BIN, "jailrun"), "session", "ls", "--json"], check=True, text=True,
                                capture_output=True, env={**os.environ, "JAILRUN_SOCKET": self.service.jaild_socket})
        return json.loads(listed.stdout)

    def test_sessions_are_there_after_the_service_has_been_ended_or_killed(self):
        ask = self.service.ask
        named = {"session_id": "a name\nof two lines", "code": "x = 1; print(x)"}
        self.assertEqual(ask("POST", "/execute", named)[0], 200)
        session = self.service.session()
        self.assertEqual(ask("POST", session + "/execute", {"code": "y = 2"})[0], 200)
        status, reply = ask("POST", session + "/branch", {})
        self.assertEqual(status, 201, reply)
        branch = "/v1/sessions/" + reply["id"]
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.service.end_agent(number)
            self.service.start_agent()
            self.assertEqual(ask("GET", "/sessions")[1]["count"], 3)
            _, reply = ask("POST", "/execute", {"session_id": named["session_id"], "code": "x += 1; print(x)"})
            self.assertEqual(reply["stdout"], "2\n" if number == signal.SIGTERM else "3\n", reply)
            for each in (session, branch):
                _, reply = ask("POST", each + "/execute", {"code": "y"})
                self.assertEqual(reply["displays"][0]["data"]["text/plain"], "2", reply)
        for each in (branch, session):
            self.assertEqual(ask("DELETE", each)[0], 200)
        self.assertEqual(ask("DELETE", session)[0], 404)
        self.assertEqual(len(self.jaild_sessions()), 1)

    def test_what_was_for_one_request_ends_and_what_is_anothers_stays(self):
        body = json.dumps({"code": "import time; time.sleep(60)"}).encode()
        with socket.create_connection(("127.0.0.1", self.service.port)) as line:
            line.sendall(b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            deadline = time.monotonic() + 30
            while "executing" not in [each["state"] for each in self.jaild_sessions()]:
                self.assertLess(time.monotonic(), deadline)
            made = subprocess.run([os.path.join(daemons.BIN, "jailrun"), "session", "new"], check=True, text=True,
                                  capture_output=True, env={**os.environ, "JAILRUN_SOCKET": self.service.jaild_socket})
            self.service.end_agent(signal.SIGKILL)
        self.service.start_agent()
        self.assertEqual(self.service.ask("GET", "/sessions")[1]["count"], 0)
        deadline = time.monotonic() + 30
        while [each["session"] for each in self.jaild_sessions()] != [made.stdout.strip()]:
            self.assertLess(time.monotonic(), deadline, self.jaild_sessions())

    def test_what_ran_while_jaild_ended_is_said_to_be_interrupted(self):
        session = self.service.session()
        replies = []
        asker = threading.Thread(target=lambda: replies.append(
            self.service.ask("POST", session + "/execute", {"code": "import time; time.sleep(60)"})))
        asker.start()
        deadline = time.monotonic() + 30
        while "executing" not in [each["state"] for each in self.jaild_sessions()]:
            self.assertLess(time.monotonic(), deadline)
        self.service.jaild.kill()
        asker.join(30)
        self.service.jaild.wait()
        self.assertEqual(replies[0][0], 503, replies)
        self.assertIn("interrupted", replies[0][1]["detail"])
        self.assertEqual(self.service.ask("POST", session + "/execute", {"code": "1"})[0], 404)
        self.assertEqual(self.service.ask("GET", "/health")[0], 503)
        self.service.jaild = subprocess.Popen(self.service.jaild.args, stdout=self.service.log, stderr=self.service.log)


if __name__ == "__main__":
    daemons.BIN = sys.argv.pop(1)
    unittest.main(verbosity=1)
