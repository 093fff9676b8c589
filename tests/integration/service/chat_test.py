#!/usr/bin/env python3
"""Questions over HTTP: /chat and its stream, runs, threads, analyze; the keys that the page and other programs read.

    chat_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jaild, jailagent and jailrun
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

import daemons
from daemons import Service

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "agent"))
from scripted_server import ScriptedServer, calls, text  # noqa: E402

TIPS = b"total_bill,tip,day\n16.99,1.01,Sun\n10.34,1.66,Sun\n21.01,3.5,Sat\n23.68,3.31,Sat\n"
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('/work/a b.png')\nprint('drawn')\n"
REPLY = ["assistant_message", "run_id", "thread_id", "status", "result", "details"]
RESULT = ["columns", "rows", "row_count", "exec_time_ms", "error"]
DETAILS = ["dataset_id", "query_mode", "plan_json", "compiled_sql", "python_code"]
CAPSULE = {"run_id", "created_at", "dataset_id", "dataset_version_hash", "question", "query_mode", "plan_json", "compiled_sql",
           "python_code", "status", "result_json", "error_json", "exec_time_ms"}


class ChatTest(unittest.TestCase):
    """With a model of its own where a class has a script; `service.ask` as in daemons."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="service-chat-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.model = ScriptedServer([])
        cls.model.__enter__()
        cls.addClassCleanup(cls.model.__exit__)
        before = dict(os.environ)
        cls.addClassCleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ.update(JAILRUN_DATASETS=cls.dir, CAPSULE_DB_PATH=os.path.join(cls.dir, "record.db"), **cls.models())
        subprocess.run([os.path.join(daemons.BIN, "jailrun"), "datasets", "generate", cls.dir], check=True,
                       stdout=subprocess.DEVNULL)
        cls.service = Service()
        cls.addClassCleanup(lambda: cls.service.end())

    @classmethod
    def models(cls):
        return {"LLM_PROVIDER": "openai", "OPENAI_API_KEY": cls.model.key, "OPENAI_BASE_URL": cls.model.url,
                "OPENAI_MODEL": "scripted"}

    def upload(self, content=TIPS, name="tips.csv", user="ada"):
        status, reply = self.service.ask("POST", f"/v1/users/{user}/files?filename={name}", content,
                                         {"Content-Type": "application/octet-stream"})
        self.assertEqual(status, 201, reply)
        return reply["file_id"]

    def chat(self, message, status=200, **body):
        got, reply = self.service.ask("POST", "/chat", {"message": message, **body})
        self.assertEqual(got, status, reply)
        return reply

    def stream(self, message, **body):
        """[(event, data)] of a whole stream."""
        status, content = self.service.ask("POST", "/chat/stream", {"message": message, **body}, raw=True)
        self.assertEqual((status, self.service.headers["content-type"]), (200, "text/event-stream"), content)
        events = []
        for block in content.decode().split("\n\n")[:-1]:
            event, data = block.split("\n", 1)
            events.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
        return events


