"""duckdb, polars, pyarrow: what has threads and memory of its own."""

import os
import tempfile
import unittest


class Duckdb(unittest.TestCase):
    def test_queries(self):
        import duckdb

        base = duckdb.connect()
        self.assertEqual(
            base.execute("select sum(i) from range(1000000) t(i)").fetchall(), [(499999500000,)]
        )
        self.assertEqual(
            base.sql("select i % 7 k, count(*) n from range(700) t(i) group by k")
            .df()["n"]
            .tolist(),
            [100] * 7,
        )

    def test_files_and_frames(self):
        import duckdb
        import pandas as pd

        numbers = pd.DataFrame({"a": range(1000)})
        self.assertEqual(len(numbers), 1000)
        with tempfile.TemporaryDirectory() as place:
            path = os.path.join(place, "t.parquet")
            duckdb.sql("select * from numbers").write_parquet(path)
            self.assertEqual(duckdb.sql(f"select max(a) from '{path}'").fetchall(), [(999,)])
            with duckdb.connect(os.path.join(place, "base")) as base:
                base.execute("create table t as select * from range(10)")
            with duckdb.connect(os.path.join(place, "base"), read_only=True) as base:
                self.assertEqual(base.execute("select count(*) from t").fetchall(), [(10,)])

    def test_threads(self):
        import duckdb

        base = duckdb.connect()
        base.execute("set threads=4")
        self.assertEqual(
            base.execute(
                "select count(distinct md5(i::varchar)) from range(200000) t(i)"
            ).fetchall(),
            [(200000,)],
        )

    def test_spills(self):
        import duckdb

        base = duckdb.connect()
        base.execute("set memory_limit='60MB'")
        spilt = (
            "select count(*) from (select i, md5(i::varchar) h from range(1000000) t(i) order by h)"
        )
        self.assertEqual(base.execute(spilt).fetchall(), [(1000000,)])

    def test_extension_from_the_network_fails_by_name(self):
        import duckdb

        with self.assertRaises(duckdb.Error):
            duckdb.connect(config={"extension_directory": "/tmp/none"}).execute(
                "load no_such_extension"
            )


class Polars(unittest.TestCase):
    def test_lazy_queries(self):
        import polars as pl

        table = pl.DataFrame({"k": [i % 10 for i in range(100_000)], "v": range(100_000)})
        out = table.lazy().group_by("k").agg(pl.col("v").sum()).sort("k").collect()
        self.assertEqual(out["v"].sum(), sum(range(100_000)))

    def test_files(self):
        import polars as pl

        table = pl.DataFrame({"a": range(1000), "s": ["x"] * 1000})
        with tempfile.TemporaryDirectory() as place:
            for name, write, read in (
                ("a.csv", "write_csv", pl.read_csv),
                ("a.parquet", "write_parquet", pl.read_parquet),
                ("a.arrow", "write_ipc", pl.read_ipc),
            ):
                with self.subTest(name):
                    path = os.path.join(place, name)
                    getattr(table, write)(path)
                    self.assertTrue(read(path).equals(table))
            self.assertEqual(
                pl.scan_parquet(os.path.join(place, "*.parquet")).select(pl.len()).collect().item(),
                1000,
            )

    def test_streaming_and_pandas(self):
        import polars as pl

        out = pl.LazyFrame({"a": range(1000)}).filter(pl.col("a") > 500).collect(engine="streaming")
        self.assertEqual(out.to_pandas()["a"].min(), 501)


class Pyarrow(unittest.TestCase):
    def test_compute_and_threads(self):
        import pyarrow as pa
        import pyarrow.compute as pc

        table = pa.table({"k": [i % 5 for i in range(10_000)], "v": range(10_000)})
        sums = table.group_by("k", use_threads=True).aggregate([("v", "sum")])
        self.assertEqual(pc.sum(sums["v_sum"]).as_py(), sum(range(10_000)))

    def test_data_sets_and_memory_maps(self):
        import pyarrow as pa
        import pyarrow.dataset as ds
        import pyarrow.feather as feather

        with tempfile.TemporaryDirectory() as place:
            table = pa.table({"k": ["a", "b"] * 50, "v": range(100)})
            ds.write_dataset(
                table,
                place + "/set",
                format="parquet",
                partitioning=["k"],
                partitioning_flavor="hive",
            )
            self.assertEqual(ds.dataset(place + "/set", partitioning="hive").count_rows(), 100)
            feather.write_feather(table, place + "/t.feather", compression="uncompressed")
            with pa.memory_map(place + "/t.feather") as source:
                self.assertEqual(pa.ipc.open_file(source).read_all().num_rows, 100)

    def test_csv_and_json(self):
        import io

        import pyarrow.csv as csv
        import pyarrow.json as json

        self.assertEqual(csv.read_csv(io.BytesIO(b"a,b\n" + b"1,x\n" * 10_000)).num_rows, 10_000)
        self.assertEqual(json.read_json(io.BytesIO(b'{"a": 1}\n' * 100)).num_rows, 100)
