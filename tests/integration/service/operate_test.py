#!/usr/bin/env python3
"""What an operator sees and sets: metrics, the dashboard, top, the configuration, reload, drain, CORS, uploads.

    operate_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jaild, jailagent and jailrun
"""

import http.client
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import daemons
import exposition
from daemons import Service

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
PAGE = "https://app.example"


def run(*words, env=None):
    return subprocess.run([os.path.join(daemons.BIN, "jailrun"), *words], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(env or {})})


class Operate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="operate-test-")
        cls.config = os.path.join(cls.folder, "jailrun.conf")
        cls.write("[service]\nrate = 0\n[limits]\nexecute-seconds = 3\nexecute-memory-mb = 256\n"
                  "execute-output-bytes = 1000\n")
        before = dict(os.environ)
        cls.addClassCleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ.update(JAILRUN_CONFIG=cls.config, LLM_PROVIDER="offline")
        cls.service = Service()
        cls.env = {"JAILRUN_SOCKET": cls.service.jaild_socket,
                   "JAILAGENT_LISTEN": f"127.0.0.1:{cls.service.port}"}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)
        assert cls.service.end() == 0

    @classmethod
    def write(cls, text):
        with open(cls.config + ".new", "w") as file:
            file.write(text)
        os.replace(cls.config + ".new", cls.config)

    def metrics(self):
        status, text = self.service.ask("GET", "/metrics", raw=True)
        self.assertEqual(status, 200)
        return exposition.read(text.decode())

    def test_metrics_are_as_prometheus_wants_them_and_as_the_dashboard_asks_for_them(self):
        ask = self.service.ask
        before = self.metrics()
        self.assertEqual(ask("POST", "/v1/run", {"code": "1"})[0], 200)
        self.assertEqual(ask("GET", "/none/of/these")[0], 404)
        ask("BREW", "/none", raw=True)
        after = self.metrics()
        for families in (before, after):
            self.assertEqual(families["jaild_up"][1]["jaild_up"], 1)
        def sums(families, name, part=""):
            return sum(value for sample, value in families.get(name, ("", {}))[1].items() if part in sample)
        grown = (("jaild_leases_total", ""), ("jaild_start_seconds", "_count"), ("jaild_ended_total", ""),
                 ("jailagent_jail_start_seconds", "_count"), ("jailagent_requests_total", 'route="/v1/run"'),
                 ("jailagent_received_bytes_total", ""), ("jailagent_sent_bytes_total", ""))
        deadline = time.monotonic() + 60  # how a jail has ended is known after its reply
        while same := [each for each in grown if sums(after, *each) <= sums(before, *each)]:
            self.assertLess(time.monotonic(), deadline, same)
            after = self.metrics()
        # Neither paths nor methods that clients think of become lines of their own.
        requests = "\n".join(after["jailagent_requests_total"][1])
        self.assertNotIn("none", requests)
        self.assertNotIn("BREW", requests)
        self.assertIn('route="other"', requests)
        asked = {"dataset_id": "", "message": "hello", "files": []}
        self.assertEqual(ask("POST", "/chat", asked)[0], 400)  # what is no question is not counted as one
        self.assertEqual(sum(self.metrics()["jailagent_model_tokens_total"][1].values()), 0)
        # Those that only events make have no sample before the first.
        late = {"jaild_refused_total", "jailagent_questions_total"}
        dashboard = json.load(open(os.path.join(SOURCE, "tools/grafana/jailrun.json")))
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        names = {re.sub("_(bucket|sum|count)$", "", name)
                 for query in queries for name in re.findall(r"\b(jail\w+_\w+)\{", query)}
        self.assertGreater(len(names), 15)
        self.assertEqual(names - set(after) - late, set())
        said = run("stats", env=self.env)
        self.assertIn("jaild_parked", exposition.read(said.stdout))

    def test_top_shows_it_all_once_as_json_and_live(self):
        session = self.service.session()
        said = run("top", "--once", env=self.env)
        self.assertEqual(said.returncode, 0, said.stderr)
        for each in ("jaild: ", "jailagent: ", "POLICY", "python", "LEASE"):
            self.assertIn(each, said.stdout)
        self.assertNotIn("\x1b", said.stdout)
        told = json.loads(run("top", "--once", "--json", env=self.env).stdout)
        self.assertTrue(told["jaild"])
        self.assertIn("python", [each["policy"] for each in told["pools"]])
        self.assertIn(session.split("/")[-1], [each["session"] for each in told["sessions"]])
        self.assertGreater(told["service"]['jailagent_replies_total{status="2xx"}'], 0)
        gone = run("top", "--once", env={**self.env, "JAILRUN_SOCKET": "/nonexistent"})
        self.assertEqual(gone.returncode, 125)
        self.assertIn("does not answer", gone.stdout)
        for end in (b"q", b"\x03"):
            self.live(end)
        self.service.ask("DELETE", session)

    def live(self, end):
        """On a terminal of 40 columns it redraws, and goes at a key, leaving the terminal as it was."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(self.env)
            os.execv("/bin/sh", ["sh", "-c", 'stty cols 40 rows 12; exec "$0" top --interval 0.2',
                                 os.path.join(daemons.BIN, "jailrun")])
        shown, deadline, sent = b"", time.monotonic() + 60, False
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                part = os.read(terminal, 65536)
            except OSError:  # closed: it has ended
                break
            shown += part
            if not sent and shown.count(b"\x1b[H") >= 3:
                os.write(terminal, end)
                sent = True
        status = os.waitpid(pid, 0)[1]
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0, shown)
        self.assertIn(b"\x1b[?1049l", shown)
        for line in re.sub(rb"\x1b\[[?0-9;]*[a-zA-Z]|\r", b"", shown).split(b"\n"):
            self.assertLessEqual(len(line), 40 + len(b"q quits"), line)

    def test_the_configuration_is_checked_whole_and_shown_with_where_it_comes_from(self):
        path = os.path.join(self.folder, "other.conf")
        with open(path, "w") as file:
            file.write('[servce]\nx = 1\n[service]\nlistne = "a"\nthreads = 1000\nrate = fast\n'
                       'no sense\n[log]\nlevel = "loud"\nlevel = "info"\n[models]\nkey = "sk-secret"\nmodel = "a#b"\n')
        os.chmod(path, 0o644)
        said = run("config", "check", path)
        self.assertEqual(said.returncode, 2)
        faults = said.stderr.splitlines()
        for line, text in ((1, "did you mean 'service'"), (4, "did you mean 'listen'"), (5, "1 to 512"),
                           (6, "no number"), (7, "NAME = VALUE"), (9, "none of debug"), (13, "before '#'")):
            self.assertEqual(len([each for each in faults if f"{path}:{line}:" in each and text in each]), 1, faults)
        self.assertTrue(any("everybody can read it" in each for each in faults), faults)
        self.assertNotIn("sk-secret", said.stdout + said.stderr)
        os.chmod(path, 0o666)
        self.assertIn("others can write it", run("config", "check", path).stderr)
        with open(path, "w") as file:
            file.write('[service]\nlisten = "127.0.0.1:1"\nhost = ["a.example", "b.example"]\n[models]\nkey = "sk-secret"\n')
        os.chmod(path, 0o600)
        self.assertEqual(run("config", "check", path).returncode, 0)
        shown = json.loads(run("config", "show", "--json",
                               env={"JAILRUN_CONFIG": path, "MAX_ROWS": "7"}).stdout)
        rows = {each["variable"]: (each["value"], each["from"]) for each in shown}
        self.assertEqual(rows["JAILAGENT_LISTEN"], ("127.0.0.1:1", path + ":2"))
        self.assertEqual(rows["JAILAGENT_HOST"], ("a.example,b.example", path + ":3"))
        self.assertEqual(rows["LLM_API_KEY"], ("(set)", path + ":5"))
        self.assertEqual(rows["MAX_ROWS"], ("7", "environment MAX_ROWS"))
        self.assertEqual(rows["LOG_LEVEL"], ("info", "default"))
        # The packaged file is what the program documents, and says nothing by itself.
        packaged = os.path.join(SOURCE, "tools/jailrun.conf")
        self.assertEqual(open(packaged).read(), run("config", "default").stdout)
        whole = re.sub(r"(?m)^#(\w[\w-]* = .+)$", r"\1", open(packaged).read())
        with open(path, "w") as file:
            file.write(re.sub(r'(?m)^[\w-]+ = (""|\[\])$', "", whole))
        self.assertEqual(run("config", "check", path).stderr, "")
        refused = subprocess.run([os.path.join(daemons.BIN, "jaild")], capture_output=True, text=True, timeout=20,
                                 env={**os.environ, "JAILRUN_CONFIG": "/nonexistent/jailrun.conf"})
        self.assertEqual(refused.returncode, 2)
        self.assertIn("cannot be read", refused.stderr)

    def test_limits_of_the_configuration_hold(self):
        def execute(code):
            status, reply = self.service.ask("POST", "/execute", {"session_id": "l", "code": code, "timeout": 30})
            self.assertEqual(status, 200, reply)
            return reply
        self.assertEqual(len(execute("print('x' * 5000)")["stdout"]), 1000)
        self.assertEqual(execute("while True: pass")["error"], "Code execution timed out after 3 seconds")
        self.assertTrue(execute("len(bytearray(50 << 20))")["success"])
        self.assertFalse(execute("len(bytearray(300 << 20))")["success"])
        refused = subprocess.run([os.path.join(daemons.BIN, "jailagent"), "serve"], capture_output=True, text=True, timeout=60,
                                 env={**os.environ, "MAX_EXECUTION_TIME": "301"})
        self.assertIn("MAX_EXECUTION_TIME", refused.stderr)

    def reload(self, text):
        self.write(text)
        self.service.log.flush()
        path = os.path.join(self.service.dir, "log")
        seen = os.path.getsize(path)
        self.service.agent.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while True:
            with open(path) as log:
                log.seek(seen)
                said = log.read()
            if "as the configuration has them" in said or "stay as they were" in said:
                return said
            self.assertLess(time.monotonic(), deadline, said)

    def test_pages_of_listed_origins_may_ask_after_a_reload_and_no_others(self):
        ask = self.service.ask
        asks = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        self.assertEqual(ask("OPTIONS", "/execute", headers=asks)[0], 403)
        session = self.service.session()
        self.reload(f'[service]\ncors-origin = ["{PAGE}"]\n')
        status, _ = ask("OPTIONS", "/execute", headers=asks, raw=True)
        self.assertEqual((status, self.service.headers["access-control-allow-origin"]), (200, PAGE))
        self.assertIn("POST", self.service.headers["access-control-allow-methods"])
        self.assertIn("Authorization", self.service.headers["access-control-allow-headers"])
        self.assertEqual(ask("GET", "/sessions", headers={"Origin": PAGE})[0], 200)
        self.assertEqual(self.service.headers["access-control-allow-origin"], PAGE)
        self.assertIn("Origin", self.service.headers["vary"])
        self.assertNotIn("access-control-allow-credentials", self.service.headers)
        self.assertEqual(ask("OPTIONS", "/none", headers=asks)[0], 404)
        self.assertEqual(ask("OPTIONS", "/execute", headers={**asks, "Host": "evil.example"})[0], 421)
        for other in (PAGE + ".evil", PAGE + ":8443", "http://app.example", "null"):
            self.assertEqual(ask("GET", "/sessions", headers={"Origin": other})[0], 403, other)
            self.assertNotIn("access-control-allow-origin", self.service.headers)
        # A faulty file changes nothing, and says so.
        self.assertIn("stay as they were", self.reload('[service]\ncors-origin = ["*"]\n'))
        self.assertEqual(ask("GET", "/sessions", headers={"Origin": PAGE})[0], 200)
        self.reload("[service]\nrate = 0\n")
        self.assertEqual(ask("GET", "/sessions", headers={"Origin": PAGE})[0], 403)
        self.assertEqual(ask("DELETE", session)[0], 200)  # sessions go on throughout

    def test_files_come_as_forms_too(self):
        ask = self.service.ask
        content = bytes(range(256)) * 4000 + b"\r\n--bound\r\n-"
        def form(*parts, boundary=b"bound-ary"):
            body = b"".join(b"--" + boundary + b"\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + text + b"\r\n"
                            for head, text in parts) + b"--" + boundary + b"--\r\n"
            return body, {"Content-Type": f'multipart/form-data; boundary="{boundary.decode()}"'}
        file = (b'name="file"; filename="C:\\tmp\\in \\"1\\".bin"\r\nContent-Type: application/octet-stream', content)
        status, reply = ask("POST", "/v1/users/7/files", *form((b'name="x"', b"y"), file))
        self.assertEqual((status, reply["metadata"]["filename"]), (201, 'in "1".bin'), reply)
        kept = ask("GET", f"/v1/users/7/files/{reply['file_id']}/content", raw=True)
        self.assertEqual(kept, (200, content))
        status, reply = ask("POST", "/v1/users/7/files", *form((b'name="filename"', b"b.csv"), (file[0], b"")))
        self.assertEqual((status, reply["metadata"]["filename"], reply["metadata"]["file_size"]), (201, "b.csv", 0))
        table = (b'name="file"; filename="a.csv"', b"x,y\n1,2\n3,4\n")
        status, reply = ask("POST", "/v1/analyze", *form(table, (b'name="question"', b"How many rows?")))
        self.assertEqual(status, 200, reply)
        self.assertTrue(reply["run_id"])
        body, head = form(file)
        for wrong in (body[:-20], body[2:], b"", b"--bound-ary--\r\n", body.replace(b"name=", b"nome=", 1)):
            self.assertEqual(ask("POST", "/v1/users/7/files", wrong, head)[0], 400, wrong[:40])
        self.assertEqual(ask("POST", "/v1/users/7/files", *form(file, file))[0], 400)
        self.assertEqual(ask("POST", "/v1/users/7/files", *form((b'name="big"', b"a" * (70 << 10)), table))[0], 413)


class Drain(unittest.TestCase):
    def test_whoever_asked_gets_an_answer_while_it_ends(self):
        service = Service()
        statuses, faults, stop = [], [], threading.Event()

        def ask_on():
            # A connection that the service closed between two requests is no lost request; one cut off in a reply is.
            while not stop.is_set():
                line = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
                try:
                    line.connect()
                except OSError:
                    return
                try:
                    while not stop.is_set():
                        line.request("GET", "/sessions")
                        reply = line.getresponse()
                        reply.read()
                        statuses.append(reply.status)
                        if reply.will_close:
                            break
                except (http.client.RemoteDisconnected, ConnectionError, BrokenPipeError):
                    pass
                except http.client.HTTPException as fault:
                    faults.append(repr(fault))
                line.close()

        long = []
        slow = threading.Thread(target=lambda: long.append(service.ask(
            "POST", "/v1/run", {"code": "import time\nprint('begun')\ntime.sleep(2)\nprint('done')"})))
        slow.start()
        deadline = time.monotonic() + 60
        while b"jaild_leased" not in (text := service.ask("GET", "/metrics", raw=True)[1]) or \
                not re.search(rb'jaild_leased\{policy="python"\} [1-9]', text):
            self.assertLess(time.monotonic(), deadline)
        askers = [threading.Thread(target=ask_on) for _ in range(4)]
        for each in askers:
            each.start()
        while len(statuses) < 50:
            self.assertLess(time.monotonic(), deadline + 60)
            time.sleep(0.01)
        waiting = socket.create_connection(("127.0.0.1", service.port))  # taken in, and says nothing yet
        service.agent.send_signal(signal.SIGTERM)
        slow.join(60)
        status = service.agent.wait(60)
        stop.set()
        for each in askers:
            each.join(60)
        waiting.close()
        self.assertEqual((status, faults), (0, []))
        self.assertEqual(set(statuses) - {200, 503}, set())
        self.assertEqual((long[0][0], long[0][1]["stdout"]), (200, "begun\ndone\n"))
        self.assertEqual(service.end(), 0)


if __name__ == "__main__":
    daemons.BIN = sys.argv.pop(1)
    unittest.main(verbosity=1)