class Asked(ChatTest):
    def play(self, *script):
        self.model.play(script)
        self.addCleanup(lambda: self.assertEqual(self.model.faults, []))

    def test_a_reply_has_exactly_these_keys(self):
        self.play(calls(tools=[("run_sql", {"query": "select day, count(*) as n from tips group by day order by day"})]),
                  text("Two each."))
        reply = self.chat("how many?", files=[self.upload()], user_id="ada")
        self.assertEqual([list(reply), list(reply["result"]), list(reply["details"])], [REPLY, RESULT, DETAILS])
        self.assertEqual((reply["status"], reply["assistant_message"]), ("succeeded", "Two each."))
        self.assertEqual((reply["result"]["columns"], reply["result"]["rows"]), (["day", "n"], [["Sat", 2], ["Sun", 2]]))
        self.assertEqual(reply["details"]["query_mode"], "sql")
        status, capsule = self.service.ask("GET", "/runs/" + reply["run_id"])
        self.assertEqual(status, 200)
        self.assertLessEqual(CAPSULE, set(capsule))
        self.assertRegex(capsule["data"][0]["origin"], "^store:ada/")
        self.assertEqual(self.service.ask("GET", f"/runs/{reply['run_id']}/status"),
                         (200, {"run_id": reply["run_id"], "status": "succeeded"}))

    def test_events_come_in_order_with_code_output_and_plot(self):
        self.play(calls(PLOT), text("It is drawn."))
        events = self.stream("draw", files=[self.upload()], user_id="ada")
        names = [name for name, _ in events]
        self.assertEqual((names[0], names[1], names[-2:]), ("start", "status", ["result", "done"]))
        self.assertEqual(names.index("code") < names.index("output") < names.index("plot") < names.index("step"), True, names)
        stages = [data["stage"] for name, data in events if name == "status"]
        self.assertEqual(list(dict.fromkeys(stages)), ["planning", "validating", "executing"])
        of = dict(events)
        self.assertEqual((of["code"]["step"], of["code"]["language"], of["code"]["code"]), (1, "python", PLOT))
        self.assertEqual("".join(data["text"] for name, data in events if name == "output"), "drawn\n")
        self.assertEqual((of["output"]["step"], of["output"]["stream"]), (1, "stdout"))
        self.assertEqual(base64.b64decode(of["plot"]["data"])[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(of["step"]["verdict"], "ok")
        self.assertEqual("".join(data["text"] for name, data in events if name == "text"), "It is drawn.")
        self.assertEqual(of["result"]["assistant_message"], "It is drawn.")
        self.assertEqual(of["start"], {"run_id": of["done"]["run_id"], "thread_id": of["result"]["thread_id"]})
        status, png = self.service.ask("GET", of["plot"]["url"], raw=True)
        self.assertEqual((status, png[:4]), (200, b"\x89PNG"))
        self.assertEqual(self.service.headers["content-disposition"], "attachment")
        run = "/runs/" + of["done"]["run_id"]
        status, notebook = self.service.ask("GET", run + "/notebook")
        self.assertEqual((status, notebook["nbformat"]), (200, 4))
        status, page = self.service.ask("GET", run + "/report", raw=True)
        self.assertIn(b"default-src 'none'", page)
        self.assertIn("attachment", self.service.headers["content-disposition"])

    def test_what_is_printed_comes_before_the_run_ends(self):
        slow = "import time\nprint('first', flush=True)\ntime.sleep(600)\n"
        self.play(calls(slow))
        body = json.dumps({"message": "q", "files": [self.upload()], "user_id": "ada"}).encode()
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=60) as connection:
            connection.sendall(b"POST /chat/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            seen = b""
            while b'"text":"first' not in seen:
                part = connection.recv(65536)
                self.assertTrue(part, seen)
                seen += part
        # Whoever goes away stops the run, and it is said.
        run = json.loads(seen.split(b"event: start\ndata: ")[1].split(b"\n")[0])["run_id"]
        for _ in range(3000):
            status, reply = self.service.ask("GET", f"/runs/{run}/status")
            if reply["status"] != "running":
                break
        self.assertEqual(reply["status"], "interrupted")

    def test_a_thread_is_kept_and_told_to_the_model(self):
        file = self.upload()
        self.play(text("Hello Dave."), text("Dave."))
        first = self.chat("my name is dave", files=[file], user_id="ada")
        second = self.chat("who am I?", thread_id=first["thread_id"])
        self.assertEqual(second["thread_id"], first["thread_id"])
        said = [message["content"] for message in self.model.requests[-1]["messages"]]
        self.assertIn("my name is dave", said[1])
        self.assertEqual(said[2:], ["Hello Dave.", "who am I?"])
        status, reply = self.service.ask("GET", f"/threads/{first['thread_id']}/messages?limit=3")
        self.assertEqual([(m["role"], m["content"]) for m in reply["messages"]],
                         [("assistant", "Hello Dave."), ("user", "who am I?"), ("assistant", "Dave.")])
        self.assertEqual(list(reply["messages"][0]), ["id", "thread_id", "created_at", "dataset_id", "role", "content", "run_id",
                                                      "metadata"])
        for limit in ("0", "201", "x"):
            self.assertEqual(self.service.ask("GET", f"/threads/{first['thread_id']}/messages?limit={limit}")[0], 422)
        threads = self.service.ask("GET", "/threads")[1]["threads"]
        self.assertEqual((threads[0]["thread_id"], threads[0]["title"], threads[0]["messages"]),
                         (first["thread_id"], "my name is dave", 4))
        self.assertEqual(self.service.ask("DELETE", "/threads/" + first["thread_id"])[0], 200)
        self.assertEqual(self.service.ask("GET", "/runs/" + first["run_id"])[0], 404)

    def test_messages_in_sql_and_python_ask_no_model(self):
        self.play()
        reply = self.chat("sql: select count(*) as total_tickets from tickets", dataset_id="support")
        self.assertEqual((reply["status"], reply["details"]["query_mode"]), ("succeeded", "sql"))
        self.assertRegex(reply["assistant_message"], r"^There are \d+ total tickets in the dataset\.$")
        reply = self.chat("PYTHON: import os", dataset_id="support")
        self.assertEqual((reply["status"], reply["result"]["error"]["type"]), ("rejected", "PYTHON_POLICY_VIOLATION"))
        self.assertEqual(self.service.ask("GET", "/runs/" + reply["run_id"])[1]["policy"]["name"], "csv-strict")
        reply = self.chat("SQL: drop table tickets", dataset_id="support")
        self.assertEqual((reply["status"], reply["result"]["error"]["type"]), ("rejected", "SQL_POLICY_VIOLATION"))

    def test_a_request_that_makes_no_sense(self):
        file = self.upload()
        self.chat("q", status=400)
        self.chat("  ", status=400, files=[file], user_id="ada")
        self.chat("q", status=404, dataset_id="nothing")
        self.chat("q", status=404, files=[file], user_id="bob")
        self.chat("q", status=400, files=[file], user_id="ada", thread_id="../x")
        self.chat("x" * 20000, status=413, files=[file], user_id="ada")
        self.assertEqual(self.service.ask("POST", "/chat", {"dataset_id": "support"})[0], 422)
        self.assertEqual(self.service.ask("GET", "/runs/none"), (404, {"detail": "Run not found"}))
        self.assertEqual(self.service.ask("GET", "/runs/none/status"), (200, {"run_id": "none", "status": "not_found"}))
        # What the model's server refuses is a failed run, not a failure of the request.
        self.model.play([(401, {})])
        reply = self.chat("q", files=[file], user_id="ada")
        self.assertEqual((reply["status"], reply["result"]["error"]["type"]), ("failed", "RUNNER_INTERNAL_ERROR"))
        self.assertNotIn(self.model.key, json.dumps(reply))


class Runs(ChatTest):
    @classmethod
    def models(cls):
        return {"LLM_PROVIDER": "offline"}

    def post(self, status=200, **body):
        got, reply = self.service.ask("POST", "/runs", body)
        self.assertEqual(got, status, reply)
        return reply

    def test_sql_python_and_plans(self):
        reply = self.post(dataset_id="support", query_type="sql", sql="select count(*) as n from tickets")
        self.assertEqual([list(reply), list(reply["result"])], [["run_id", "status", "result", "details"], RESULT])
        (count,), = reply["result"]["rows"]
        self.assertGreater(count, 1000)
        reply = self.post(dataset_id="support", query_type="plan",
                          plan_json={"dataset_id": "support", "table": "tickets", "select": [{"agg": "count", "as": "n"}]})
        self.assertEqual((reply["result"]["rows"], reply["details"]["query_mode"]), ([[count]], "plan"))
        self.assertIn("COUNT", reply["details"]["compiled_sql"])
        reply = self.post(dataset_id="support", query_type="python",
                          python_code="import pandas as pd\nresult = 6 * 7")
        self.assertEqual((reply["status"], reply["result"]["rows"]), ("succeeded", [[42]]), reply)
        reply = self.post(dataset_id="support", query_type="sql", sql="select nothing from tickets")
        self.assertEqual((reply["status"], reply["result"]["error"]["type"]), ("failed", "SQL_EXECUTION_ERROR"))
        rows = self.service.ask("GET", "/runs?limit=2")[1]["runs"]
        self.assertEqual((len(rows), rows[0]["run_id"], rows[0]["status"]), (2, reply["run_id"], "failed"))
        self.assertEqual(self.service.ask("DELETE", "/runs/" + reply["run_id"])[0], 200)
        self.assertEqual(self.service.ask("GET", "/runs/" + reply["run_id"])[0], 404)

    def test_a_table_comes_as_csv_or_arrow_to_who_accepts_it(self):
        arrow, csv = "application/vnd.apache.arrow.stream", "text/csv"
        sql = ("select status, count(*) as n, avg(ticket_id) as mean, null as gone, n > 0 as \"any\", [n] as list "
               "from tickets group by status order by status")
        whole = self.post(dataset_id="support", query_type="sql", sql=sql)
        run, rows = "/runs/" + whole["run_id"], whole["result"]["rows"]
        for accept, wanted in ((arrow, arrow), (f"{arrow}, {csv}", arrow), (f"{csv}, {arrow};q=0.5", csv),
                               (f"{arrow}, application/json", "application/json"), ("*/*", "application/json")):
            status, content = self.service.ask("GET", run, headers={"Accept": accept}, raw=True)
            self.assertEqual((status, self.service.headers["content-type"].split(";")[0]), (200, wanted), content[:300])
            self.assertIn("Accept", self.service.headers["vary"])
            if accept == arrow:
                table = content
        self.assertEqual(self.read_arrow(table), [
            dict(zip(whole["result"]["columns"], row)) for row in rows])
        mixed = "select cast(n as union(number int, word varchar)) as a from (select unnest([1, null]) as n) union all select 'y'"
        status, content = self.service.ask("POST", "/runs", {"dataset_id": "support", "query_type": "sql", "sql": mixed},
                                           {"Accept": arrow}, raw=True)
        self.assertCountEqual(self.read_arrow(content), [{"a": "1"}, {"a": None}, {"a": "y"}])
        # What has no table is told as JSON, whatever is accepted.
        status, content = self.service.ask("POST", "/runs", {"dataset_id": "support", "query_type": "sql", "sql": "select x"},
                                           {"Accept": arrow}, raw=True)
        self.assertEqual((status, json.loads(content)["status"]), (200, "failed"))

    def read_arrow(self, content):
        """Its rows, as pyarrow in a jail reads them."""
        path = os.path.join(self.dir, "table.arrow")
        with open(path, "wb") as file:
            file.write(content)
        code = ("import json, pyarrow\nwith pyarrow.ipc.open_stream('/data/table.arrow') as stream:\n"
                "    print(json.dumps(stream.read_all().to_pylist()))\n")
        read = subprocess.run([os.path.join(daemons.BIN, "jailrun"), "run", "--file", path, "-"], input=code, text=True,
                              capture_output=True, env={**os.environ, "JAILRUN_SOCKET": self.service.jaild_socket})
        self.assertEqual(read.returncode, 0, read.stderr)
        return json.loads(read.stdout)

    def test_a_missing_field_and_an_unknown_data_set(self):
        for kind in ("sql", "python", "plan", "ruby"):
            self.post(400, dataset_id="support", query_type=kind)
        self.assertEqual(self.post(404, dataset_id="none", query_type="sql", sql="select 1"), {"detail": "Dataset not found"})
        self.post(422, dataset_id="support", sql="select 1")

    def test_without_a_model_what_cannot_be_read_is_rejected(self):
        reply = self.chat("Hi", dataset_id="support")
        self.assertEqual((reply["status"], reply["details"]["query_mode"], reply["result"]["error"]["type"]),
                         ("rejected", "chat", "LLM_UNAVAILABLE"))

    def test_a_file_of_the_request_is_analyzed(self):
        path = "/v1/analyze?" + urllib.parse.urlencode({"filename": "my tips.csv", "question": "total tip by day"})
        status, reply = self.service.ask("POST", path, TIPS, {"Content-Type": "text/csv"})
        self.assertEqual((status, reply["answered"]), (200, True), reply)
        self.assertIn("6.81", reply["runs"][0]["stdout"])
        self.assertTrue(reply["files"][0]["path"].startswith(f"/runs/{reply['run_id']}/files/1/"))
        self.assertEqual(self.service.ask("GET", reply["files"][0]["path"], raw=True)[0], 200)
        self.assertEqual(self.service.ask("POST", "/v1/analyze?filename=a", TIPS, {"Content-Type": "text/csv"})[0], 400)
        self.assertEqual([name for name in os.listdir(tempfile.gettempdir()) if name.startswith("jailagent-")], [])


class Owners(ChatTest):
    @classmethod
    def models(cls):
        return {"LLM_PROVIDER": "offline"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.service.end_agent(15)
        add = [os.path.join(daemons.BIN, "jailagent"), "keys", "--keys", cls.service.keys, "add"]
        cls.made = [subprocess.run([*add, name], check=True, capture_output=True, text=True).stdout.strip()
                    for name in ("ada", "bob")]
        cls.service.start_agent()

    def test_see_only_their_own(self):
        ada, bob = ({"Authorization": "Bearer " + key} for key in self.made)
        ask = self.service.ask
        status, reply = ask("POST", "/chat", {"message": "SQL: select 1 as one from tickets limit 1", "dataset_id": "support",
                                              "thread_id": "shared"}, ada)
        self.assertEqual((status, reply["status"]), (200, "succeeded"), reply)
        run = reply["run_id"]
        self.assertEqual(ask("GET", "/runs/" + run, headers=ada)[0], 200)
        for path in (f"/runs/{run}", f"/runs/{run}/notebook", f"/runs/{run}/report", f"/runs/{run}/files/1/x"):
            self.assertEqual(ask("GET", path, headers=bob)[0], 404, path)
        self.assertEqual(ask("GET", f"/runs/{run}/status", headers=bob)[1]["status"], "not_found")
        self.assertEqual(ask("DELETE", "/runs/" + run, headers=bob)[0], 404)
        self.assertEqual(ask("DELETE", "/threads/shared", headers=bob)[0], 404)
        self.assertEqual(ask("GET", "/threads/shared/messages", headers=bob)[1]["messages"], [])
        self.assertEqual(ask("GET", "/runs", headers=bob)[1]["runs"], [])
        self.assertEqual(ask("GET", "/threads", headers=bob)[1]["threads"], [])
        # The same name is another thread to another owner: without data, so far.
        self.assertEqual(ask("POST", "/chat", {"message": "q", "thread_id": "shared"}, bob)[0], 400)
        self.assertEqual(ask("GET", "/runs/" + run)[0], 401)


if __name__ == "__main__":
    if len(sys.argv) < 2 or not os.path.exists(os.path.join(sys.argv[1], "jailagent")):
        sys.exit("usage: chat_test.py BIN_DIR [unittest arguments]; BIN_DIR holds jaild, jailagent and jailrun")
    daemons.BIN = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
