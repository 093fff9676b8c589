#!/usr/bin/env python3
"""What jailrun ask and chat leave behind: runs, threads, notebooks, reports, replays; and the terminal.

    record_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jailrun, jailrun-full and jaild
"""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
import unittest

import asking
from asking import TIPS, WORKS, AskTest
from scripted_server import ScriptedServer, calls, text

PLOT = ("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('/work/plot.png')\n"
        "open('/work/page.html', 'w').write('<script>parent.owned = 1</script>')\nprint('drawn')\n")


class RecordTest(AskTest):
    def jailrun(self, *words, status=0, input=None, **env):
        ran = subprocess.run([os.path.join(asking.BIN, "jailrun"), *words], cwd=self.dir, text=True, timeout=240,
                             input=input, capture_output=True, env=self.environment(None, **env))
        self.assertEqual(ran.returncode, status, ran.stdout + ran.stderr)
        return ran.stdout if status in (0, 1) else ran.stderr

    def run_id(self, *arguments, server=None, status=0, **env):
        got, out, err = self.ask("--json", *arguments, server=server, **env)
        self.assertEqual(got, status, out + err)
        return json.loads(out)["run_id"]

    def capsule(self, run_id):
        return json.loads(self.jailrun("runs", "show", "--json", run_id))


class Runs(RecordTest):
    def test_a_run_is_kept_whole_shown_exported_and_removed(self):
        with ScriptedServer([calls(PLOT), text("It is **drawn**.")]) as server:
            run = self.run_id("--file", self.tips, "--out", "out", "--html", "r.html", "--save-notebook", "n.ipynb", "draw",
                              server=server)
        capsule = self.capsule(run)
        self.assertEqual((capsule["status"], capsule["question"], capsule["answer"]), ("succeeded", "draw", "It is **drawn**."))
        self.assertEqual([m["role"] for m in capsule["messages"]], ["developer", "user", "assistant", "tool", "assistant"])
        (step,) = capsule["steps"]
        self.assertEqual((step["code"], step["stdout"], step["verdict"]), (PLOT, "drawn\n", "ok"))
        self.assertEqual([(f["name"], f["kept"]) for f in step["files"]], [("page.html", True), ("plot.png", True)])
        self.assertRegex(capsule["data"][0]["sha256"] + capsule["policy"]["sha256"], "^[0-9a-f]{128}$")
        self.assertRegex(capsule["image"], "^python-[0-9a-f]{16}$")
        self.assertEqual((capsule["usage"]["input_tokens"], capsule["usage"]["turns"]), (180, 2))
        self.assertIn(run, self.jailrun("runs", "ls"))
        self.assertIn("drawn", self.jailrun("runs", "show", run))
        exported = json.loads(self.jailrun("runs", "export", run))
        self.assertEqual([f["name"] for f in exported["files"]], ["page.html", "plot.png"])
        with open(os.path.join(self.dir, "n.ipynb")) as file:
            notebook = json.load(file)
        self.assertEqual(notebook["cells"][1]["outputs"][-1]["data"]["image/png"][:8], "iVBORw0K")
        with open(os.path.join(self.dir, "r.html")) as file:
            page = file.read()
        self.assertIn("<strong>drawn</strong>", page)
        self.assertIn('src="data:image/png;base64,iVBORw0K', page)
        self.assertIn("<iframe sandbox ", page)
        self.assertNotIn("<script", page)
        self.assertEqual(re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)\w+:", page), [])
        self.jailrun("runs", "rm", run)
        self.assertIn("there is no run", self.jailrun("runs", "show", run, status=125))

    def test_what_is_there_is_not_overwritten_and_nothing_runs_for_it(self):
        self.put("n.ipynb", b"mine")
        status, _, err = self.ask("--file", self.tips, "--save-notebook", "n.ipynb", "average tip by day")
        self.assertEqual(status, 125)
        self.assertIn("n.ipynb is there already", err)
        self.assertEqual(json.loads(self.jailrun("runs", "ls", "--json")), [])

    def test_no_key_of_environment_question_or_output_is_kept(self):
        leak = "print('the key: ' + 'sk-proj-' + 'A1b2C3d4E5f6G7h8')\nprint('hunter2-' + 'is-the-word')\n"
        with ScriptedServer([calls(leak), text("sk-proj-A1b2C3d4E5f6G7h8")]) as server:
            self.run_id("--file", self.tips, "--html", "r.html", "is sk-test-0123456789 or sk-ant-0123456789abcdef a key?",
                        server=server, MY_PASSWORD="hunter2-is-the-word")
        for name in ("record.db", "record.db-wal", "r.html"):
            path = os.path.join(self.dir, name)
            if not os.path.exists(path):
                continue
            with open(path, "rb") as file:
                kept = file.read()
            for secret in (server.key, "hunter2-is", "sk-proj-A1b2C3d4E5f6G7h8", "sk-ant-0123456789abcdef"):
                self.assertNotIn(secret.encode(), kept, name)

    def test_no_record_where_none_is_wanted_and_a_word_where_none_can_be(self):
        status, out, err = self.ask("--json", "--no-record", "--file", self.tips, "total tip by day")
        self.assertEqual((status, json.loads(out)["run_id"]), (0, None), err)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "record.db")))
        status, out, err = self.ask("--json", "--file", self.tips, "total tip by day", CAPSULE_DB_PATH="/proc/none")
        self.assertEqual((status, json.loads(out)["run_id"]), (0, None), err)
        self.assertIn("this is not recorded", err)

    def test_a_failure_of_ours_and_an_early_end_are_kept_too(self):
        with ScriptedServer([(401, {})]) as server:
            self.ask("--file", self.tips, "q", server=server)
        (row,) = json.loads(self.jailrun("runs", "ls", "--json"))
        self.assertEqual(row["status"], "failed")
        self.assertIn("OPENAI_API_KEY", self.capsule(row["run_id"])["error_json"]["message"])
        with ScriptedServer([calls("while True: pass")]) as server:
            process = self.start("-v", "--file", self.tips, "q", server=server)
            for line in process.stderr:
                if "run 1" in line:
                    break
            process.kill()
            process.communicate()
        self.assertEqual(json.loads(self.jailrun("runs", "ls", "--json"))[0]["status"], "interrupted")


