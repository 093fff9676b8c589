"""Values as data, in a jail: rich_values.py [Scalars|Tables|Arrow]"""

import collections
import datetime
import decimal
import enum
import fractions
import json
import math
import os
import pathlib
import sys
import time
import unittest
import uuid

import numpy as np
import pandas as pd

sys.path.insert(0, "/data")
from rich_common import NAN, Point, Text, frame, rich, told

UTC = datetime.timezone.utc


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Scalars(unittest.TestCase):
    CASES = [
        (None, "none", None),
        (True, "boolean", True),
        (np.bool_(False), "boolean", False),
        (3, "number", 3),
        (-(1 << 63), "number", -(1 << 63)),
        (2**64 - 1, "number", 2**64 - 1),
        (1.5, "number", 1.5),
        (np.int8(-3), "number", -3),
        (np.uint64(2**64 - 1), "number", 2**64 - 1),
        (np.float32(0.5), "number", 0.5),
        (np.longdouble(0.5), "number", 0.5),
        (Level.HIGH, "number", 3),
        (decimal.Decimal("1.10"), "number", 1.1),
        (fractions.Fraction(1, 4), "number", 0.25),
        ("text", "string", "text"),
        (np.str_("text"), "string", "text"),
        ("a\ud800b", "string", "a\ufffdb"),
        ("\ud83d\ude00", "string", "\U0001f600"),
        (Text("sub"), "string", "sub"),
        (datetime.date(2024, 1, 2), "string", "2024-01-02"),
        (datetime.time(1, 2), "string", "01:02:00"),
        (datetime.datetime(2024, 1, 2, tzinfo=UTC), "string", "2024-01-02T00:00:00+00:00"),
        (pd.Timestamp("2024-01-02", tz="Asia/Tokyo"), "string", "2024-01-02T00:00:00+09:00"),
        (np.datetime64("2024-01-02"), "string", "2024-01-02"),
        (datetime.timedelta(days=-1, seconds=61), "string", "P-1DT0H1M1S"),
        (pd.Timedelta("1h"), "string", "P0DT1H0M0S"),
        (np.timedelta64(1, "h"), "string", "P0DT1H0M0S"),
        (pd.Period("2024-01"), "string", "2024-01"),
        (pathlib.Path("/work/a.png"), "string", "/work/a.png"),
        (uuid.UUID(int=1), "string", "00000000-0000-0000-0000-000000000001"),
        (pd.NaT, "none", None),
        (pd.NA, "none", None),
        (np.datetime64("NaT"), "none", None),
        (b"abc", "object", "bytes, 3 bytes"),
        (1 + 2j, "object", "(1+2j)"),
        (Color.RED, "object", "<Color.RED: 1>"),
    ]

    def test_each_has_its_type_and_its_value(self):
        for value, kind, expected in self.CASES:
            with self.subTest(type(value).__name__):
                answer = told(value)
                self.assertEqual((answer["type"], answer["value"]), (kind, expected))
                self.assertIs(type(answer["value"]), type(expected))

    def test_what_json_has_no_number_for_is_null_and_named(self):
        for value, special in [
            (NAN, "nan"),
            (math.inf, "inf"),
            (-math.inf, "-inf"),
            (np.float64("nan"), "nan"),
            (np.float16("inf"), "inf"),
            (decimal.Decimal("NaN"), "nan"),
            (decimal.Decimal("sNaN"), "nan"),
            (decimal.Decimal("-Infinity"), "-inf"),
            (decimal.Decimal("1e999"), "big"),
            (fractions.Fraction(10**400), "big"),
            (10**30, "big"),
            (-(10**5000), "big"),
        ]:
            answer = told(value)
            kept = (answer["type"], answer["value"], answer["special"])
            self.assertEqual(kept, ("number", None, special))
        self.assertEqual(told(10**30)["text"], "1" + "0" * 30)
        self.assertEqual(told(decimal.Decimal("1.10"))["text"], "1.10")

    def test_lists_and_dicts_keep_their_form(self):
        for value, kind, expected in [
            ([1, NAN, "a", None, [True]], "list", [1, None, "a", None, [True]]),
            ((1, 2), "list", [1, 2]),
            (Point(1, 2), "list", [1, 2]),
            ({3}, "list", [3]),
            (range(3), "list", [0, 1, 2]),
            (collections.deque([1]), "list", [1]),
            ({"a": 1}.values(), "list", [1]),
            (np.array([[1.0, NAN]]), "list", [[1.0, None]]),
            (np.array(["2024-01-01", "NaT"], dtype="M8[D]"), "list", ["2024-01-01", None]),
            (np.array(5), "list", 5),
            (pd.Index([1, 2]), "list", [1, 2]),
            ({"a": np.int64(1), "b": b"xy"}, "dict", {"a": 1, "b": "bytes, 2 bytes"}),
            ({1: 2, "1": 3}, "dict", {"1": 2, "1 (str)": 3}),
            ({(1, 2): 3, None: 4}, "dict", {"(1, 2)": 3, "None": 4}),
            (collections.Counter("aa"), "dict", {"a": 2}),
            ([10**30], "list", ["1" + "0" * 30]),
        ]:
            with self.subTest(repr(value)):
                answer = told(value)
                self.assertEqual((answer["type"], answer["value"]), (kind, expected))

    def test_a_table_within_is_told_as_one(self):
        inner = told({"a": pd.DataFrame({"x": [1, NAN]})})["value"]["a"]
        self.assertEqual((inner["type"], inner["value"]["data"]), ("dataframe", [[1.0], [None]]))
        around = pd.DataFrame({"a": [None, 1]}, dtype=object)
        around.at[0, "a"] = around
        self.assertEqual(told(around)["value"]["data"][1], [1])
        many = told([pd.DataFrame(np.zeros((50, 50)))] * 1000)
        self.assertLess(len(json.dumps(many)), 400_000)
        self.assertIn("of 1000 elements", many["cut"][-1])

    def test_a_list_within_itself_ends(self):
        loop = [1]
        loop.append(loop)
        answer = told(loop)
        self.assertEqual(answer["value"], [1, None])
        self.assertIn("contains itself", answer["cut"][0])
        deep = []
        for _ in range(10_000):
            deep = [deep]
        self.assertIn("depth", told(deep)["cut"][0])

    def test_caps_hold_and_what_was_cut_is_named(self):
        self.assertEqual(told("x" * 100, bytes=10)["value"], "x" * 10)
        self.assertIn("cut", told("x" * 100, bytes=10))
        self.assertEqual(told("ä" * 100, bytes=11)["value"], "ä" * 5)
        many = told(list(range(10**6)))
        self.assertEqual(many["value"], list(range(20_000)))
        self.assertIn("20000 of 1000000", many["cut"][0])
        square = told(np.zeros((1000, 1000)))
        self.assertEqual(square["value"], [[0.0] * 1000] * 10)
        self.assertEqual(square["cut"], ["ndarray: (10, 1000) of (1000, 1000)"])
        few = told(["x" * 1000] * 1000, bytes=5000)
        self.assertLess(len(json.dumps(few["value"])), 10_000)
        self.assertNotIn("cut", told([1, 2]))

    def test_a_result_variable_is_told_by_what_it_declares(self):
        for result, kind, fits in [
            ({"type": "number", "value": np.int64(3)}, "number", True),
            ({"type": "string", "value": "a"}, "string", True),
            ({"type": "dataframe", "value": pd.Series([1])}, "series", True),
            ({"type": "dataframe", "value": {"a": [1]}}, "dict", True),
            ({"type": "plot", "value": "exports/charts/a.png"}, "string", True),
            ({"type": "number", "value": "3"}, "string", False),
        ]:
            answer = rich.declared(result)
            self.assertEqual((answer["type"], answer["fits"]), (kind, fits))
            self.assertEqual(answer["declared"], result["type"])
        self.assertEqual(rich.declared({"type": "number"})["type"], "dict")


