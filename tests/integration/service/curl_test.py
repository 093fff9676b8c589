#!/usr/bin/env python3
"""The lines of curl that the documents of the replaced products have, as they are written there but for the port, which
is the service's own: row by row, against one service without a key. Beside a line stands where it is from.

    curl_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jaild, jailagent and jailrun
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import daemons
from daemons import Service

JSON = '-H "Content-Type: application/json"'
CHAT = ["assistant_message", "run_id", "thread_id", "status", "result", "details"]
EXECUTE = ["session_id", "success", "stdout", "stderr", "result", "error", "execution_time", "files_created"]
STATUS = ["venv_exists", "python_path", "installed_packages", "package_count", "last_cleanup", "total_user_files",
          "total_file_size_mb", "file_expiration_hours", "max_file_size_mb"]

# (where from, line, status, what the reply has). {name} stands for what an earlier row has found out.
ROWS = [
    # The code interpreter of genomes.
    ("S1-29", "curl http://localhost:8000/health", 200, {"status": "healthy", "service": "code_interpreter"}),
    ("S1-23", f"""curl -X POST http://localhost:8000/execute {JSON} -d '{{"session_id": "test_session",
        "code": "print(\\"Hello from secure Python!\\")", "timeout": 30}}'""", 200,
     {"success": True, "stdout": "Hello from secure Python!\n", "session_id": "test_session", list: EXECUTE}),
    ("S1-21", f"""curl -s -X POST http://localhost:8000/execute {JSON} -d '{{"session_id": "test",
        "code": "print(\\"Code interpreter is working!\\")"}}'""", 200, {"stdout": "Code interpreter is working!\n"}),
    ("S1-24", f"""curl -X POST http://localhost:8000/execute {JSON} -d '{{"session_id": "test", "code": "1",
        "enable_networking": true}}'""", 403, {}),  # ruled: jails of the service have no network (C21)
    ("S1-25", f"""curl -X POST http://localhost:8000/execute {JSON} -d '{{"session_id": "s", "code": "1", "timeout": 301}}'""",
     422, {}),
    ("S1-31", "curl http://localhost:8000/sessions", 200, {"count": 2}),
    ("S1-30", "curl -X POST http://localhost:8000/sessions/test_session/reset", 200,
     {"message": "Session test_session reset"}),
    ("S1-30", "curl -X POST http://localhost:8000/sessions/unknown/reset", 200, {"message": "Session unknown reset"}),
    ("S1-31", "curl -X DELETE http://localhost:8000/sessions/test", 200, {}),
    # The analyst of CSV.
    ("S4-24", "curl http://localhost:8000/healthz", 200, {list: ["status"], "status": "ok"}),
    ("S4-25", "curl http://localhost:8000/datasets", 200, {list: ["datasets"]}),
    ("S4-26", "curl http://localhost:8000/datasets/support/schema", 200, {"id": "support"}),
    ("S4-26", "curl http://localhost:8000/datasets/none/schema", 404, {"detail": "Dataset not found"}),
    ("S4-27", f"""curl -X POST http://localhost:8000/runs {JSON} -d '{{"dataset_id": "support", "query_type": "sql",
        "sql": "SELECT COUNT(*) AS n FROM tickets"}}'""", 200, {"status": "succeeded", "run_id": str}),
    ("S4-28", "curl http://localhost:8000/runs/{run_id}", 200, {"status": "succeeded", "query_mode": "sql"}),
    ("S4-28", "curl -H 'Accept: text/csv' http://localhost:8000/runs/{run_id}", 200, "n\n"),
    ("S4-29", "curl http://localhost:8000/runs/{run_id}/status", 200, {"status": "succeeded"}),
    ("S4-29", "curl http://localhost:8000/runs/none/status", 200, {"status": "not_found"}),
    ("S4-28", "curl http://localhost:8000/runs/none", 404, {"detail": "Run not found"}),
    ("S4-27", f"""curl -X POST http://localhost:8000/runs {JSON} -d '{{"dataset_id": "support", "query_type": "python",
        "python_code": "result = len(tickets)"}}'""", 200, {"run_id": str}),
    ("S4-27", f"""curl -X POST http://localhost:8000/runs {JSON} -d '{{"dataset_id": "support", "query_type": "sql"}}'""",
     400, {}),
    ("S4-30", f"""curl -X POST http://localhost:8000/chat {JSON} -d '{{"dataset_id": "support",
        "message": "SQL: SELECT COUNT(*) AS n FROM tickets", "thread_id": "t-1"}}'""", 200,
     {list: CHAT, "status": "succeeded", "thread_id": "t-1"}),
    ("S4-31", f"""curl -N -X POST http://localhost:8000/chat/stream {JSON} -d '{{"dataset_id": "support",
        "message": "SQL: SELECT 1 AS one FROM tickets LIMIT 1", "thread_id": "t-1"}}'""", 200, "event: result\n"),
    ("S4-32", "curl http://localhost:8000/threads/t-1/messages?limit=10", 200, {"thread_id": "t-1"}),
    ("S4-32", "curl http://localhost:8000/threads/t-1/messages?limit=201", 422, {}),
    ("S4-8", "curl http://localhost:8000/", 200, "<title>"),
    ("S1-6", "curl http://localhost:8000/metrics", 200, "jailagent_replies_total"),
    # The interpreter of the chat bot, and the analyst of files, which had functions and no lines of curl.
    ("S2-6", f"""curl -X POST http://localhost:8000/v1/users/42/execute {JSON} -d '{{"code": "print(\\"Hello, world!\\")"}}'""",
     200, {"success": True, "output": "Hello, world!\n"}),
    ("S2-9", "curl -F file=@{dir}/table.csv http://localhost:8000/v1/users/42/files", 201, {"success": True, "file_id": str}),
    ("S2-9", "curl -T {dir}/table.csv -X POST http://localhost:8000/v1/users/42/files?filename=t2.csv", 201, {"success": True}),
    ("S2-11", "curl http://localhost:8000/v1/users/42/files", 200, {list: ["files"]}),
    ("S2-11", "curl http://localhost:8000/v1/users/42/files/{file_id}/content", 200, "a,b\n1,2\n"),
    ("S2-24", "curl -X DELETE http://localhost:8000/v1/users/43/files/{file_id}", 404, {}),
    ("S2-24", "curl -X DELETE http://localhost:8000/v1/users/42/files/{file_id}", 200, {"success": True}),
    ("S2-39", "curl http://localhost:8000/v1/interpreter/status", 200, {list: STATUS}),
    ("S2-63", "curl -X POST http://localhost:8000/v1/admin/cleanup", 200, {"success": True}),
    ("S0-1", "curl -F file=@{dir}/table.csv -F 'question=How many rows are there?' http://localhost:8000/v1/analyze", 200,
     {"run_id": str}),
]


