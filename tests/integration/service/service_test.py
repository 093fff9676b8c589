#!/usr/bin/env python3
"""jailagent from end to end: the real programs, real jails, the keys and texts of what it replaces.

    service_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jaild and jailagent
"""

import base64
import http.client
import json
import os
import sys
import threading
import time
import unittest

import daemons
from daemons import ServiceTest


class Health(ServiceTest):
    def test_health_and_its_kin(self):
        ask = self.service.ask
        self.assertEqual(ask("GET", "/healthz"), (200, {"status": "ok"}))
        status, reply = ask("GET", "/health")
        self.assertEqual(status, 200)
        self.assertEqual(reply, {"status": "healthy", "active_sessions": 0, "service": "code_interpreter"})
        status, text = ask("GET", "/metrics", raw=True)
        self.assertIn(b"jaild_up 1\n", text)
        self.assertRegex(text.decode(), r"(?m)^jaild_\w+\{policy=\"python\"")

    def test_every_reply_bears_an_id_and_the_headers_of_caution(self):
        self.service.ask("GET", "/healthz")
        self.assertRegex(self.service.headers["x-request-id"], "^[0-9a-f]{16}$")
        self.assertEqual(self.service.headers["x-content-type-options"], "nosniff")
        self.service.ask("GET", "/healthz", headers={"X-Request-Id": "mine-1"})
        self.assertEqual(self.service.headers["x-request-id"], "mine-1")
        self.service.ask("GET", "/healthz", headers={"X-Request-Id": "a b<script>"})
        self.assertRegex(self.service.headers["x-request-id"], "^[0-9a-f]{16}$")

    def test_the_document_names_what_is_there(self):
        status, document = self.service.ask("GET", "/openapi.json")
        self.assertEqual((status, document["openapi"]), (200, "3.1.0"))
        for path, methods in document["paths"].items():
            for method in methods:
                if "{" not in path and method == "get":
                    status, _ = self.service.ask("GET", path, raw=True)
                    self.assertEqual(status, 200, path)
        status, reply = self.service.ask("PATCH", "/execute")
        self.assertEqual((status, self.service.headers["allow"]), (405, "POST"))
        self.assertEqual(self.service.ask("GET", "/nothing")[0], 404)


class Execute(ServiceTest):
    def run_code(self, code, session="s1", **more):
        status, reply = self.service.ask("POST", "/execute", {"session_id": session, "code": code, **more})
        self.assertEqual(status, 200, reply)
        self.assertEqual(list(reply), ["session_id", "success", "stdout", "stderr", "result", "error",
                                       "execution_time", "files_created"])
        return reply

    def test_the_line_of_the_manual(self):
        reply = self.run_code("print('Hello from secure Python!')", "test_session", timeout=30)
        self.assertEqual((reply["success"], reply["stdout"]), (True, "Hello from secure Python!\n"))

    def test_sessions_keep_what_they_know_until_they_are_reset(self):
        self.run_code("x = 1")
        self.assertEqual(self.run_code("print(x)")["stdout"], "1\n")
        self.assertEqual(self.run_code("def f(): return 1\ndef g(): return f()\ng()")["result"], "1")
        self.assertFalse(self.run_code("print(x)", "other")["success"])
        self.assertIn("s1", self.service.ask("GET", "/sessions")[1]["active_sessions"])
        self.assertEqual(self.service.ask("POST", "/sessions/s1/reset"), (200, {"message": "Session s1 reset"}))
        self.assertIn("NameError", self.run_code("print(x)")["stderr"])
        self.assertEqual(self.service.ask("DELETE", "/sessions/s1")[0], 200)
        self.assertEqual(self.service.ask("DELETE", "/sessions/s1")[0], 404)

    def test_failures_are_replies(self):
        reply = self.run_code("1 / 0")
        self.assertEqual((reply["success"], reply["error"]), (False, "Execution error: division by zero"))
        self.assertIn("ZeroDivisionError", reply["stderr"])
        begun = time.monotonic()
        reply = self.run_code("while True: pass", timeout=1)
        self.assertEqual(reply["error"], "Code execution timed out after 1 seconds")
        self.assertLess(time.monotonic() - begun, 8)
        reply = self.run_code("import os; os._exit(3)")
        self.assertFalse(reply["success"])
        self.assertEqual(self.run_code("print('a new one')")["stdout"], "a new one\n")

    def test_files_are_named_when_they_are_new(self):
        code = ("import matplotlib.pyplot as plt\nplt.hist([1, 2, 2, 3])\n"
                "plt.savefig('similarity_hist.png'); plt.close()")
        self.assertEqual(self.run_code(code, "files")["files_created"], ["similarity_hist.png"])
        self.assertEqual(self.run_code("1", "files")["files_created"], [])

    def test_faults_of_the_request_are_named(self):
        ask = self.service.ask
        for timeout in (0, 301):
            status, reply = ask("POST", "/execute", {"session_id": "s", "code": "1", "timeout": timeout})
            self.assertEqual((status, reply["detail"][0]["loc"]), (422, ["body", "timeout"]))
        status, reply = ask("POST", "/execute", {"session_id": "s"})
        self.assertEqual((status, reply["detail"][0]["type"]), (422, "missing"))
        status, _ = ask("POST", "/execute", b"{", {"Content-Type": "application/json"})
        self.assertEqual(status, 422)
        self.assertEqual(ask("POST", "/execute", b"{}", {"Content-Type": "text/plain"})[0], 415)
        body = {"session_id": "s", "code": "1", "enable_networking": True}
        self.assertEqual(ask("POST", "/execute", body)[0], 403)
        self.assertEqual(ask("POST", "/execute", {"session_id": "s", "code": "#" * (3 << 20)})[0], 413)