class Tables(unittest.TestCase):
    def test_every_kind_of_column_survives(self):
        answer = told(frame())
        value = answer["value"]
        columns = {c["name"]: c for c in answer["schema"]}
        data = dict(zip(value["columns"], zip(*value["data"])))
        for name, dtype, cells in [
            ("int", "int64", (1, -2, 3)),
            ("big", "uint64", (1, 2, 2**64 - 1)),
            ("nullable", "Int64", (1, None, 3)),
            ("float", "float64", (1.5, None, None)),
            ("bool", "bool", (True, False, True)),
            ("text", "object", ("a", None, "\ufffd")),
            ("when", "datetime64[ns]", ("2024-01-01T00:00:00", None, "2024-01-03T00:00:00")),
            ("zoned", "datetime64[ns, Europe/Berlin]", ("2024-01-01T00:00:00+01:00",) * 3),
            ("took", "timedelta64[ns]", ("P0DT1H0M0S", None, "P0DT0H0M2S")),
            ("kind", "category", ("x", None, "y")),
            ("month", "period[M]", ("2024-01", "2024-02", "2024-03")),
            ("mixed", "object", (1, "a", {"b": None})),
        ]:
            with self.subTest(name):
                self.assertEqual((columns[name]["dtype"], data[name]), (dtype, cells))
                self.assertEqual([type(c) for c in data[name]], [type(c) for c in cells])
        self.assertEqual(
            (columns["kind"]["categories"], columns["kind"]["ordered"]), (["y", "x"], True)
        )
        self.assertEqual((answer["type"], answer["shape"]), ("dataframe", [3, 12]))

    def test_the_schema_makes_the_same_frame_again(self):
        before = frame()[["int", "float", "bool", "when", "zoned", "kind"]].replace(math.inf, NAN)
        answer = told(before)
        value = answer["value"]
        after = pd.DataFrame(value["data"], columns=value["columns"], index=value["index"])
        for column in answer["schema"]:
            name, dtype = column["name"], column["dtype"]
            if dtype.startswith("datetime"):
                zone = before[name].dt.tz
                made = pd.to_datetime(after[name], utc=zone is not None)
                after[name] = made.dt.tz_convert(zone) if zone else made
            elif dtype == "category":
                dtype = pd.CategoricalDtype(column["categories"], column["ordered"])
                after[name] = after[name].astype(dtype)
            else:
                after[name] = after[name].astype(dtype)
        pd.testing.assert_frame_equal(before, after)

    def test_an_empty_frame_keeps_its_columns(self):
        answer = told(pd.DataFrame({"a": pd.Series(dtype="int32"), "b": pd.Series(dtype=str)}))
        self.assertEqual(answer["value"], {"columns": ["a", "b"], "index": [], "data": []})
        self.assertEqual([c["dtype"] for c in answer["schema"]], ["int32", "object"])
        self.assertEqual(answer["shape"], [0, 2])
        rows_only = told(pd.DataFrame(index=[1, 2]))
        self.assertEqual(rows_only["value"], {"columns": [], "index": [1, 2], "data": [[], []]})
        self.assertEqual(told(pd.DataFrame())["shape"], [0, 0])

    def test_labels_survive_whatever_they_are(self):
        twice = told(pd.DataFrame([[1, 2.5]], columns=["a", "a"]))
        self.assertEqual(
            (twice["value"]["columns"], twice["value"]["data"]), (["a", "a"], [[1, 2.5]])
        )
        self.assertEqual([c["dtype"] for c in twice["schema"]], ["int64", "float64"])
        odd = told(pd.DataFrame([[1, 2, 3]], columns=[0, None, ("x", 1)]))
        self.assertEqual(odd["value"]["columns"], ["0", "None", "('x', 1)"])
        several = pd.DataFrame({("a", 1): [1], ("a", 2): [2]})
        several.index = pd.MultiIndex.from_tuples([("k", 7)], names=["name", None])
        answer = told(several)
        self.assertEqual(answer["value"]["columns"], ["('a', 1)", "('a', 2)"])
        self.assertEqual(answer["value"]["index"], [["k", 7]])
        self.assertEqual(answer["index"], {"names": ["name", None], "dtypes": ["object", "int64"]})
        self.assertEqual(answer["columns"]["names"], [None, None])
        days = told(pd.DataFrame([[1, 2]], columns=pd.to_datetime(["2024-01-01", "2024-01-02"])))
        self.assertEqual(days["value"]["columns"][0], "2024-01-01T00:00:00")
        numpys = told(pd.DataFrame([[1, 2]], columns=[np.int64(7), (np.int64(8), np.str_("x"))]))
        self.assertEqual(numpys["value"]["columns"], ["7", "(8, 'x')"])
        dated = told(pd.DataFrame({"a": [1]}, index=pd.to_datetime(["2024-01-01"])))
        self.assertEqual(dated["value"]["index"], ["2024-01-01T00:00:00"])

    def test_a_series_is_one(self):
        answer = told(pd.Series([1.0, NAN], name="x", index=["a", "b"]))
        self.assertEqual(answer["value"], {"name": "x", "index": ["a", "b"], "data": [1.0, None]})
        self.assertEqual((answer["type"], answer["shape"]), ("series", [2]))
        self.assertEqual(answer["schema"], [{"name": "x", "dtype": "float64"}])
        self.assertIsNone(told(pd.Series([1]))["value"]["name"])

    def test_only_the_first_rows_and_columns_are_told(self):
        answer = told(pd.DataFrame(np.zeros((1000, 200))), rows=7, columns=3)
        self.assertEqual((len(answer["value"]["data"]), len(answer["value"]["data"][0])), (7, 3))
        self.assertEqual(answer["shape"], [1000, 200])
        self.assertEqual(
            answer["cut"], ["rows: the first 7 of 1000", "columns: the first 3 of 200"]
        )
        wide = told(pd.DataFrame({"a": ["x" * 10**6] * 50}), bytes=100_000)
        self.assertLess(len(json.dumps(wide)), 120_000)
        self.assertIn("cut", wide)

    def test_polars_and_pyarrow_tables_too(self):
        import polars as pl
        import pyarrow as pa

        columns = {"a": [1, None], "b": [NAN, 1.5], "c": [datetime.date(2024, 1, 1), None]}
        for table, dtypes in [
            (pl.DataFrame(columns), ["Int64", "Float64", "Date"]),
            (pa.table(columns), ["int64", "double", "date32[day]"]),
            (pa.RecordBatch.from_pydict(columns), ["int64", "double", "date32[day]"]),
        ]:
            answer = told(table)
            self.assertEqual(answer["value"]["data"], [[1, None, "2024-01-01"], [None, 1.5, None]])
            self.assertEqual([c["dtype"] for c in answer["schema"]], dtypes)
            self.assertEqual((answer["type"], answer["shape"]), ("dataframe", [2, 3]))
        for series in (
            pl.Series("a", [1, None]),
            pa.array([1, None]),
            pa.chunked_array([[1, None]]),
        ):
            answer = told(series)
            self.assertEqual((answer["type"], answer["value"]["data"]), ("series", [1, None]))
        self.assertEqual(told(pl.DataFrame({"a": []}))["value"]["columns"], ["a"])
        names = pl.Enum([f"name {i}" for i in range(10_000)])
        wide = told(pl.DataFrame({"a": ["name 1"]}, schema={"a": names}))
        self.assertEqual(wide["value"]["data"], [["name 1"]])
        self.assertLessEqual(len(wide["schema"][0]["dtype"]), 200)


