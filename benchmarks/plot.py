"""Draws what benchmarks/compare or benchmarks/ladder measured; runs in a jail: /data/figures.json to figures.png."""

import json

import matplotlib.pyplot as plt


def bars(axes, names, medians, tails, ours, unit):
    axes.barh(names, medians, color=["tab:blue" if mine else "tab:gray" for mine in ours],
              xerr=[[0] * len(names), tails], ecolor="lightgray")
    for place, median in enumerate(medians):
        axes.text(median, place, f" {median:.{1 if median < 100 else 0}f}", va="center", fontsize=8)
    axes.set_xlabel(unit)


def compare(document):
    rows = sorted(document["contenders"], key=lambda row: row["wall_ms"]["p50"])
    loads = [row for row in rows if row["per_second"]]
    figure, (times, rates) = plt.subplots(2, figsize=(9, 0.32 * len(rows) + 5), height_ratios=[len(rows), 12])
    bars(times, [row["name"] for row in rows], [row["wall_ms"]["p50"] for row in rows],
         [row["wall_ms"]["p99"] - row["wall_ms"]["p50"] for row in rows],
         [row["name"].startswith("jailrun") for row in rows],
         "ms of wall time from start to end, as a shell sees it: median, line to p99")
    times.set_xscale("log")
    for row in loads:
        rates.plot(list(row["per_second"]), list(row["per_second"].values()), "o-", label=row["name"])
    for start, said in document["client"].items():
        load = said["throughput"]
        rates.plot([str(each["clients"]) for each in load], [each["runs_per_second"] for each in load], "s--",
                   label=f"jailrun pandas, {start}, C++ client")
    rates.set_xlabel("clients at once")
    rates.set_ylabel("runs per second")
    rates.set_yscale("log")
    if rates.lines:
        rates.legend(fontsize=7, loc="center right")
    return figure, times


def ladder(document):
    starts, wakes, gaps = document["starts"][::-1], document["wakes"][::-1], document["gaps"]
    figure, (first, second, third) = plt.subplots(3, figsize=(9, 0.32 * (len(starts) + len(wakes)) + 5),
                                                  height_ratios=[len(starts), len(wakes), 10])
    for axes, rows, what in ((first, starts, "from nothing"), (second, wakes, "from a parked child")):
        bars(axes, [row["name"].strip() for row in rows], [row["p50"] for row in rows],
             [row["p99"] - row["p50"] for row in rows],
             [row["jail"] for row in rows],
             f"us to the first bytecode, {what}: median, line to p99")
    for core in ("same", "other", "free"):
        mine = [gap for gap in gaps if gap["core"] == core]
        for what, line in (("jail", "o-"), ("pipe", "s--")):
            third.plot([f"{gap['gap_ms']:g}" for gap in mine], [gap[what]["p50"] for gap in mine], line,
                       label=f"{what}, {core} core" if core != "free" else f"{what}, not pinned")
    third.set_xlabel("ms idle before: jail to its first bytecode, and a byte through a pipe")
    third.set_ylabel("us, median")
    third.legend(fontsize=7)
    return figure, first


with open("/data/figures.json", encoding="utf-8") as file:
    figures = json.load(file)
drawing, top = {"compare": compare, "ladder": ladder}[figures["kind"]](figures)
top.set_title(f"kernel {figures['kernel']}, {figures['cpus']} CPUs, {figures['rounds']} rounds", fontsize=9)
drawing.tight_layout()
drawing.savefig("figures.png", dpi=120)
