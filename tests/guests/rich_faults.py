"""Exceptions as data and what to try, in a jail: rich_faults.py [Faults|Advice]"""

import json
import linecache
import sys
import time
import unittest

import pandas as pd

sys.path.insert(0, "/data")
from rich_common import rich


class Failing(unittest.TestCase):
    """Runs cells as a session does and looks at what is told of their exceptions."""

    count = 0

    def failure(self, code, **names):
        Failing.count += 1
        name = f"<cell {self.count}>"
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        try:
            exec(compile(code, name, "exec"), {"__name__": "__main__", "pd": pd, **names})
        except BaseException as error:
            start = time.perf_counter()
            answer = rich.error(error, name)
            self.assertLess(time.perf_counter() - start, 0.5)
            json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
            self.assertLessEqual(len(answer["traceback"].encode()), 64 << 10)
            self.assertNotIn("rich_faults", answer["traceback"])
            self.assertEqual(rich.teach(answer), answer["advice"])
            return answer
        raise AssertionError("it did not fail")


class Faults(Failing):
    def test_a_traceback_has_the_users_frames_and_no_others(self):
        answer = self.failure("def f(x):\n    return pd.read_csv(x)\n\nf('/data/none.csv')\n")
        name = f"<cell {self.count}>"
        self.assertEqual(
            answer["frames"],
            [
                {"file": name, "line": 4, "function": "<module>", "source": "f('/data/none.csv')"},
                {"file": name, "line": 2, "function": "f", "source": "return pd.read_csv(x)"},
            ],
        )
        self.assertEqual(answer["type"], "FileNotFoundError")
        self.assertNotIn("pandas/io", answer["traceback"])
        self.assertTrue(answer["traceback"].startswith("Traceback (most recent call last):\n"))
        self.assertIn("    f('/data/none.csv')\n", answer["traceback"])

    def test_frames_of_a_session_itself_are_not_shown(self):
        ours = compile("def run(f): f()", "/data/jailrun_session.py", "exec")
        names = {}
        exec(ours, names)
        answer = self.failure("def f(): 1 / 0\nrun(f)\n", run=names["run"])
        self.assertEqual([frame["function"] for frame in answer["frames"]], ["<module>", "f"])
        self.assertNotIn("jailrun_session", answer["traceback"])

    def test_frames_below_work_are_the_users_too(self):
        with open("/work/mine.py", "w") as file:
            file.write("def f():\n    return 1 / 0\n")
        answer = self.failure("import sys\nsys.path.append('/work')\nimport mine\nmine.f()\n")
        self.assertEqual([frame["line"] for frame in answer["frames"]], [4, 2])
        self.assertEqual(answer["frames"][1]["source"], "return 1 / 0")

    def test_a_syntax_error_is_shown_as_cpython_does(self):
        answer = self.failure("x = 1\nif x = 2:\n    pass\n")
        name = f"<cell {self.count}>"
        self.assertEqual(
            answer["traceback"],
            f'  File "{name}", line 2\n    if x = 2:\n       ^^^^^\n'
            "SyntaxError: invalid syntax. Maybe you meant '==' or ':=' instead of '='?\n",
        )
        self.assertEqual(
            (answer["frames"][0]["line"], answer["frames"][0]["source"]), (2, "if x = 2:")
        )

    def test_causes_are_told_and_their_number_is_bounded(self):
        answer = self.failure(
            "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError('x') from e\n"
        )
        self.assertLess(
            answer["traceback"].index("ZeroDivision"), answer["traceback"].index("KeyError")
        )
        self.assertIn("direct cause", answer["traceback"])
        self.assertEqual(len(answer["frames"]), 1)
        answer = self.failure(
            "last = None\nfor i in range(100_000):\n    e = ValueError(i)\n"
            "    e.__context__ = last\n    last = e\nraise e\n"
        )
        self.assertEqual(answer["traceback"].count("ValueError"), 10)
        self.assertIn("cut", answer)
        loop = self.failure(
            "a, b = ValueError(1), ValueError(2)\na.__context__ = b\nb.__cause__ = a\nraise a\n"
        )
        self.assertEqual(loop["traceback"].count("ValueError: 1"), 1)

    def test_a_library_saying_the_same_twice_is_heard_once(self):
        answer = self.failure("frame['b']", frame=pd.DataFrame({"a": [1]}))
        self.assertEqual(answer["traceback"].count("KeyError: 'b'"), 1)

    def test_endless_recursion_is_short(self):
        answer = self.failure("def f(): f()\nf()\n")
        self.assertIn("repeated", answer["traceback"])
        self.assertLess(len(answer["traceback"]), 2000)
        self.assertEqual(len(answer["frames"]), 40)
        self.assertIn("never came to an end", answer["advice"])
        pair = self.failure("def f(): g()\ndef g(): f()\nf()\n")
        self.assertIn("more frames", pair["traceback"])

    def test_notes_groups_and_long_messages(self):
        answer = self.failure("e = ValueError('x' * 10**6)\ne.add_note('hint')\nraise e\n")
        self.assertEqual(answer["notes"], ["hint"])
        self.assertEqual(len(answer["message"]), 16 << 10)
        self.assertTrue(answer["traceback"].endswith("hint\n"))
        group = self.failure("raise ExceptionGroup('many', [ValueError(i) for i in range(50)])\n")
        self.assertIn("+ ValueError: 3\n", group["traceback"])
        self.assertIn("+ 40 more", group["traceback"])

    def test_exceptions_that_cannot_be_shown(self):
        for code in [
            "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
            "class E(Exception):\n    def __str__(self): return 3\nraise E",
            "class E(Exception):\n    __notes__ = property(lambda self: 1 / 0)\nraise E",
            "class M(type):\n    def __getattribute__(s, n): raise OSError\n"
            "class E(Exception, metaclass=M): pass\nraise E",
            "class E(SyntaxError):\n    lineno = text = property(lambda self: 1 / 0)\nraise E",
            "class E(KeyError):\n    args = property(lambda self: 1 / 0)\nraise E",
            "e = SyntaxError('x', (3, 'a', {}, 4))\nraise e",
            "raise UnicodeDecodeError('\\udcff', b'', 5, 3, '\\udcff')",
            "raise ValueError('\\udcff')",
            "raise OSError(30, 'x', '\\udcff')",
        ]:
            with self.subTest(code):
                self.assertTrue(self.failure(code)["traceback"])