class Arrow(unittest.TestCase):
    def read(self, value, notes=None):
        import pyarrow as pa

        stream = rich.arrow(value, notes)
        self.assertIsInstance(stream, memoryview)
        return pa.ipc.open_stream(pa.py_buffer(stream)).read_all()

    def test_a_frame_comes_back_as_it_was(self):
        before = frame().drop(columns=["mixed", "text"])
        notes = []
        pd.testing.assert_frame_equal(before, self.read(before, notes).to_pandas())
        self.assertEqual(notes, [])

    def test_what_arrow_has_no_type_for_becomes_text_and_is_named(self):
        before = pd.DataFrame({"a": [1, 2, 3], "b": [1, "x", None], "c": [1j, 2j, 3j]})
        notes = []
        after = self.read(before, notes).to_pandas()
        self.assertEqual(after["a"].tolist(), [1, 2, 3])
        self.assertEqual(after["b"].tolist(), ["1", "x", None])
        self.assertEqual(after["c"].tolist(), ["1j", "2j", "3j"])
        self.assertEqual(len(notes), 2, notes)
        self.assertIn("'b' as text", notes[0])

    def test_a_mixture_that_pyarrow_dies_of_becomes_text(self):
        mixed = [np.datetime64("2024-01-01"), np.float32(1), np.int64(2), None]
        for table in (
            pd.DataFrame({"a": pd.Series(mixed, dtype=object)}),
            pd.DataFrame({"a": [1] * 4}, index=pd.Index(mixed, dtype=object)),
            pd.DataFrame({"a": [[mixed], {"b": mixed}, None, 3]}),
        ):
            notes = []
            self.assertEqual(self.read(table, notes).num_rows, 4)
            self.assertIn("different types", notes[0])
        same = pd.DataFrame({"a": pd.Series([np.int64(2), np.int64(3)], dtype=object)})
        self.assertEqual(self.read(same)["a"].to_pylist(), [2, 3])

    def test_names_that_are_there_twice_are_told_apart(self):
        before = pd.DataFrame(
            [[1, 2]], columns=["a", "a"], index=pd.Index([(1, "x")], tupleize_cols=False)
        )
        notes = []
        after = self.read(before, notes)
        self.assertEqual(after.column_names[:2], ["a", "a.1"])
        self.assertIn("'a.1'", notes[0])
        lone = self.read(pd.DataFrame({"\ud800": ["\ud800"]}), notes)
        self.assertEqual(lone.to_pandas().to_dict("list"), {"\ufffd": ["\ufffd"]})

    def test_other_tables_and_no_tables(self):
        import polars as pl
        import pyarrow as pa

        self.assertEqual(self.read(pd.Series([1, 2], name="x"))["x"].to_pylist(), [1, 2])
        self.assertEqual(self.read(pl.DataFrame({"a": ["x"]})).to_pydict(), {"a": ["x"]})
        self.assertEqual(self.read(pl.Series("a", [1])).to_pydict(), {"a": [1]})
        self.assertEqual(self.read(pa.table({"a": [1]})).to_pydict(), {"a": [1]})
        self.assertEqual(self.read(pd.DataFrame()).num_rows, 0)
        import duckdb

        relation = duckdb.sql("SELECT 1 AS a")
        self.assertEqual(self.read(relation).to_pydict(), {"a": [1]})
        with self.assertRaisesRegex(TypeError, "int is no table"):
            rich.arrow(3)

    def test_it_costs_at_most_half_more_than_writing_it_to_a_file(self):
        import pyarrow as pa

        random = np.random.default_rng(1)
        table = pd.DataFrame({f"f{i}": random.normal(size=100_000) for i in range(10)})
        table["text"] = [f"name {i % 1000}" for i in range(100_000)]
        table["when"] = pd.date_range("2024-01-01", periods=100_000, freq="s")

        def to_file():
            made = pa.Table.from_pandas(table)
            with pa.OSFile("/tmp/table.arrows", "wb") as file:
                with pa.ipc.new_stream(file, made.schema) as stream:
                    stream.write_table(made)

        ours, files = [], []
        for _ in range(15):
            for work, times in ((to_file, files), (lambda: rich.arrow(table), ours)):
                start = time.perf_counter()
                work()
                times.append(time.perf_counter() - start)
        length = os.path.getsize("/tmp/table.arrows")
        self.assertEqual(len(rich.arrow(table)), length)
        print(
            f"arrow: {min(ours) * 1e3:.2f} ms, to a file {min(files) * 1e3:.2f} ms, {length} bytes"
        )
        self.assertLess(min(ours), 1.5 * min(files))


if __name__ == "__main__":
    unittest.main(verbosity=2)