class Lines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="service-curl-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        with open(os.path.join(cls.dir, "table.csv"), "w") as file:
            file.write("a,b\n1,2\n")
        before = dict(os.environ)
        cls.addClassCleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ.update(JAILRUN_DATASETS=cls.dir, LLM_PROVIDER="offline")
        subprocess.run([os.path.join(daemons.BIN, "jailrun"), "datasets", "generate", cls.dir], check=True,
                       stdout=subprocess.DEVNULL)
        cls.service = Service()
        cls.addClassCleanup(lambda: cls.service.end())

    def test_each_line_does_what_its_document_says(self):
        found = {"dir": self.dir}
        for row, line, status, wanted in ROWS:
            command = line
            for name, value in found.items():
                command = command.replace("{" + name + "}", value)
            command = command.replace("localhost:8000", f"localhost:{self.service.port}").replace("\n", " ")
            with self.subTest(row=row, line=line):
                done = subprocess.run(["sh", "-c", command + " -sS --noproxy '*' -w '\\n%{http_code}'"], capture_output=True,
                                      text=True, timeout=120, stdin=subprocess.DEVNULL)
                self.assertEqual(done.returncode, 0, done.stderr)
                body, _, got = done.stdout.rpartition("\n")
                self.assertEqual(int(got), status, body[:500])
                if isinstance(wanted, str):
                    self.assertIn(wanted, body)
                    continue
                reply = json.loads(body)
                for key, value in wanted.items():
                    if key is list:
                        self.assertEqual(list(reply), value)
                    elif value is str:
                        self.assertIsInstance(reply[key], str, reply)
                        found[key] = reply[key]
                    else:
                        self.assertEqual(reply[key], value, reply)

    def test_the_port_is_8000_where_none_is_named(self):
        said = subprocess.run([os.path.join(daemons.BIN, "jailagent"), "serve", "--help"], capture_output=True, text=True,
                              timeout=60, env={"PATH": os.environ["PATH"]})
        self.assertIn("127.0.0.1:8000", said.stdout)


if __name__ == "__main__":
    daemons.BIN = sys.argv.pop(1)
    unittest.main(verbosity=1)
