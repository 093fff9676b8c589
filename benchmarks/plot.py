"""Draws what benchmarks/compare measured; runs in a jail: /data/compare.json to compare.png."""
import json

import matplotlib.pyplot as plt

with open("/data/compare.json", encoding="utf-8") as file:
    document = json.load(file)
rows = sorted(document["contenders"], key=lambda row: row["wall_ms"]["p50"])
names = [row["name"] for row in rows]
medians = [row["wall_ms"]["p50"] for row in rows]
tails = [row["wall_ms"]["p99"] - row["wall_ms"]["p50"] for row in rows]
ours = ["tab:blue" if name.startswith("jailrun") else "tab:gray" for name in names]

figure, axes = plt.subplots(figsize=(9, 0.32 * len(rows) + 1.2))
axes.barh(names, medians, color=ours, xerr=[[0] * len(rows), tails], ecolor="lightgray")
axes.set_xscale("log")
axes.set_xlabel("ms of wall time from start to end, as a shell sees it: median, line to p99")
for place, median in enumerate(medians):
    axes.text(median, place, f" {median:.1f}", va="center", fontsize=8)
axes.set_title(f"kernel {document['kernel']}, {document['cpus']} CPUs, {document['rounds']} rounds")
figure.tight_layout()
figure.savefig("compare.png", dpi=120)