class Sessions(ServiceTest):
    def test_a_run_is_a_jail_of_its_own(self):
        ask = self.service.ask
        before = ask("GET", "/v1/sessions")[1]["sessions"]
        status, reply = ask("POST", "/v1/run", {"code": "import pandas as pd\nprint(pd.__name__)\n6 * 7"})
        self.assertEqual((status, reply["outcome"], reply["stdout"]), (200, "ok", "pandas\n"))
        self.assertEqual(reply["value"]["type"], "number")
        after = ask("GET", "/v1/sessions")[1]["sessions"]
        self.assertEqual([each["id"] for each in after], [each["id"] for each in before])
        self.assertEqual(ask("POST", "/v1/run", {"code": "1", "policy": "nope"})[0], 404)

    def test_states_and_branches(self):
        ask = self.service.ask
        session = self.service.session()
        self.value(session, "x = 1")
        status, saved = ask("POST", session + "/savepoints")
        self.assertEqual(status, 201)
        self.value(session, "x = 2")
        status, made = ask("POST", session + "/branch", {})
        self.assertEqual(status, 201, made)
        branch = "/v1/sessions/" + made["id"]
        status, old = ask("POST", session + "/branch", saved)
        self.assertEqual(self.value("/v1/sessions/" + old["id"], "x"), "1")
        self.assertEqual(ask("POST", session + "/rollback", saved)[0], 200)
        self.assertEqual((self.value(session, "x"), self.value(branch, "x")), ("1", "2"))
        self.assertEqual(ask("POST", session + "/rollback", {"savepoint": 99})[0], 409)
        status, reply = ask("POST", session + "/execute", {"code": "x = 5; 1/0", "transactional": True})
        self.assertTrue(reply["rolled_back"])
        self.assertEqual(self.value(session, "x"), "1")
        self.assertEqual(ask("DELETE", session)[0], 200)
        status, reply = ask("POST", branch + "/execute", {"code": "1"})  # it ends with its origin
        self.assertTrue(status == 404 or reply["outcome"] == "ended", reply)

    def test_displays_and_files(self):
        ask = self.service.ask
        session = self.service.session()
        status, reply = ask("POST", session + "/execute",
                            {"code": "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"})
        png = base64.b64decode(reply["displays"][0]["binary"]["image/png"])
        self.assertTrue(png.startswith(b"\x89PNG"))
        content = bytes(range(256)) * 1000
        self.assertEqual(ask("PUT", session + "/files/in.bin", content)[0], 200)
        self.assertEqual(self.value(session, "len(open('/work/in.bin', 'rb').read())"), "256000")
        status, back = ask("GET", session + "/files/in.bin", raw=True)
        self.assertEqual((status, back), (200, content))
        self.value(session, "import os; os.mkdir('d'); open('d/e', 'w').write('deep')")
        self.assertEqual(ask("GET", session + "/files/d%2Fe", raw=True), (200, b"deep"))
        self.assertEqual(ask("GET", session + "/files/d/e")[0], 404)
        self.assertEqual(ask("GET", session + "/files/none")[0], 404)
        self.assertEqual(ask("GET", session + "/files/..%2f..%2fetc%2fpasswd")[0], 404)

    def test_output_comes_as_it_is_written(self):
        session = self.service.session()
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
        code = "import time\nprint('first', flush=True)\nopen('/work/go').read() if 0 else time.sleep(1)\nprint('last')"
        connection.request("POST", session + "/execute/stream", json.dumps({"code": code}),
                           {"Content-Type": "application/json"})
        reply = connection.getresponse()
        self.assertEqual((reply.status, reply.getheader("content-type")), (200, "text/event-stream"))
        events, begun = [], time.monotonic()
        while line := reply.readline():
            if line.startswith(b"event: "):
                events.append((line[7:].strip().decode(), time.monotonic() - begun))
        names = [name for name, _ in events]
        self.assertEqual((names[0], names[-1]), ("stdout", "answer"))
        self.assertGreater(events[-1][1] - events[0][1], 0.7)  # the first did not wait for the last
        connection.close()

    def test_a_client_that_goes_ends_what_it_asked_for(self):
        session = self.service.session()
        self.value(session, "x = 1")
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
        connection.request("POST", session + "/execute", json.dumps({"code": "while True: pass", "timeout": 60}),
                           {"Content-Type": "application/json"})
        connection.close()
        begun = time.monotonic()
        self.assertEqual(self.value(session, "x"), "1")
        self.assertLess(time.monotonic() - begun, 20)

    def test_an_interrupt_keeps_the_state(self):
        session = self.service.session()
        replies = []
        body = {"code": "x = 3\nprint('on', flush=True)\nwhile True: pass", "timeout": 60}
        thread = threading.Thread(target=lambda: replies.append(self.other(session, body)))
        thread.start()
        while not replies:
            self.assertEqual(self.service.ask("POST", session + "/interrupt")[0], 200)
            thread.join(0.3)
        self.assertEqual(replies[0]["outcome"], "interrupted")

    def other(self, session, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=100)
        connection.request("POST", session + "/execute", json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())


