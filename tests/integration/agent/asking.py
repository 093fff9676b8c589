"""What the tests of `jailrun ask` share: the real programs, asked from a directory of a test's own."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

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


def main():
    global BIN
    if len(sys.argv) < 2 or not os.path.exists(os.path.join(sys.argv[1], "jailrun")):
        sys.exit(f"usage: {sys.argv[0]} BIN_DIR [unittest arguments]; BIN_DIR holds jailrun and jailrun-full")
    BIN = os.path.abspath(sys.argv.pop(1))
    unittest.main(module="__main__", verbosity=2)
