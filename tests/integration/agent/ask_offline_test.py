#!/usr/bin/env python3
"""jailrun ask without a model, and with what cannot be used.

    ask_offline_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jailrun and jailrun-full
"""

import json
import os
import subprocess

import asking
from asking import AskTest


class Offline(AskTest):
    def test_the_tips_of_the_image_give_a_table_and_a_plot(self):
        export = "import plotly.data\nplotly.data.tips().to_csv('/work/tips.csv', index=False)\n"
        made = subprocess.run([os.path.join(asking.BIN, "jailrun"), "run", "--out", "data", "-"], input=export, text=True,
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
    asking.main()
