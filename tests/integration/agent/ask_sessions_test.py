#!/usr/bin/env python3
"""jailrun ask by a recording, and in a session of jaild.

    ask_sessions_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jailrun and jailrun-full
"""

import json
import os
import threading

import asking
import record
from asking import AskTest, start_jaild
from scripted_server import ScriptedServer, calls, text


class Recorded(AskTest):
    def test_an_analysis_of_several_steps_replays_exactly_against_real_jails_and_data(self):
        record.export(asking.BIN, self.dir)
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
        record.export(asking.BIN, self.dir)
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


if __name__ == "__main__":
    asking.main()
