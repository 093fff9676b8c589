"""For the cases of rich results: values told and shown, which must be JSON and UTF-8 always."""

import collections
import json
import sys

import numpy as np
import pandas as pd

sys.path.insert(0, "/data")
import jailrun_rich as rich

NAN, INFINITE = float("nan"), float("inf")


def told(value, **caps):
    """typed(), which must always be JSON that any reader takes."""
    answer = rich.typed(value, rich.Caps(**caps))
    json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
    return answer


def shown(value, **caps):
    bodies, cut = rich.bundle(value, rich.Caps(**caps))
    for mime, body in bodies.items():
        assert isinstance(mime, str) and isinstance(body, (str, bytes)), mime
        if isinstance(body, str):
            body.encode()
    return bodies, cut


def frame():
    """One column of each kind that results are made of."""
    return pd.DataFrame(
        {
            "int": [1, -2, 3],
            "big": np.array([1, 2, 2**64 - 1], dtype="uint64"),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "float": [1.5, NAN, INFINITE],
            "bool": [True, False, True],
            "text": ["a", None, "\ud800"],
            "when": pd.to_datetime(["2024-01-01", None, "2024-01-03"]),
            "zoned": pd.to_datetime(["2024-01-01"] * 3).tz_localize("Europe/Berlin"),
            "took": pd.to_timedelta(["1h", None, "2s"]),
            "kind": pd.Categorical(["x", None, "y"], categories=["y", "x"], ordered=True),
            "month": pd.period_range("2024-01", periods=3, freq="M"),
            "mixed": [1, "a", {"b": NAN}],
        }
    )


class Text(str):
    def encode(self, *_):
        raise RuntimeError("no")

    __str__ = __repr__ = encode


Point = collections.namedtuple("Point", "x y")
