"""The text format of Prometheus 0.0.4, read as strictly as it is written down."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,(?!\})|(?=\})))*\}'
SAMPLE = re.compile(rf"({NAME})({LABELS})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN|[+-]Inf)")
UNITS = ("_seconds", "_bytes", "_total", "_usd")


def read(text):
    """{family: (type, {sample with labels: value})}; an AssertionError for each fault."""
    assert text.endswith("\n"), "the last line has no end"
    families, current = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            current = line.split(" ")[2]
            assert current not in families and len(line.split(" ", 3)[3]) > 0, line
        elif line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            assert name == current, f"{line}: a HELP comes right before its TYPE"
            assert kind in ("counter", "gauge", "histogram"), line
            assert (kind == "counter") == name.endswith("_total"), f"{line}: counters end in _total, nothing else"
            families[name] = (kind, {})
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f"no sample: {line!r}"
            name, labels, value = match.groups()
            kind, samples = families[current]
            allowed = [current + s for s in ("_bucket", "_sum", "_count")] if kind == "histogram" else [current]
            assert name in allowed, f"{line}: within {current}"
            assert name + (labels or "") not in samples, f"{line}: a second time"
            samples[name + (labels or "")] = float(value)
            assert kind == "gauge" or float(value) >= 0, line
    for name, (kind, samples) in families.items():
        assert samples, f"{name} has no sample"
        if kind == "histogram":
            check_histogram(name, samples)
    return families


def check_histogram(name, samples):
    rows = {}
    for sample, value in samples.items():
        match = re.fullmatch(rf'{name}_bucket\{{(.*?),?le="([^"]+)"\}}', sample)
        if match:
            rows.setdefault(match[1], []).append((float(match[2]), value))
    for labels, buckets in rows.items():
        suffix = "{" + labels + "}" if labels else ""
        assert [b for b, _ in buckets] == sorted(b for b, _ in buckets), name
        assert [v for _, v in buckets] == sorted(v for _, v in buckets), f"{name}: buckets are cumulative"
        assert buckets[-1] == (float("inf"), samples[f"{name}_count{suffix}"]), name
        assert f"{name}_sum{suffix}" in samples, name
