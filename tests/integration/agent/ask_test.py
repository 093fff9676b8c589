#!/usr/bin/env python3
"""jailrun ask from end to end: the real programs, real jails, and a scripted server for the model.

    ask_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jailrun and jailrun-full
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

from scripted_server import ScriptedServer, calls, text

BIN = ""
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
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        if server:
            kept.update(OPENAI_API_KEY=server.key, OPENAI_BASE_URL=server.url, OPENAI_MODEL="scripted")
        return {**kept, **more}

    def start(self, *arguments, server=None, **options):
        return subprocess.Popen([os.path.join(BIN, "jailrun"), "ask", *arguments], cwd=self.dir,
                                env=self.environment(server), stdin=subprocess.DEVNULL,
                                stdout=options.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, text=True)

    def ask(self, *arguments, server=None):
        process = self.start(*arguments, server=server)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def assert_nothing_left(self):
        self.assertEqual([name for name in os.listdir(self.dir) if "jailrun" in name], [])


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