class Files(ServiceTest):
    def test_files_are_their_users_own(self):
        ask = self.service.ask
        content = b"a,b\n1,2\n"
        status, made = ask("POST", "/v1/users/u1/files?filename=t.csv", content)
        self.assertEqual((status, made["success"], made["metadata"]["filename"]), (201, True, "t.csv"), made)
        path = "/v1/users/u1/files/" + made["file_id"]
        self.assertEqual(ask("GET", path)[1]["file_size"], len(content))
        self.assertEqual(ask("GET", path + "/content", raw=True), (200, content))
        tag = self.service.headers["etag"]
        self.assertEqual(ask("GET", path + "/content", headers={"If-None-Match": tag}, raw=True), (304, b""))
        self.assertEqual(ask("GET", path.replace("u1", "u2"))[0], 404)
        self.assertEqual(ask("DELETE", path.replace("u1", "u2"))[0], 404)
        self.assertEqual(len(ask("GET", "/v1/users/u1/files")[1]["files"]), 1)
        self.assertEqual(ask("DELETE", path)[0], 200)
        self.assertEqual(ask("GET", path)[0], 404)
        self.assertEqual(ask("POST", "/v1/users/u1/files?filename=..%2fx", b"x")[0], 400)
        self.assertEqual(ask("POST", "/v1/users/u1/files", b"x")[0], 400)

    def test_many_at_once_get_their_own(self):
        wrong = []

        def work(user):
            connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)

            def ask(method, path, body=None):
                connection.request(method, path, body)
                reply = connection.getresponse()
                return reply.status, reply.read()

            for i in range(20):
                content = os.urandom(100_000 + i)
                status, made = ask("POST", f"/v1/users/{user}/files?filename={i}.bin", content)
                path = f"/v1/users/{user}/files/{json.loads(made).get('file_id')}/content"
                if status != 201 or ask("GET", path) != (200, content) or ask("GET", "/v1/packages/numpy")[0] != 200:
                    wrong.append((user, i, status, made[:100]))
            connection.close()

        threads = [threading.Thread(target=work, args=(f"many{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_a_large_one_is_taken_and_a_larger_one_is_not(self):
        most = 50 << 20
        status, made = self.service.ask("POST", "/v1/users/u3/files?filename=big.bin", bytes(most))
        self.assertEqual((status, made["metadata"]["file_size"]), (201, most))
        reply = self.service.bytes(b"POST /v1/users/u3/files?filename=x HTTP/1.1\r\nHost: localhost\r\n"
                                   b"Content-Length: %d\r\n\r\n" % (most + (64 << 10) + 1))  # a form may have that
        self.assertTrue(reply.startswith(b"HTTP/1.1 413 "), reply[:80])
        self.assertEqual(self.service.ask("POST", "/v1/users/u3/files?filename=x", bytes(most + 1))[0], 413)


class Interpreter(ServiceTest):
    def run_code(self, code, user="u1", **more):
        status, reply = self.service.ask("POST", f"/v1/users/{user}/execute", {"code": code, **more})
        self.assertEqual(status, 200, reply)
        return reply

    def test_a_run_gives_its_output(self):
        reply = self.run_code("print('Hello, world!')")
        self.assertEqual(list(reply)[:5], ["success", "output", "error", "execution_time", "return_code"])
        self.assertEqual((reply["success"], reply["output"], reply["return_code"]), (True, "Hello, world!\n", 0))
        reply = self.run_code("print('x' * 200000)")
        self.assertEqual(reply["output"], "x" * 100000 + "\n... (output truncated)")

    def test_files_go_in_by_their_ids_and_come_out(self):
        ask = self.service.ask
        _, made = ask("POST", "/v1/users/u1/files?filename=t.csv", b"a,b\n1,2\n3,4\n")
        code = f"print(load_file('{made['file_id']}').shape, list(FILES))"
        reply = self.run_code(code, user_files=[made["file_id"]])
        self.assertEqual(reply["output"], f"(2, 2) ['{made['file_id']}']\n", reply)
        status, _ = ask("POST", "/v1/users/u2/execute", {"code": "1", "user_files": [made["file_id"]]})
        self.assertEqual(status, 404)
        status, session = ask("POST", "/v1/sessions", {"files": [made["file_id"]], "user_id": "u1"})
        path = "/v1/sessions/" + session["id"]
        _, reply = ask("POST", path + "/execute", {"code": "import pandas as pd\npd.read_csv('/data/t.csv')"})
        self.assertEqual(reply["value"]["shape"], [2, 2], reply)
        status, table = ask("GET", path + "/tables/_", raw=True)
        self.assertEqual((status, self.service.headers["content-type"], table[:4]),
                         (200, "application/vnd.apache.arrow.stream", b"\xff" * 4))
        self.assertEqual(ask("GET", path + "/tables/nothing")[0], 404)
        self.assertEqual(ask("POST", "/v1/sessions", {"files": [made["file_id"]], "user_id": "u2"})[0], 404)
        reply = self.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('plot.png')\nplt.close()")
        file = reply["generated_files"][0]
        self.assertEqual((file["filename"], file["type"]), ("plot.png", "image"))
        self.assertEqual(reply["generated_file_ids"], [file["file_id"]])
        png = base64.b64decode(file["data"])
        self.assertTrue(png.startswith(b"\x89PNG"))
        self.assertEqual(ask("GET", f"/v1/users/u1/files/{file['file_id']}/content", raw=True), (200, png))

    def test_what_is_refused_and_what_fails(self):
        reply = self.run_code("import subprocess")
        self.assertTrue(reply["error"].startswith("Security validation failed: Blocked unsafe operation: "), reply)
        self.assertFalse(reply["success"])
        reply = self.run_code("1", install_packages=["requests"])
        self.assertEqual((reply["error"], reply["failed_packages"]),
                         ("Package 'requests' is not in the approved list", ["requests"]))
        self.assertEqual(self.run_code("1", install_packages=["numpy"])["installed_packages"], ["numpy"])
        reply = self.run_code("while True: pass", timeout=1)
        self.assertEqual((reply["error"], reply["return_code"]), ("Execution timeout after 1 seconds", -1))
        reply = self.run_code("import sys; sys.exit(3)")
        self.assertEqual((reply["success"], reply["return_code"]), (False, 3))

    def test_packages_and_status(self):
        ask = self.service.ask
        self.assertTrue(ask("GET", "/v1/packages/numpy")[1]["ready"])
        self.assertFalse(ask("GET", "/v1/packages/torch")[1]["ready"])
        self.assertEqual(ask("GET", "/v1/packages/requests")[0], 404)
        _, before = ask("GET", "/v1/interpreter/status")
        self.assertEqual(sorted(before), sorted([
            "venv_exists", "python_path", "installed_packages", "package_count", "last_cleanup", "total_user_files",
            "total_file_size_mb", "file_expiration_hours", "max_file_size_mb"]))
        ask("POST", "/v1/users/u9/files?filename=x.bin", bytes(1 << 20))
        _, after = ask("GET", "/v1/interpreter/status")
        self.assertEqual(after["total_user_files"], before["total_user_files"] + 1)
        self.assertAlmostEqual(after["total_file_size_mb"] - before["total_file_size_mb"], 1)
        status, reply = ask("POST", "/v1/run", {"code": "1", "packages": ["requests"]})
        self.assertEqual(status, 400, reply)


if __name__ == "__main__":
    daemons.BIN = sys.argv.pop(1)
    unittest.main(verbosity=1)
