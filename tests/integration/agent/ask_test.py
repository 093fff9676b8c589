#!/usr/bin/env python3
"""jailrun ask with a model, end to end: the real programs, real jails, and a scripted server.

    ask_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jailrun and jailrun-full
"""

import json
import os
import signal
import sys
import threading

import asking
from asking import RAISES, TIPS, WORKS, AskTest
from scripted_server import ScriptedServer, calls, text


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


if __name__ == "__main__":
    asking.main()
