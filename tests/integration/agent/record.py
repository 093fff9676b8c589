#!/usr/bin/env python3
"""Records transcripts/tips.jsonl anew: for prompts, tools or an image that have changed on purpose.

    record.py BIN_DIR      BIN_DIR holds jailrun and jailrun-full

What the model says was written by hand; what the jails say to it is recorded. Read the difference before you
keep it.
"""

import os
import subprocess
import sys
import tempfile

from scripted_server import ScriptedServer, calls, text

QUESTION = "Do people tip more, relative to the bill, at weekends? Show it."
EXPORT = "import plotly.data\nplotly.data.tips().to_csv('/work/tips.csv', index=False)\n"
PLAN = "I shall look at the days first, then compare the share of the tip in the bill."
DAYS = "select day, count(*) as n, round(avg(tip / total_bill), 4) as share from tips group by day order by share desc"
BROKEN = """import pandas as pd
df = pd.read_csv("/data/tips.csv")
weekend = data["day"].isin(["Sat", "Sun"])
"""
REPAIRED = """import matplotlib.pyplot as plt
import pandas as pd
from scipy import stats

df = pd.read_csv("/data/tips.csv")
df["share"] = df["tip"] / df["total_bill"]
df["when"] = df["day"].isin(["Sat", "Sun"]).map({True: "weekend", False: "weekday"})
print(df.groupby("when")["share"].agg(["count", "mean", "median"]).to_markdown(floatfmt=".4f"))
test = stats.mannwhitneyu(df.loc[df["when"] == "weekend", "share"], df.loc[df["when"] == "weekday", "share"])
print(f"Mann-Whitney p = {test.pvalue:.3f}")
df.boxplot(column="share", by="when")
plt.savefig("/work/share_by_when.png")
"""
LARGEST = """import pandas as pd
df = pd.read_csv("/data/tips.csv")
print((df["tip"] / df["total_bill"]).nlargest(3).round(3).to_list())
"""
ANSWER = "No: the median share is about the same on both, and the difference is within chance; see share_by_when.png."


def script():
    plan = calls(tools=[("run_sql", {"query": DAYS})])
    plan["content"] = PLAN
    return [plan, calls(BROKEN), calls(REPAIRED, LARGEST), calls(finish=ANSWER)]


def export(bin_dir, directory):
    subprocess.run([os.path.join(bin_dir, "jailrun"), "run", "--out", directory, "-"], input=EXPORT, text=True,
                   check=True, capture_output=True, timeout=120)


def main():
    bin_dir, here = os.path.abspath(sys.argv[1]), os.path.dirname(os.path.abspath(__file__))
    target = os.path.join(here, "transcripts", "tips.jsonl")
    with tempfile.TemporaryDirectory() as directory, ScriptedServer(script()) as server:
        export(bin_dir, directory)
        if os.path.exists(target):
            os.unlink(target)
        environment = {**os.environ, "OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url,
                       "OPENAI_MODEL": "scripted", "LLM_RECORD": target, "LLM_PROVIDER": "openai"}
        subprocess.run([os.path.join(bin_dir, "jailrun"), "ask", "--fresh", "--no-record", "--file", "tips.csv",
                        QUESTION],
                       cwd=directory, env=environment, check=True, timeout=300)
        os.chmod(target, 0o644)
        sys.exit("; ".join(server.faults) or 0)


if __name__ == "__main__":
    main()
