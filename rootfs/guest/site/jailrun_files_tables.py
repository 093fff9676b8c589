"""Writes tables, pandas' DataFrames. For jailrun_files_write."""

from jailrun_files_plain import write_json, write_jsonl, write_text, write_yaml


def keeps_index(frame):
    """A plain numbering says nothing; an index with labels does."""
    import pandas as pd

    return not (isinstance(frame.index, pd.RangeIndex) and frame.index.name is None)


def flat(frame):
    return frame.reset_index() if keeps_index(frame) else frame


def named(frame):
    """Columnar formats want names that are text."""
    text = all(isinstance(name, str) for name in frame.columns)
    return frame if text else frame.rename(columns=str)


def by_method(method, **defaults):
    """One of DataFrame's own, with the index where it says something."""

    def write(frame, path, options, stem):
        options = {"index": keeps_index(frame), **defaults, **options}
        getattr(frame, method)(path, **options)

    return write


def write_parquet(frame, path, options, stem):
    named(frame).to_parquet(path, **options)


def write_feather(frame, path, options, stem):
    named(flat(frame)).to_feather(path, **options)


def write_stata(frame, path, options, stem):
    frame.to_stata(path, **{"write_index": keeps_index(frame), **options})


def write_spss(frame, path, options, stem):
    import pyreadstat

    pyreadstat.write_sav(named(flat(frame)), path, **options)


def write_markdown(frame, path, options, stem):
    text = frame.to_markdown(**{"index": keeps_index(frame), **options})
    write_text(text + "\n", path, {}, stem)


def write_values(frame, path, options, stem):
    import numpy as np

    np.save(path, frame.to_numpy(), **options)


def as_structure(write):
    return lambda frame, path, options, stem: write(flat(frame), path, options, stem)


# --- several in a file ----------------------------------------------------------------------------


def write_workbook(tables, path, options, stem):
    import pandas as pd

    with pd.ExcelWriter(path, engine="openpyxl") as book:
        for name, frame in tables.items():
            how = {"index": keeps_index(frame), **options}
            without_zones(frame).to_excel(book, sheet_name=str(name)[:31], **how)


def without_zones(frame):
    """Excel has no time zones: the times stay as they are shown."""
    import pandas as pd

    aware = [name for name, kind in frame.dtypes.items() if isinstance(kind, pd.DatetimeTZDtype)]
    return frame.assign(**{name: frame[name].dt.tz_localize(None) for name in aware})


def write_sqlite(tables, path, options, stem):
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(path)) as database:
        for name, frame in tables.items():
            frame.to_sql(str(name), database, **{"index": keeps_index(frame), **options})
        database.commit()


def write_ods(tables, path, options, stem):
    import jailrun_files_ods

    jailrun_files_ods.write({str(name): flat(frame) for name, frame in tables.items()}, path)


SEVERAL = {"xlsx": write_workbook, "ods": write_ods, "sqlite": write_sqlite, "db": write_sqlite}


def alone(write, option, default=None):
    """One table in a file for several, under the name that an option gives it."""

    def write_one(frame, path, options, stem):
        name = options.pop(option, default or stem)
        write({name: frame}, path, options, stem)

    return write_one


ONE = {
    "csv": by_method("to_csv"),
    "tsv": by_method("to_csv", sep="\t"),
    "txt": by_method("to_string"),
    "html": by_method("to_html"),
    "tex": by_method("to_latex"),
    "xml": by_method("to_xml", parser="etree"),
    "md": write_markdown,
    "json": as_structure(write_json),
    "jsonl": as_structure(write_jsonl),
    "yaml": as_structure(write_yaml),
    "parquet": write_parquet,
    "feather": write_feather,
    "arrow": write_feather,
    "dta": write_stata,
    "sav": write_spss,
    "npy": write_values,
    "xlsx": alone(write_workbook, "sheet_name", "Sheet1"),
    "ods": alone(write_ods, "sheet_name", "Sheet1"),
    "sqlite": alone(write_sqlite, "table"),
    "db": alone(write_sqlite, "table"),
}
