import io
import os
import sqlite3
import tempfile
import unittest

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal


class Pandas(unittest.TestCase):
    def setUp(self):
        random = np.random.default_rng(1)
        self.table = pd.DataFrame(
            {
                "k": random.integers(0, 50, 20_000),
                "v": random.normal(size=20_000),
                "t": pd.date_range("2024-01-01", periods=20_000, freq="min"),
                "s": random.choice(["a", "ü", "日本"], 20_000),
            }
        )

    def test_groupby_merge_pivot(self):
        means = self.table.groupby("k", as_index=False)["v"].mean()
        self.assertEqual(len(self.table.merge(means, on="k", suffixes=("", "_mean"))), 20_000)
        self.assertEqual(
            self.table.pivot_table(index="k", columns="s", values="v", aggfunc="count").sum().sum(),
            20_000,
        )

    def test_time_zones_and_resampling(self):
        hours = (
            self.table.set_index(
                self.table["t"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
            )["v"]
            .resample("1h")
            .sum()
        )
        self.assertEqual(str(hours.index.tz), "Europe/Berlin")
        self.assertAlmostEqual(hours.sum(), self.table["v"].sum())

    def test_formats(self):
        with tempfile.TemporaryDirectory() as place:
            for name, write, read in (
                ("t.csv", "to_csv", pd.read_csv),
                ("t.parquet", "to_parquet", pd.read_parquet),
                ("t.feather", "to_feather", pd.read_feather),
                ("t.xlsx", "to_excel", pd.read_excel),
                ("t.json", "to_json", pd.read_json),
                ("t.pickle", "to_pickle", pd.read_pickle),
                ("t.csv.gz", "to_csv", pd.read_csv),
                ("t.dta", "to_stata", pd.read_stata),
            ):
                with self.subTest(name):
                    path, small = os.path.join(place, name), self.table.head(50)[["k", "v", "s"]]
                    small = small.assign(s="a") if name == "t.dta" else small
                    options = (
                        {}
                        if name.endswith(("parquet", "feather", "json", "pickle"))
                        else ({"write_index": False} if name == "t.dta" else {"index": False})
                    )
                    getattr(small, write)(path, **options)
                    assert_frame_equal(read(path), small, check_dtype=False)

    def test_sql(self):
        with sqlite3.connect(":memory:") as base:
            self.table.head(1000)[["k", "v"]].to_sql("t", base, index=False)
            self.assertEqual(pd.read_sql("select count(*) n from t", base)["n"][0], 1000)

    def test_strings_and_expressions(self):
        self.assertEqual(set(self.table["s"].str.upper()), {"A", "Ü", "日本"})
        self.assertEqual(
            len(self.table.query("k < 10 and v > 0")),
            int(((self.table.k < 10) & (self.table.v > 0)).sum()),
        )

    def test_wide_text(self):
        self.assertIn("20000 rows", repr(self.table))
        self.assertEqual(len(pd.read_csv(io.StringIO("a,b\n" + "1,2\n" * 100_000))), 100_000)
