#!/usr/bin/env python3
"""jailrun ask from end to end: the real programs, real jails, and a scripted server for the model.

    ask_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jailrun and jailrun-full
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.request

import record
from scripted_server import ScriptedServer, calls, text

BIN = ""
SOCKET = ""  # of a jaild, for those that want sessions
TIPS = "total_bill,tip,day\n16.99,1.01,Sun\n10.34,1.66,Sun\n21.01,3.5,Sat\n23.68,3.31,Sat\n"
RAISES = 'import pandas as pd\ndf = pd.read_csv("/data/tips.csv")\nprint(df["tipp"].mean())\n'
WORKS = ('import os\nimport pandas as pd\ndf = pd.read_csv("/data/tips.csv")\nprint(df["tip"].mean())\n'
         'print("environment:", dict(os.environ))\nopen("/work/table.csv", "w").write("a\\n")\n')


class AskTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="ask-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.tips = self.put("tips.csv", TIPS.encode())

    def put(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def environment(self, server=None, **more):
        models = ("OPENAI_", "ANTHROPIC_", "LLM_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(models)}
        kept["JAILRUN_SOCKET"] = SOCKET or os.path.join(self.dir, "nobody")
        kept["CAPSULE_DB_PATH"] = os.path.join(self.dir, "record.db")
        if server:
            kept.update(OPENAI_API_KEY=server.key, OPENAI_BASE_URL=server.url, OPENAI_MODEL="scripted")
        return {**kept, **more}

    def start(self, *arguments, server=None, env=None, **options):
        return subprocess.Popen([os.path.join(BIN, "jailrun"), "ask", *arguments], cwd=self.dir,
                                env=self.environment(server, **(env or {})), stdin=subprocess.DEVNULL,
                                stdout=options.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, text=True)

    def ask(self, *arguments, server=None, **env):
        process = self.start(*arguments, server=server, env=env)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def assert_nothing_left(self):
        self.assertEqual([name for name in os.listdir(self.dir) if "jailrun" in name], [])


def start_jaild(cls):
    """One for a class of tests, which end it."""
    global SOCKET
    place = tempfile.mkdtemp(prefix="ask-jaild-")
    cls.addClassCleanup(shutil.rmtree, place)
    SOCKET = os.path.join(place, "s")
    log = cls.enterClassContext(open(os.path.join(place, "log"), "w"))
    daemon = subprocess.Popen([os.path.join(BIN, "jaild"), "--socket", SOCKET], stdin=subprocess.DEVNULL,
                              stdout=log, stderr=log)

    def end():
        global SOCKET
        SOCKET = ""
        daemon.terminate()
        daemon.wait(60)

    cls.addClassCleanup(end)
    for _ in range(60):  # each waits up to ten seconds for an interpreter
        warm = subprocess.run([os.path.join(BIN, "jailrun"), "run", "--warm", "-"], input="1", text=True,
                              capture_output=True, env={**os.environ, "JAILRUN_SOCKET": SOCKET})
        if warm.returncode == 0:
            return
    raise RuntimeError(warm.stderr)


class WithAModel(AskTest):
    def test_a_failed_run_is_fed_back_and_the_next_one_answers(self):
        with ScriptedServer([calls(RAISES), calls(WORKS), text("The mean tip is **2.37**.")]) as server:
            status, out, err = self.ask("--file", self.tips, "--out", "out", "what is the mean tip?", server=server)
        self.assertEqual((server.faults, status), ([], 0), err)
        first, second, third = server.requests
        self.assertEqual(first["model"], "scripted")
        self.assertIn("/data/tips.csv: 4 rows, 3 columns", first["messages"][1]["content"])
        self.assertIn("what is the mean tip?", first["messages"][1]["content"])
        failure = second["messages"][-1]
        self.assertEqual(failure["role"], "tool")
        self.assertIn("nonzero_exit", failure["content"])
        self.assertIn("KeyError: 'tipp'", failure["content"])
        self.assertIn("What to try", failure["content"])
        self.assertIn("2.37", third["messages"][-1]["content"])
        self.assertIn("The mean tip is **2.37**.", out)
        self.assertIn("out/table.csv", out)
        self.assertIn('print(df["tip"].mean())', out)
        self.assertEqual(os.listdir(os.path.join(self.dir, "out")), ["table.csv"])

    def test_the_key_reaches_no_jail_and_no_output(self):
        with ScriptedServer([calls(WORKS), text("done")]) as server:
            status, out, err = self.ask("-v", "--file", self.tips, "mean tip?", server=server)
        self.assertEqual(status, 0, err)
        fed_back = server.requests[1]["messages"][-1]["content"]
        self.assertIn("environment:", fed_back)
        for seen in (fed_back, out, err):
            self.assertNotIn(server.key, seen)
            self.assertNotIn("OPENAI", seen)

    def test_all_calls_of_a_turn_run_in_order_and_finish_answers(self):
        with ScriptedServer([calls("print('one')", "print('two')"), calls(finish="It is two.")]) as server:
            status, out, err = self.ask("--json", "--file", self.tips, "which?", server=server)
        self.assertEqual((server.faults, status), ([], 0), err)
        answer = json.loads(out)
        self.assertEqual(answer["answer"], "It is two.")
        self.assertEqual([run["stdout"] for run in answer["runs"]], ["one\n", "two\n"])
        self.assertEqual((answer["provider"], answer["model"], answer["answered"]), ("openai", "scripted", True))
        self.assertEqual(answer["usage"]["tokens"], 200)

    def test_each_run_is_a_fresh_jail(self):
        with ScriptedServer([calls("open('/work/x', 'w').write('1')", "import os\nprint(os.listdir('/work'))"),
                             text("done")]) as server:
            status, out, err = self.ask("--json", "--file", self.tips, "q", server=server)
        self.assertEqual(json.loads(out)["runs"][1]["stdout"], "[]\n", err)

    def test_a_busy_server_is_asked_again(self):
        with ScriptedServer([(429, {"Retry-After": "0"}), text("at last")]) as server:
            status, out, err = self.ask("--file", self.tips, "q", server=server)
        self.assertEqual(status, 0, err)
        self.assertIn("at last", out)

    def test_a_refused_key_is_named_without_being_shown(self):
        with ScriptedServer([(401, {})]) as server:
            status, out, err = self.ask("--file", self.tips, "q", server=server)
        self.assertEqual(status, 125)
        self.assertIn("check OPENAI_API_KEY", err)
        self.assertNotIn(server.key, out + err)
        self.assert_nothing_left()

    def test_past_the_bound_on_runs_the_model_is_told_to_answer(self):
        with ScriptedServer([calls(RAISES), calls(RAISES), text("I could not find out.")]) as server:
            status, out, err = self.ask("--steps", "1", "--json", "--file", self.tips, "q", server=server)
        self.assertEqual((server.faults, status), ([], 0), err)
        self.assertIn("No run is left", server.requests[2]["messages"][-1]["content"])
        self.assertEqual(len(json.loads(out)["runs"]), 1)

    def test_a_model_that_never_answers_meets_a_bound(self):
        with ScriptedServer([calls("print(1)")] * 4) as server:
            status, out, err = self.ask("--steps", "1", "--file", self.tips, "q", server=server)
        self.assertEqual((server.faults, status), ([], 1), err)
        self.assertIn("No answer within 4 turns", out)

    def test_ctrl_c_while_the_model_thinks(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        with ScriptedServer([text("too late")], hold=hold) as server:
            process = self.start("--file", self.tips, "q", server=server)
            self.assertTrue(server.received.wait(60))
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
            hold.set()
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("cancelled", err)
        self.assert_nothing_left()

    def test_ctrl_c_while_a_jail_runs(self):
        with ScriptedServer([calls("while True: pass")]) as server:
            process = self.start("-v", "--file", self.tips, "q", server=server)
            for line in process.stderr:
                if "run 1" in line:
                    break
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130, err)
        self.assert_nothing_left()


class Protocols(AskTest):
    """The same conversation in each protocol; more tools; recordings."""

    def conversation(self, server, **env):
        status, out, err = self.ask("--json", "--effort", "low", "--file", self.tips, "mean tip?", server=server, **env)
        self.assertEqual((server.faults, status), ([], 0), err)
        answer = json.loads(out)
        self.assertEqual(answer["answer"], "It is 2.37.")
        self.assertEqual([run["verdict"] for run in answer["runs"]], ["nonzero_exit", "ok", "ok"])
        self.assertEqual((answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]), (270, 30))
        self.assertNotIn(server.key, out + err)

    def script(self):
        return ScriptedServer([calls(RAISES), calls(WORKS, "print(1)"), text("It is 2.37.")])

    def test_messages(self):
        with self.script() as server:
            self.conversation(server, OPENAI_API_KEY="", ANTHROPIC_API_KEY=server.key, ANTHROPIC_MODEL="scripted",
                              ANTHROPIC_BASE_URL=server.url)
        self.assertEqual(server.requests[0]["thinking"], {"type": "enabled", "budget_tokens": 2048})
        self.assertTrue(server.requests[1]["messages"][2]["content"][0]["is_error"])

    def test_responses(self):
        with self.script() as server:
            self.conversation(server, OPENAI_API="responses")
        self.assertEqual(server.requests[0]["reasoning"], {"effort": "low"})

    def test_a_compatible_server_from_a_file_of_the_directory(self):
        with self.script() as server:
            path = self.put(".env", f"LLM_PROVIDER=compatible\nLLM_BASE_URL={server.url}\nLLM_API_KEY={server.key}\n"
                                    "LLM_MODEL=scripted\nLLM_PRICES=1/1/10\n".encode())
            os.chmod(path, 0o600)
            self.conversation(server, OPENAI_API_KEY="", OPENAI_BASE_URL="")

    def test_what_a_conversation_costs_bounds_it(self):
        with ScriptedServer([calls("print(1)")] * 3) as server:
            status, out, err = self.ask("--json", "--cost", "0.0003", "--file", self.tips, "q", server=server,
                                        LLM_PRICES="1/1/10")
        self.assertEqual((server.faults, status), ([], 1), err)
        self.assertAlmostEqual(json.loads(out)["usage"]["cost_usd"], 2 * 190e-6)
        self.assertIn("bound on cost", json.loads(out)["answer"])

    def test_sql_sees_the_tables_and_nothing_else(self):
        allowed = ["select day, avg(tip) as mean from tips group by day order by day",
                   "with t as (select 'update; drop' as status) select * from t where status = 'update; drop'",
                   "select \"Stadt\" from towns order by 1"]
        refused = ["select * from '/etc/passwd'", "select * from read_csv_auto('/data/tips.csv')", "copy tips to '/work/x.csv'",
                   "drop table tips", "attach '/work/x.db'", "set threads = 9", "select 1; select 2", "install httpfs"]
        towns = self.put("towns.csv", "Stadt;Wert\nMünchen;1\nKöln;2\n".encode("latin-1"))
        plan = {"table": "tips", "select": ["day", {"agg": "sum", "column": "tip", "as": "total"}], "group_by": ["day"],
                "filters": [{"column": "day", "op": "contains", "value": "S"}],
                "order_by": [{"expr": "total", "dir": "desc"}], "limit": 5}
        turns = [calls(tools=[("run_sql", {"query": sql}) for sql in allowed] + [("query_plan", plan)]),
                 calls(tools=[("run_sql", {"query": sql}) for sql in refused]),
                 calls(tools=[("run_sql", {"query": "select tipp from tips"}), ("query_plan", {**plan, "joins": []}),
                              ("query_plan", {**plan, "table": "others"})])]
        with ScriptedServer([*turns, text("done")]) as server:
            status, out, err = self.ask("--json", "--steps", "20", "--file", self.tips, "--file", towns, "q", server=server)
        self.assertEqual((server.faults, status), ([], 0), err)
        runs = json.loads(out)["runs"]
        self.assertEqual([run["verdict"] for run in runs], ["ok"] * 4 + ["nonzero_exit"], runs)
        self.assertRegex(runs[0]["stdout"], r"\| Sat +\| +3\.405 +\|")
        self.assertIn("Köln", runs[2]["stdout"])
        self.assertEqual(runs[3]["sql"], 'SELECT\n  "day",\n  SUM("tip") AS "total"\nFROM "tips"\nWHERE\n  "day" LIKE '
                                         "'%S%' ESCAPE '\\'\nGROUP BY \"day\"\nORDER BY \"total\" DESC\nLIMIT 5")
        self.assertRegex(runs[3]["stdout"], r"\| Sat +\| +6\.81 +\|\n\| Sun +\| +2\.67 +\|")
        said = [m["content"] for m in server.requests[-1]["messages"] if m["role"] == "tool"]
        for answer in said[4:12]:
            self.assertRegex(answer, "outside of the data set|blocked token|Only SELECT|Multiple SQL")
        self.assertIn("Binder", said[12])
        self.assertIn("unknown member joins", said[13])
        self.assertIn("no table others", said[14])

    def test_sql_that_gets_past_the_first_look_reads_nothing_either(self):
        """The same program as run_sql's, by run_python: the jail and DuckDB's own lock stand alone."""
        program = next(iter(json.loads(self.sql_run("select 1 as a"))["runs"]))["code"]
        outside = ["select * from '/etc/passwd'", "select * from read_text('/proc/self/environ')", "copy tips to '/work/x.csv'",
                   "drop table tips", "set threads = 9", "select 1; select 2"]
        codes = [program.replace('"select 1 as a"', json.dumps(sql)) for sql in outside]
        with ScriptedServer([calls(*codes), text("done")]) as server:
            _, out, err = self.ask("--json", "--file", self.tips, "q", server=server)
        runs = json.loads(out)["runs"]
        self.assertEqual([(run["verdict"], run["stdout"]) for run in runs], [("nonzero_exit", "")] * len(outside), err)

    def sql_run(self, sql):
        with ScriptedServer([calls(tools=[("run_sql", {"query": sql})]), text("done")]) as server:
            return self.ask("--json", "--file", self.tips, "q", server=server)[1]

    def test_a_tool_of_ones_own_runs_in_a_jail(self):
        self.put("words.py", b"import json, os, sys\nprint(len(json.load(sys.stdin)['text'].split()), os.listdir('/data'), "
                             b"os.path.exists('/root/.ssh'), os.environ.get('OPENAI_API_KEY'))\n")
        manifest = self.put("words.json", json.dumps({
            "name": "word_count", "description": "Counts words.", "command": ["/usr/bin/python3", "/data/words.py"],
            "files": ["words.py"], "policy": "python", "timeout": "20s",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}).encode())
        script = [calls(tools=[("word_count", {"text": "one two three"}), ("word_count", {})]), text("three")]
        with ScriptedServer(script) as server:
            status, out, err = self.ask("--tool", manifest, "--file", self.tips, "q", server=server)
        self.assertEqual((server.faults, status), ([], 0), err)
        counted, misused = server.requests[1]["messages"][-2:]
        self.assertEqual(counted["content"], "3 ['words.py'] False None\n")
        self.assertIn("text is missing", misused["content"])

    def test_a_recorded_conversation_replays_and_a_changed_one_is_told(self):
        transcript = os.path.join(self.dir, "t.jsonl")
        with self.script() as server:
            self.conversation(server, LLM_RECORD=transcript)
        with open(transcript) as file:
            self.assertNotIn(server.key, file.read())
        again = {"LLM_PROVIDER": "recorded", "LLM_TRANSCRIPT": transcript}
        arguments = ["--json", "--effort", "low", "--file", self.tips, "mean tip?"]
        status, out, err = self.ask(*arguments, **again)
        self.assertEqual(status, 0, err)
        self.assertEqual(json.loads(out)["answer"], "It is 2.37.")
        self.put("tips.csv", TIPS.replace("3.31", "3.32").encode())
        status, out, err = self.ask(*arguments, **again)
        self.assertEqual(status, 125)
        self.assertIn("request 1 differs at /messages/1/text", err)
        self.assertIn("3.32", err)


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
        refused = subprocess.run([os.path.join(BIN, "jaild"), "--socket", os.path.join(self.dir, "s")], text=True,
                                 capture_output=True, timeout=60, env=self.environment(LOG_LEVEL="loud"))
        self.assertEqual((refused.returncode, "no log level loud" in refused.stderr), (2, True), refused.stderr)
        env = self.environment(LOG_FORMAT="json", LOG_FILE=os.path.join(self.dir, "log"), SOME_TOKEN="abcdefgh12345678")
        service = subprocess.Popen([os.path.join(BIN, "jailagent"), "serve", "--listen", "127.0.0.1:0", "--store",
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


class Recorded(AskTest):
    def test_an_analysis_of_several_steps_replays_exactly_against_real_jails_and_data(self):
        record.export(BIN, self.dir)
        here = os.path.dirname(os.path.abspath(__file__))
        status, out, err = self.ask("--json", "--fresh", "--out", "out", "--file", "tips.csv", record.QUESTION,
                                    LLM_PROVIDER="recorded",
                                    LLM_TRANSCRIPT=os.path.join(here, "transcripts", "tips.jsonl"))
        self.assertEqual(status, 0, err)
        answer = json.loads(out)
        self.assertEqual([run["verdict"] for run in answer["runs"]], ["ok", "nonzero_exit", "ok", "ok"])
        self.assertIn("sql", answer["runs"][0])
        self.assertEqual(answer["answer"], record.ANSWER)
        self.assertEqual(os.listdir(os.path.join(self.dir, "out")), ["share_by_when.png"])
        with open(os.path.join(self.dir, "out", "share_by_when.png"), "rb") as file:
            self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")

    def test_what_differs_from_the_recording_is_told_by_its_place(self):
        """Twins of the one above: other data are told at the first request, another answer of the
        jails where they gave it."""
        record.export(BIN, self.dir)
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "transcripts", "tips.jsonl")) as file:
            recorded = file.read()
        self.assertEqual(recorded.count("Mann-Whitney p = 0.306"), 1)
        self.put("other.jsonl", recorded.replace("Mann-Whitney p = 0.306", "Mann-Whitney p = 0.305").encode())
        self.put("same.jsonl", recorded.encode())
        arguments = ["--fresh", "--file", "tips.csv", record.QUESTION]
        status, out, err = self.ask(*arguments, LLM_PROVIDER="recorded", LLM_TRANSCRIPT="other.jsonl")
        self.assertEqual(status, 125, out)
        self.assertRegex(err, r"request 4 differs at /messages/\d+/text")
        with open(os.path.join(self.dir, "tips.csv")) as file:
            rows = file.read().splitlines(keepends=True)
        self.put("tips.csv", "".join(rows[:-1]).encode())
        status, out, err = self.ask(*arguments, LLM_PROVIDER="recorded", LLM_TRANSCRIPT="same.jsonl")
        self.assertEqual((status, out), (125, ""))
        self.assertIn("request 1 differs at /messages/1/text", err)


class Sessions(AskTest):
    """With a jaild of its own: runs share a session, and what fails is undone."""

    @classmethod
    def setUpClass(cls):
        start_jaild(cls)

    def conversation(self, *script, status=0, files=()):
        with ScriptedServer([*script, text("done")]) as server:
            got, out, err = self.ask("--json", "--out", "out", "--file", self.tips, "q", server=server)
        self.assertEqual((server.faults, got), ([], status), err)
        return json.loads(out)["runs"], [m["content"] for m in server.requests[-1]["messages"] if m["role"] == "tool"]

    def test_variables_stay_and_what_fails_is_undone(self):
        runs, told = self.conversation(
            calls("x = 1\nopen('/work/kept', 'w').write('a')\nx"), calls("x = 2\nopen('/work/gone', 'w')\n1 / 0"),
            calls("import os\nprint(x, os.listdir('/work'))"), calls("print(y)"))
        self.assertEqual([run["verdict"] for run in runs], ["ok", "nonzero_exit", "ok", "nonzero_exit"])
        self.assertEqual(runs[0]["stdout"], "1\n")
        self.assertIn("ZeroDivisionError", runs[1]["stderr"])
        self.assertIn("what it changed is undone", told[1])
        self.assertEqual(runs[2]["stdout"], "1 ['kept']\n")
        self.assertIn("define it again", told[3])
        self.assertEqual(os.listdir(os.path.join(self.dir, "out")), ["kept"])

    def test_a_model_branches_and_goes_back(self):
        runs, told = self.conversation(
            calls("x = 1"), calls(tools=[("branch", {})]), calls("x = 2"), calls(tools=[("rollback", {"state": 1})]),
            calls("print(x)"), calls(tools=[("rollback", {"state": 77})]), calls("print(x + 1)"))
        self.assertIn("is saved", told[1])
        self.assertEqual(runs[2]["stdout"], "1\n", told)
        self.assertIn("Nothing was changed", told[5])
        self.assertEqual(runs[3]["stdout"], "2\n")

    def test_an_interpreter_that_dies_is_told_of_and_the_session_goes_on(self):
        runs, told = self.conversation(
            calls("x = 1"), calls("import os\nos.kill(os.getpid(), 9)"), calls("print(x)"))
        self.assertEqual(runs[1]["verdict"], "signalled")
        self.assertEqual(runs[2]["stdout"], "1\n", told)

    def test_a_run_that_cannot_be_undone_runs_and_says_so_when_it_fails(self):
        runs, told = self.conversation(
            calls("import threading\nstop = threading.Event()\nthreading.Thread(target=stop.wait, daemon=True).start()"),
            calls("x = 7"), calls("x = 8\n1 / 0"), calls("print(x)"))
        self.assertEqual([run["verdict"] for run in runs], ["ok", "ok", "nonzero_exit", "ok"], told)
        self.assertIn("what it changed before it failed stays", told[2])
        self.assertEqual(runs[3]["stdout"], "8\n")

    def test_figures_that_are_shown_come_out_once(self):
        plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
        runs, _ = self.conversation(calls(plot + "plt.savefig('/work/mine.png')"), calls(plot))
        self.assertEqual([[file["name"] for file in run["files"]] for run in runs], [["mine.png"], ["figure-1.png"]])
        with open(os.path.join(self.dir, "out", "figure-1.png"), "rb") as file:
            self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")

    def test_sql_leaves_the_session_as_it_was(self):
        runs, _ = self.conversation(calls("x = 1"), calls(tools=[("run_sql", {"query": "select count(*) as n from tips"})]),
                                    calls("print(x)"))
        self.assertRegex(runs[1]["stdout"], r"\| +4 \|")
        self.assertEqual(runs[2]["stdout"], "1\n")

    def test_fresh_jails_where_they_are_wanted(self):
        with ScriptedServer([calls("x = 1"), calls("print(x)"), text("done")]) as server:
            _, out, err = self.ask("--json", "--fresh", "--file", self.tips, "q", server=server)
        self.assertEqual([run["verdict"] for run in json.loads(out)["runs"]], ["ok", "nonzero_exit"], err)


class Offline(AskTest):
    def test_the_tips_of_the_image_give_a_table_and_a_plot(self):
        export = "import plotly.data\nplotly.data.tips().to_csv('/work/tips.csv', index=False)\n"
        made = subprocess.run([os.path.join(BIN, "jailrun"), "run", "--out", "data", "-"], input=export, text=True,
                              cwd=self.dir, capture_output=True, timeout=120, env=self.environment())
        self.assertEqual(made.returncode, 0, made.stderr)
        status, out, err = self.ask("--file", "data/tips.csv", "what is the average tip by day?", "--out", "out")
        self.assertEqual(status, 0, err)
        self.assertIn("No model was asked", out)
        self.assertRegex(out, r"\| Sun +\| +3\.2551 \|")
        self.assertRegex(out, r"\| Fri +\| +2\.7347 \|")
        plot = os.path.join(self.dir, "out", "mean_of_tip_by_day.png")
        with open(plot, "rb") as file:
            self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
        self.assertIn("out/mean_of_tip_by_day.png", out)

    def test_every_kind_of_question_runs(self):
        rows = "".join(f"{1 + i % 28:02}/{1 + i % 12:02}/2023,{'NSE'[i % 3]},{i * 37 % 101},{i % 5}\n" for i in range(90))
        sales = self.put("sales.csv", ("when,region,sales,units\n" + rows).encode())
        for question in ("total sales by region", "top 3 rows by sales", "top 2 regions by average sales",
                         "sales where region is N and units > 2", "rows where units > 3", "average sales by month",
                         "total sales per region by quarter", "correlation between sales and units", "correlations",
                         "distribution of sales", "distribution of region", "box plot of sales by region",
                         "plot sales over units", "how many rows by region", "missing values", "describe the data",
                         "total sales where units > 1000"):
            with self.subTest(question):
                if question.startswith("sales where"):
                    question = "average " + question
                status, out, err = self.ask("--json", "--file", sales, question, "--out", "out")
                self.assertEqual(status, 0, out + err)
                run = json.loads(out)["runs"][0]
                self.assertEqual(run["verdict"], "ok", run["stderr"])
                self.assertNotEqual(run["stdout"], "")

    def test_the_questions_of_the_manuals(self):
        """S0-43 and S0-44."""
        rows = "".join(f"2023-{1 + i % 12:02}-{1 + i % 28:02},{i * 10}\n" for i in range(48))
        sales = self.put("sales_data.csv", ("date,sales\n" + rows).encode())
        status, out, err = self.ask("--file", sales, "what is the average sales by quarter?", "--out", "quarters")
        self.assertEqual(status, 0, out + err)
        for quarter, mean in (("2023Q1", 190), ("2023Q4", 280)):  # of 12i + {0, 1, 2} and 12i + {9, 10, 11}
            self.assertRegex(out, rf"\| {quarter}\S* +\| +{mean}\.0000 ")
        rows = "".join(f"{i % 24},{i * i % 7}\n" for i in range(240))
        accidents = self.put("traffic_accidents.csv", ("time_of_day,accidents\n" + rows).encode())
        status, out, err = self.ask("--file", accidents, "draw a line plot showing accidents over time_of_day",
                                    "--out", "plots")
        self.assertEqual(status, 0, out + err)
        (plot,) = os.listdir(os.path.join(self.dir, "plots"))
        with open(os.path.join(self.dir, "plots", plot), "rb") as file:
            content = file.read()
        self.assertEqual((content[:8], len(content) > 1000), (b"\x89PNG\r\n\x1a\n", True))

    def test_a_question_it_cannot_translate_is_refused_with_examples(self):
        status, out, err = self.ask("--file", self.tips, "why do people tip?")
        self.assertEqual(status, 1, err)
        self.assertIn("No model was asked", out)
        self.assertIn('"why"', out)
        self.assertIn("total_bill, tip, day", out)
        self.assertIn("top 5 rows by total bill", out)
        self.assert_nothing_left()

    def test_latin_1_is_read_and_said(self):
        towns = self.put("towns.csv", "Stadt;Wert\nMünchen;1\nKöln;2\n".encode("latin-1"))
        status, out, err = self.ask("--file", towns, "total wert by stadt")
        self.assertEqual(status, 0, err)
        self.assertIn("München", out)
        self.assertIn("is not UTF-8", out)

    def test_sqlite_is_described_and_asked(self):
        import sqlite3

        path = os.path.join(self.dir, "shop.db")
        with sqlite3.connect(path) as base:
            base.execute("create table orders (region text, price real)")
            base.executemany("insert into orders values (?, ?)", [("N", 1.5), ("S", 2.5), ("N", 3.5)])
        status, out, err = self.ask("--file", path, "total price by region")
        self.assertEqual(status, 0, err)
        self.assertRegex(out, r"\| N +\| +5\.0000 \|")


class BadInput(AskTest):
    def assert_refused(self, parts, *arguments):
        status, out, err = self.ask(*arguments)
        self.assertEqual((status, out), (125, ""), err)
        for part in parts:
            self.assertIn(part, err)
        self.assert_nothing_left()

    def test_files_that_cannot_be_used(self):
        self.assert_refused(["missing.csv", "check the path"], "--file", "missing.csv", "q")
        self.assert_refused(["is a directory"], "--file", self.dir, "q")
        self.assert_refused(["empty.csv", "is empty"], "--file", self.put("empty.csv", b""), "q")

    def test_a_file_that_is_no_table(self):
        self.assert_refused(["noise.xlsx", "as a table"], "--file", self.put("noise.xlsx", bytes(range(256))), "q")

    def test_a_question_or_a_file_that_is_not_there(self):
        self.assert_refused(["no question"], "--file", self.tips)
        self.assert_refused(["no data file"], "q")

    def test_a_place_that_cannot_be_written(self):
        self.assert_refused(["--out DIR"], "--file", self.tips, "--out", "/proc/nothing/here", "q")

    def test_a_closed_stdout(self):
        read, write = os.pipe()
        os.close(read)
        process = self.start("--file", self.tips, "average tip by day", "--out", "out", stdout=write)
        os.close(write)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 125)
        self.assertIn("cannot write the answer", err)


if __name__ == "__main__":
    if len(sys.argv) < 2 or not os.path.exists(os.path.join(sys.argv[1], "jailrun")):
        sys.exit("usage: ask_test.py BIN_DIR [unittest arguments]; BIN_DIR holds jailrun and jailrun-full")
    BIN = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