class Advice(Failing):
    def test_it_names_what_is_there(self):
        columns = ["Price", "quantity ", "TOTAL_AMOUNT", "yearly income in EUR"]
        frame = pd.DataFrame([[1, 2, 3, 4]], columns=columns)
        for code, parts in [
            ("frame['price']", ["no column 'price'", "Nearest: 'Price'", "'quantity '"]),
            ("frame.groupby('x').sum()['quantity']", []),
            ("frame[['Price', 'quantity']]", ["'quantity'", "Nearest: 'quantity '"]),
            ("frame.loc[0, 'prices']", ["Nearest: 'Price'"]),
            ("frame['total amount']", ["Nearest: 'TOTAL_AMOUNT'"]),
            ("frame['income']", ["Nearest: 'yearly income in EUR'"]),
            ("frame.price", ["Nearest column: 'Price'"]),
            ("frame.append(1)", ["pd.concat"]),
            ("d = {'alpha': 1}\nd['alhpa']", ["`d` has no key 'alhpa'", "Nearest: 'alpha'"]),
            ("open('/data/jailrun_rch.py')", ["'/data/jailrun_rich.py'", "/data holds:"]),
            ("pd.read_csv('none.csv')", ["no file 'none.csv'", "/data holds:", "KiB"]),
            ("import sklearnn", ["not installed", "no network", "similar name: sklearn"]),
            ("import pandas.nonsense", ["no module 'pandas.nonsense'"]),
            ("open('/data/x', 'w')", ["Only /work and /tmp", "copy it to /work"]),
            ("open('/etc/x', 'w')", ["Only /work and /tmp"]),
            ("import os\nos.setgroups([])", ["does not allow"]),
            (
                "import subprocess\nopen('/work/x', 'w')\nsubprocess.run(['/work/x'])",
                ["not executed"],
            ),
            ("import os\nos.listdir('/data/none')", ["no file '/data/none'"]),
            ("open('/data')", ["is a directory"]),
            ("input()", ["Nobody can type"]),
            ("import socket\nsocket.create_connection(('192.0.2.1', 80), 1)", ["no network"]),
            ("import urllib.request as u\nu.urlopen('http://example.com')", ["no network"]),
            ("'caf\\xe9'.encode('cp1252').decode()", ["0xe9 at 3", "encoding='cp1252'", "'é'"]),
            ("'a'.encode('utf-16').decode()", ["encoding='utf-16'"]),
            ("b'PK\\x03\\x04\\xff'.decode()", ["read_excel"]),
            ("import numpy\nnumpy.zeros(10**13)", ["Memory ran out", "usecols", "TiB"]),
            (
                "import subprocess\nsubprocess.run(['no-such-program'])",
                ["no program 'no-such-program'"],
            ),
            ("np.zeros(3)", ["import numpy as np"]),
            ("```python", ["without ``` fences"]),
            ("%matplotlib inline", ["%matplotlib is a notebook's magic"]),
            ("float('1,5')\n", ["to_numeric"]),
            ("raise KeyboardInterrupt", ["interrupted"]),
            ("1 / 0", []),
        ]:
            with self.subTest(code):
                advice = self.failure(code, frame=frame)["advice"]
                for part in parts:
                    self.assertIn(part, advice)
                if not parts and "1 / 0" in code:
                    self.assertEqual(advice, "")
                self.assertLessEqual(len(advice.encode()), 2000)

    def test_a_big_file_that_was_read_is_named(self):
        with open("/work/big.csv", "wb") as file:
            file.truncate(2 << 20)
        answer = self.failure("raise MemoryError  # pd.read_csv('/work/big.csv')\n")
        self.assertIn("while reading `big.csv` (2.0 MiB)", answer["advice"])

    def test_a_verdict_has_advice_too(self):
        facts = {"verdict": "out_of_memory", "limit": "512 MiB", "while": "reading `sales.csv`"}
        text = rich.teach(facts)
        self.assertIn("512 MiB was hit while reading `sales.csv`", text)
        self.assertIn("usecols", text)
        self.assertEqual(rich.teach({"verdict": "ok"}), "")
        self.assertEqual(rich.teach(None), "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
