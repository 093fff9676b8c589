"""The guest's file module, in a jail with /data/given.csv: files_cases.py [Formats|Text|…]"""

import gzip
import os
import sqlite3
import unittest
import xml.etree.ElementTree

import numpy as np
import pandas as pd
from jailrun_files import FILES, get_file_path, load_file, save


def frame():
    return pd.DataFrame(
        {
            "name": ["Ada", 'Grüße, "x"', "line\nbreak"],
            "n": [1, 2, 3],
            "x": [0.5, float("nan"), -1e300],
            "when": pd.to_datetime(["2024-01-01", "2024-02-29", "1999-12-31"]),
        }
    )


def write(name, content):
    with open(name, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


class Formats(unittest.TestCase):
    def same(self, got, wanted):
        pd.testing.assert_frame_equal(got, wanted, check_dtype=False, check_index_type=False)

    def test_a_table_comes_back_as_it_was_from_each_format(self):
        exact = ["parquet", "feather", "arrow", "pickle", "pkl"]
        dated = ["csv", "tsv", "json", "jsonl", "xml", "csv.gz"]
        for kind in exact + dated + ["xlsx", "ods", "dta", "sav"]:
            with self.subTest(kind):
                name = f"table.{kind}"
                if kind == "csv.gz":
                    with gzip.open(name, "wt") as file:
                        frame().to_csv(file, index=False)
                else:
                    self.assertEqual(save(frame(), name), f"/work/{name}")
                options = {"sheet_name": 0} if kind == "xlsx" else {}
                got = load_file(name, **options)
                self.assertIsInstance(got, pd.DataFrame)
                if kind in dated + ["ods"]:
                    got["when"] = pd.to_datetime(got["when"], format="mixed")
                if kind == "dta":
                    got = got.drop(columns="index", errors="ignore")
                self.same(got, frame())

    def test_a_workbook_says_its_sheets_and_how_to_take_one(self):
        save({"north": frame(), "south": frame().head(1)}, "both.xlsx")
        book = load_file("both.xlsx")
        self.assertIsInstance(book, pd.ExcelFile)
        self.assertEqual(book.sheet_names, ["north", "south"])
        self.assertEqual(len(book.parse("south")), 1)
        with self.assertRaisesRegex(AttributeError, "sheets 'north', 'south'.*sheet_name='north'"):
            book.head()
        save({"one": frame(), "two & <three>": frame()}, "both.ods")
        self.assertEqual(list(load_file("both.ods", sheet_name=None)), ["one", "two & <three>"])

    def test_labels_of_an_index_are_kept_and_a_numbering_is_not(self):
        labelled = frame().set_index("name")["n"]
        save(labelled, "index.csv")
        self.assertEqual(list(load_file("index.csv").columns), ["name", "n"])
        save(frame(), "plain.csv")
        self.assertEqual(list(load_file("plain.csv").columns), list(frame().columns))
        save(labelled, "index.parquet")
        self.assertEqual(load_file("index.parquet").index.name, "name")

    def test_structures_come_back_and_nan_is_null(self):
        value = {"a": [1, 2.5, None, True], "b": {"c": "ä\u2028", "d": []}}
        for kind in ("json", "yaml", "pickle"):
            self.assertEqual(load_file(save(value, f"value.{kind}")), value)
        self.assertEqual(
            load_file(save({"a": 1, "b": {"c": [1.5, "x"]}}, "v.toml")),
            {"a": 1, "b": {"c": [1.5, "x"]}},
        )
        odd = {
            "nan": float("nan"),
            3: np.int64(4),
            "when": pd.Timestamp("2024-01-01"),
            "s": {1},
            "na": pd.NaT,
        }
        told = load_file(save(odd, "odd.json"))
        self.assertEqual(
            told, {"nan": None, "3": 4, "when": "2024-01-01T00:00:00", "s": [1], "na": None}
        )
        self.assertEqual(load_file(save([1, [2]], "list.jsonl")), [1, [2]])
        rows = load_file(save([{"a": 1}, {"a": 2}], "rows.csv"))
        self.assertEqual(list(rows["a"]), [1, 2])

    def test_arrays_text_bytes_and_objects_come_back(self):
        array = np.arange(6.0).reshape(2, 3)
        np.testing.assert_array_equal(load_file(save(array, "array")), array)
        back = load_file(save({"a": array, "b": array[0]}, "arrays.npz"))
        np.testing.assert_array_equal(back["b"], array[0])
        self.assertEqual(load_file(save("text\r\nü", "notes")), "text\r\nü")
        self.assertEqual(load_file(save('{"a": 1}', "raw.json")), {"a": 1})
        self.assertEqual(load_file(save(b"\0\xff", "bytes.bin")), b"\0\xff")
        from sklearn.linear_model import LinearRegression

        model = LinearRegression().fit([[0], [1]], [1, 3])
        path = save(model, "model")
        self.assertEqual(path, "/work/model.pickle")
        self.assertAlmostEqual(load_file("model.pickle").predict([[2]])[0], 5)
        self.assertEqual(load_file(save(lambda x: x + 1, "function"))(1), 2)

    def test_databases_open_read_only(self):
        save({"people": frame(), "few": frame().head(1)}, "all.sqlite")
        database = load_file("all.sqlite")
        self.assertEqual(database.execute("select count(*) from people").fetchone(), (3,))
        with self.assertRaises(sqlite3.OperationalError):
            database.execute("delete from few")
        save(frame(), "one.db")
        self.assertEqual(load_file("one.db").execute("select max(n) from one").fetchone(), (3,))

    def test_pictures_are_saved_and_given_as_paths(self):
        import matplotlib.pyplot as plt
        import plotly.express as px
        from PIL import Image

        figure, axes = plt.subplots()
        axes.plot([1, 2])
        for thing, name in (
            (figure, "figure"),
            (axes, "axes.png"),
            (Image.new("RGBA", (2, 2)), "image.jpg"),
        ):
            path = load_file(save(thing, name))
            Image.open(path).verify()
        self.assertIn(b"svg", open(save(figure, "figure.svg"), "rb").read(500))
        self.assertIn("plotly", load_file(save(px.line(x=[1], y=[1]), "chart"))[:5000].lower())

    def test_tables_of_other_libraries_are_tables(self):
        import duckdb
        import polars
        import pyarrow

        for number, table in enumerate(
            (
                polars.DataFrame({"a": [1, 2]}),
                pyarrow.table({"a": [1, 2]}),
                polars.LazyFrame({"a": [1, 2]}),
                duckdb.sql("select unnest([1, 2]) as a"),
            )
        ):
            self.assertEqual(list(load_file(save(table, f"other{number}.csv"))["a"]), [1, 2])

    def test_xml_that_is_no_table_is_a_tree(self):
        write("tree.xml", "<a><b x='1'><c><d/></c></b></a>")
        self.assertIsInstance(load_file("tree.xml"), xml.etree.ElementTree.ElementTree)


class Text(unittest.TestCase):
    def test_encodings_are_found_out(self):
        text = "name;stadt\nJürgen;Köln\nZoë;Málaga\n"
        for number, encoding in enumerate(
            ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252")
        ):
            with self.subTest(encoding):
                write(f"t{number}.csv", text.encode(encoding))
                table = load_file(f"t{number}.csv")
                self.assertEqual(list(table.columns), ["name", "stadt"])
                self.assertEqual(table["name"][0], "Jürgen")
                write(f"t{number}.txt", text.encode(encoding))
                self.assertEqual(load_file(f"t{number}.txt"), text)
        write("late.csv", b"name\n" + b"abc\n" * 100_000 + "Zoë\n".encode("latin-1"))
        self.assertEqual(load_file("late.csv")["name"].iloc[-1], "Zoë")

    def test_delimiters_are_found_out_whatever_the_extension_says(self):
        for number, mark in enumerate(",;\t|"):
            for kind in ("csv", "tsv"):
                lines = ["a", "b", "c"], ["1", '"x, y; z"', "2.5"], ["2", "plain", "3.5"]
                write(f"d{number}.{kind}", "\n".join(mark.join(line) for line in lines) + "\n")
                table = load_file(f"d{number}.{kind}")
                self.assertEqual(
                    (list(table.columns), table["c"].sum()), (["a", "b", "c"], 6.0), repr(mark)
                )
        write("one.csv", "only\nhello, world\nthere\n")
        self.assertEqual(load_file("one.csv", sep=";").shape, (2, 1))
        write("single.csv", "n\n1\n2\n")
        self.assertEqual(list(load_file("single.csv")["n"]), [1, 2])

    def test_a_decimal_comma_is_one_only_where_it_can_be(self):
        write("de.csv", "ort;preis\nKöln;1.234,50\nBonn;7,25\n")
        self.assertEqual(list(load_file("de.csv")["preis"]), [1234.5, 7.25])
        write("mixed.csv", "a;b\n1,5;2.5\n")
        self.assertEqual(load_file("mixed.csv")["b"][0], 2.5)
        self.assertEqual(load_file("de.csv", decimal=".", thousands=None)["preis"][1], "7,25")

    def test_options_go_to_the_reader_and_kind_overrides_the_name(self):
        write("data.txt", "a,b\n1,2\n")
        self.assertEqual(load_file("data.txt"), "a,b\n1,2\n")
        self.assertEqual(load_file("data.txt", kind="csv", usecols=["b"]).shape, (1, 1))
        save(frame(), "book.xlsx")
        os.rename("book.xlsx", "really.csv")
        self.assertEqual(load_file("really.csv").sheet_names, ["Sheet1"])
        save(frame(), "x.parquet")
        os.rename("x.parquet", "noname")
        self.assertEqual(load_file("noname").shape, (3, 4))
        write("unknown.zzz", b"\xff\0\1")
        self.assertEqual(load_file("unknown.zzz"), b"\xff\0\1")


class Names(unittest.TestCase):
    def test_given_files_are_found_by_name_path_and_id(self):
        self.assertEqual(get_file_path("given.csv"), "/data/given.csv")
        for name in ("given.csv", "/data/given.csv", "../data/given.csv", b"given.csv", "u_1_00"):
            self.assertEqual(load_file(name).shape, (2, 2), name)
        self.assertIn("u_1_00", FILES)
        self.assertEqual(list(FILES)[0], "u_1_00")  # the id stands for it, once
        self.assertEqual(FILES["u_1_00"], FILES["given.csv"])
        self.assertNotIn("given.csv", list(FILES))
        self.assertEqual(len(FILES), len(list(FILES)))

    def test_what_a_script_saved_goes_before_what_it_was_given_but_not_before_an_id(self):
        save(frame(), "given.csv")
        self.assertEqual(get_file_path("given.csv"), "/work/given.csv")
        self.assertEqual(load_file("u_1_00").shape, (2, 2))
        os.unlink("given.csv")

    def test_a_missing_name_is_told_what_there_is(self):
        with self.assertRaises(ValueError) as caught:
            load_file("givn.csv")
        self.assertIsInstance(caught.exception, FileNotFoundError)
        self.assertRegex(str(caught.exception), "^no file 'givn.csv'; did you mean")
        for i in range(60):
            write(f"many{i:02}.txt", "x")
        with self.assertRaisesRegex(ValueError, "and [0-9]+ more$"):
            load_file("???")
        self.assertIsNone(FILES.get("???"))
        for i in range(60):
            os.unlink(f"many{i:02}.txt")

    def test_strange_names_are_names(self):
        for name in (
            "a b.txt",
            "ü\u202e.txt",
            "$(id); rm -rf ..txt",
            "new\nline.txt",
            "-n.txt",
            "a" * 240 + ".txt",
        ):
            self.assertEqual(load_file(save("x", name)), "x", name)
            self.assertIn(name, FILES)
            os.unlink(name)
        write(b"\xff.txt", "x")
        self.assertEqual(load_file(b"\xff.txt"), "x")
        self.assertNotIn("\n", repr(FILES))
        os.unlink(b"\xff.txt")
        self.assertEqual(load_file(save("x", "deep/er/f.txt")), "x")
        with self.assertRaisesRegex(IsADirectoryError, "f.txt"):
            load_file("deep/er")


class Refusals(unittest.TestCase):
    def test_nothing_that_could_hang_is_opened(self):
        os.mkfifo("pipe.csv")
        with self.assertRaisesRegex(ValueError, "no regular file"):
            load_file("pipe.csv")
        self.assertNotIn("pipe.csv", FILES)
        os.symlink("loop.csv", "loop.csv")
        for name in ("loop.csv", "\0", "a\0b", "", "x" * 5000, "/dev/zero", "/proc/self/mem/x"):
            with self.assertRaises(OSError, msg=repr(name[:9])):
                load_file(name)

    def test_names_outside_of_work_are_not_written(self):
        for name in (
            "../x.txt",
            "/etc/x.txt",
            "/data/x.txt",
            "",
            ".",
            "/work",
            "a/../../x.txt",
            "a\0.txt",
            "dir/",
        ):
            with self.assertRaises(ValueError, msg=name):
                save("x", name)

    def test_a_failed_save_leaves_the_old_file_and_nothing_else(self):
        save({"a": 1}, "kept.json")
        before = sorted(os.listdir("/work"))
        with self.assertRaisesRegex(ValueError, "as .csv, .tsv.*pickle"):
            save(frame(), "kept.mp3")
        with self.assertRaises(Exception):
            save(frame(), "kept.parquet", engine="none")
        with self.assertRaises(OSError):
            save(b"x" * (32 << 20), "kept.json")  # more than /work takes
        self.assertEqual(sorted(os.listdir("/work")), before)
        self.assertEqual(load_file("kept.json"), {"a": 1})

    def test_broken_contents_are_errors_that_name_the_file(self):
        cases = {
            "a.csv": b"",
            "b.json": b"{",
            "c.parquet": b"no",
            "d.xlsx": b"PK\3\4no",
            "e.npy": b"no",
            "f.yaml": b"a: [",
            "g.jsonl": b"{}\nno\n",
            "h.pickle": b"no",
            "i.ods": b"no",
            "j.xml": b"<a>",
            "k.h5": b"no",
            "l.csv.gz": b"no",
        }
        for name, content in cases.items():
            write(name, content)
            with self.assertRaises(Exception, msg=name) as caught:
                load_file(name)
            self.assertNotIsInstance(
                caught.exception, (AttributeError, TypeError, NameError, KeyError), name
            )
        for name, wanted in (
            ("a.csv", "a.csv is empty"),
            ("g.jsonl", "line 2"),
            ("k.h5", "tables"),
        ):
            with self.assertRaisesRegex(ValueError, wanted):
                load_file(name)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