class Replays(RecordTest):
    def test_the_same_again_and_what_differs(self):
        with ScriptedServer([calls(WORKS, "raise SystemExit(3)"), calls(PLOT), text("done")]) as server:
            run = self.run_id("--fresh", "--file", self.tips, "q", server=server)
        told = self.jailrun("ask", "--replay", run)
        self.assertIn("The same again: 3 steps", told)
        self.jailrun("runs", "export", run, "--out", "run.json")
        other = self.put("other.csv", TIPS.replace("1.01", "2.02").encode())
        told = json.loads(self.jailrun("ask", "--json", "--replay", "run.json", "--file", other + ":tips.csv", status=1))
        self.assertEqual(told["circumstances"], ["the data file tips.csv has changed"])
        self.assertEqual(len(told["differences"]), 1, told)
        self.assertIn("step 1 has another stdout: line 1 was", told["differences"][0])
        with open(os.path.join(self.dir, "run.json")) as file:
            changed = json.load(file)
        changed["steps"][1]["code"] = "print('well')"
        self.put("changed.json", json.dumps(changed).encode())
        told = self.jailrun("ask", "--replay", "changed.json", status=1)
        self.assertIn('step 2 verdict was "nonzero_exit", now "ok"', told)

    def test_sql_of_a_user_is_run_again_as_well(self):
        run = self.run_id("--file", self.tips, "SQL: select day, count(*) as n from tips group by day order by day")
        self.assertEqual(self.capsule(run)["result_json"]["rows"], [["Sat", 2], ["Sun", 2]])
        self.jailrun("ask", "--replay", run)

    def test_python_of_a_user_keeps_its_policy(self):
        run = self.run_id("--file", self.tips, "PYTHON: result = 6 * 7")
        capsule = self.capsule(run)
        self.assertEqual((capsule["policy"]["name"], capsule["result_json"]["rows"]), ("csv-strict", [[42]]))
        self.jailrun("ask", "--replay", run)

    def test_what_is_no_run_is_said(self):
        self.assertIn("there is no run", self.jailrun("ask", "--replay", "abc", status=125))
        self.put("x.json", b"[1]")
        self.assertIn("no exported run", self.jailrun("ask", "--replay", "x.json", status=125))


class Threads(RecordTest):
    def test_a_follow_up_knows_what_was_said_and_the_data(self):
        with ScriptedServer([calls("print(40 + 2)"), text("It is 42."), text("And 84.")]) as server:
            self.run_id("--thread", "mine", "--file", self.tips, "how many?", server=server)
            self.run_id("--thread", "mine", "twice that?", server=server)
        messages = server.requests[-1]["messages"]
        self.assertEqual([m["role"] for m in messages], ["system", "user", "assistant", "user"])
        self.assertIn("/data/tips.csv: 4 rows", messages[1]["content"])
        self.assertIn("It is 42.", messages[2]["content"])
        self.assertIn("print(40 + 2)", messages[2]["content"])
        self.assertEqual(messages[3]["content"], "twice that?")
        (row,) = json.loads(self.jailrun("runs", "threads", "--json"))
        self.assertEqual((row["thread_id"], row["title"], row["messages"]), ("mine", "how many?", 4))
        self.jailrun("runs", "rm", "--thread", "mine")
        self.assertIn("has no data yet", self.jailrun("ask", "--thread", "mine", "q", status=125))

    def test_a_file_of_the_store_is_asked_about_and_asked_again(self):
        store = {"JAILRUN_STORE": os.path.join(self.dir, "store")}
        file = self.jailrun("files", "put", self.tips, **store).strip()
        run = self.run_id("--thread", "stored", "--file", "store:" + file, "total tip by day", **store)
        self.assertEqual(self.capsule(run)["data"][0]["origin"], "store:" + file)
        self.run_id("--thread", "stored", "average tip by day", **store)
        self.jailrun("ask", "--replay", run, **store)

    def test_a_new_one_is_named(self):
        status, _, err = self.ask("--thread", "new", "--file", self.tips, "average tip by day")
        self.assertEqual(status, 0, err)
        self.assertRegex(err, "thread [0-9a-f]{16}\n")


class Attempts(RecordTest):
    @classmethod
    def setUpClass(cls):
        asking.start_jaild(cls)

    def test_the_first_that_answers_stays_and_the_others_leave_nothing(self):
        with ScriptedServer([calls("x = 1"), *[calls("1 / 0")] * 3, calls("print(x, __import__('os').listdir('/work'))"),
                             text("done")]) as server:
            # Four turns are all that --steps 1 allows an attempt.
            status, out, err = self.ask("--json", "--steps", "1", "--attempts", "2", "--file", self.tips, "q", server=server)
        answer = json.loads(out)
        self.assertEqual((server.faults, status, answer["answered"]), ([], 0, True), err)
        self.assertEqual([(run["verdict"], run["stdout"]) for run in answer["runs"]], [("nonzero_exit", "")])
        self.assertIn("NameError", answer["runs"][0]["stderr"])
        self.assertIn("An earlier attempt ended without an answer", server.requests[4]["messages"][1]["content"])
        self.assertEqual(self.capsule(answer["run_id"])["usage"]["attempt"], 2)
        self.assertEqual(answer["usage"]["turns"], 2)
        self.assertEqual(answer["usage"]["tokens"], 600)

    def test_a_session_is_replayed_in_a_session(self):
        script = [calls("x = 1\nx"), calls(tools=[("branch", {})]), calls("x = 2\n1 / 0"), calls("x = 5"),
                  calls(tools=[("rollback", {"state": 1})]), calls("print(x)"), text("done")]
        with ScriptedServer(script) as server:
            run = self.run_id("--file", self.tips, "q", server=server)
        capsule = self.capsule(run)
        self.assertEqual([step["lasting"] for step in capsule["steps"]], [True] * 4)
        self.assertEqual(capsule["steps"][3]["stdout"], "1\n")
        self.assertIn("The same again: 4 steps", self.jailrun("ask", "--replay", run))


class Terminal:
    """A program at a terminal of its own, as a person sees it."""

    def __init__(self, words, cwd, env, answers_sixel=False):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(words[0], words, env)
        self.answers_sixel = answers_sixel

    def expect(self, pattern, seconds=90):
        """Waits for it in what comes after what was found last."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            try:
                part = os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it ended without {pattern!r}: {self.seen!r}") from None
            if self.answers_sixel and "\x1b[c" in part:
                os.write(self.fd, b"\x1b[?62;4;22c")
            self.seen += part
        before = self.seen[:found.end()]
        self.seen = self.seen[found.end():]
        return before

    def type(self, line):
        os.write(self.fd, line.encode() + b"\n")

    def end(self):
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Chat(RecordTest):
    @classmethod
    def setUpClass(cls):
        asking.start_jaild(cls)

    def terminal(self, *words, server=None, sixel=False, **env):
        env = {"TERM": "xterm", "HOME": self.dir, **env}
        for name in ("TMUX", "TERM_PROGRAM", "KITTY_WINDOW_ID", "LC_TERMINAL"):
            env.setdefault(name, "")
        return Terminal([os.path.join(asking.BIN, "jailrun"), *words], self.dir, self.environment(server, **env), sixel)

    def test_a_conversation_at_a_terminal(self):
        script = [calls("x = 1\nprint('live', x)"), text("One it is."), calls("x = 2"), text("Two."),
                  calls("print('now', x)"), text("One again."), calls("x = 7"), text("Seven."), calls("print('kept', x)"),
                  text("Still one.")]
        with ScriptedServer(script) as server:
            chat = self.terminal("chat", "--thread", "talk", self.tips, server=server)
            chat.expect(r"tips.csv: 4 rows, 3 columns")
            chat.expect(r"openai scripted; one session")
            chat.type("first?")
            chat.expect(r"print\('live', x\)")  # the code
            chat.expect(r"live 1")
            chat.expect(r"One it is\.")
            chat.type("second?")
            chat.expect(r"Two\.")
            chat.type("/undo")
            chat.expect("undone")
            chat.type("third?")
            chat.expect("now 1")
            chat.expect(r"One again\.")
            chat.type("/branch")
            chat.expect("in branch 1")
            chat.type("fourth?")
            chat.expect(r"Seven\.")
            chat.type("/back")
            chat.expect("back where")
            chat.type("fifth?")
            chat.expect("kept 1")
            chat.expect(r"Still one\.")
            chat.type("/runs")
            chat.expect("succeeded  fifth")
            chat.type("/save all.ipynb")
            chat.expect("saved all.ipynb")
            chat.type("/nonsense")
            chat.expect("there is no /nonsense")
            chat.type("/quit")
            chat.expect("jailrun chat --thread talk")
            self.assertEqual(chat.end(), 0)
        self.assertEqual(server.faults, [])
        said = [m["content"] for m in server.requests[4]["messages"] if m["role"] in ("user", "assistant") and m["content"]]
        self.assertEqual(len(said), 3, "the question that was undone is not told")
        with open(os.path.join(self.dir, "all.ipynb")) as file:
            self.assertIn("print('kept', x)", file.read())

    def test_text_of_a_model_is_shown_as_it_comes_and_once(self):
        with ScriptedServer([text("Twelve words are said here one after the other for a test.")]) as server:
            ask = self.terminal("ask", "--no-record", "--file", self.tips, "q", server=server)
            shown = ask.expect("for a test")
            rest = ask.seen
            self.assertEqual(ask.end(), 0)
        self.assertTrue(server.requests[0]["stream"])
        self.assertEqual((shown + rest).count("Twelve words"), 1)

    def pictures(self, expected, sixel=False, **env):
        with ScriptedServer([calls(PLOT), text("done")]) as server:
            chat = self.terminal("chat", "--no-record", "--out", "out", self.tips, server=server, sixel=sixel, **env)
            chat.expect("one session")
            chat.type("draw")
            chat.expect(expected)
            chat.expect(r"file out/plot")
            chat.type("/quit")
            self.assertEqual(chat.end(), 0)

    def test_plots_by_kittys_protocol(self):
        self.pictures(r"\x1b_Ga=T,f=100,m=[01];iVBORw0K", TERM="xterm-kitty")

    def test_plots_by_iterm2s(self):
        self.pictures(r"\x1b\]1337;File=inline=1;size=\d+:iVBORw0K", TERM_PROGRAM="iTerm.app")

    def test_plots_as_sixel_where_the_terminal_says_so(self):
        self.pictures(r'\x1bPq"1;1;\d+;\d+#0;2;\d+;\d+;\d+[#0-9;!$"?-~\-]+\x1b\\', sixel=True)

    def test_a_question_a_line_without_a_terminal(self):
        out = self.jailrun("chat", "--provider", "offline", "tips.csv", input="total tip by day\n\nexit\nnot read\n")
        self.assertRegex(out, r"\| Sat +\| +6\.81")
        self.assertNotIn("\x1b", out)
        self.jailrun("chat", "--provider", "offline", "tips.csv", input="why do people tip?\n", status=1)
        self.assertIn("no data file", self.jailrun("chat", status=125, input=""))


if __name__ == "__main__":
    if len(sys.argv) < 2 or not os.path.exists(os.path.join(sys.argv[1], "jailrun")):
        sys.exit("usage: record_test.py BIN_DIR [unittest arguments]; BIN_DIR holds jailrun, jailrun-full and jaild")
    asking.BIN = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
