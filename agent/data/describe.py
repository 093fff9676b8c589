"""Describes data files to whoever writes the code. Runs inside a jail: the files are hostile.

    describe.py NAME...      each NAME lies in /data; prints one JSON object

Everything printed is bounded: columns per table, distinct values, characters per cell.
"""

import json
import os
import re
import sys
import warnings

import pandas as pd

DATA = "/data"
SAMPLE_BYTES = 64 << 20  # larger files are described by their first rows only
SAMPLE_ROWS = 100_000
MAX_COLUMNS = 200
MAX_TABLES = 20
MAX_VALUES = 24  # distinct values listed for a column
MAX_CELL = 80
DATE_SHAPE = re.compile(
    r"^\s*(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4})([T ].*)?$"
)


def cell(value):
    """A value as JSON can hold it, short."""
    if value is None or value is pd.NaT:
        return None
    if isinstance(value, (bool, int)):
        return value
    if hasattr(value, "item") and not isinstance(value, str):
        try:
            value = value.item()
        except (ValueError, TypeError):
            pass
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, (bool, int)):
        return value
    text = str(value)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def encoding_of(path):
    """utf-8, or the fallback that reads any bytes; only the first megabytes decide."""
    with open(path, "rb") as file:
        head = file.read(4)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
        bom = head[:3] == b"\xef\xbb\xbf"
        file.seek(0)
        rest = b""
        while block := file.read(1 << 20):
            block = rest + block
            try:
                block.decode("utf-8")
                rest = b""
            except UnicodeDecodeError as error:
                # A character cut by the end of a block is finished by the next one.
                if error.end < len(block) or len(block) - error.start > 3:
                    return "latin-1"
                rest = block[error.start :]
        return "latin-1" if rest else ("utf-8-sig" if bom else "utf-8")


def separator_of(path, encoding):
    if path.lower().endswith((".tsv", ".tab")):
        return "\t"
    with open(path, encoding=encoding, errors="replace") as file:
        line = file.readline(1 << 16)
    counts = {mark: line.count(mark) for mark in (",", ";", "\t", "|")}
    best = max(counts, key=counts.get)
    return best if counts[best] else ","


def count_lines(path):
    lines, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")


def read_csv(path, large):
    encoding = encoding_of(path)
    separator = separator_of(path, encoding)
    frame = pd.read_csv(path, sep=separator, encoding=encoding,
                        nrows=SAMPLE_ROWS if large else None, low_memory=False)
    rows = count_lines(path) - 1 if large else len(frame)
    return [({"format": "csv", "encoding": encoding, "separator": separator}, frame, rows)]


def read_excel(path, large):
    book = pd.ExcelFile(path)
    tables = []
    for sheet in book.sheet_names[:MAX_TABLES]:
        frame = book.parse(sheet, nrows=SAMPLE_ROWS if large else None)
        tables.append(({"format": "excel", "table": sheet}, frame, len(frame)))
    return tables


def read_json(path, large):
    if not large:
        try:
            frame = pd.read_json(path)
            return [({"format": "json"}, frame, len(frame))]
        except ValueError:
            pass  # perhaps one object a line
    frame = pd.read_json(path, lines=True, nrows=SAMPLE_ROWS)
    return [({"format": "jsonl"}, frame, count_lines(path) if large else len(frame))]


def read_parquet(path, _large):
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    batches = file.iter_batches(batch_size=SAMPLE_ROWS)
    first = next(batches, None)
    frame = first.to_pandas() if first is not None else file.schema_arrow.empty_table().to_pandas()
    return [({"format": "parquet"}, frame, file.metadata.num_rows)]


def read_sqlite(path, _large):
    import sqlite3

    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    names = [row[0] for row in connection.execute(
        "select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name")]
    tables = []
    for name in names[:MAX_TABLES]:
        quoted = '"' + name.replace('"', '""') + '"'
        rows = connection.execute(f"select count(*) from {quoted}").fetchone()[0]
        frame = pd.read_sql(f"select * from {quoted} limit {SAMPLE_ROWS}", connection)
        tables.append(({"format": "sqlite", "table": name}, frame, rows))
    return tables


READERS = {
    ".csv": read_csv, ".tsv": read_csv, ".tab": read_csv, ".txt": read_csv,
    ".xlsx": read_excel, ".xlsm": read_excel, ".json": read_json, ".jsonl": read_json,
    ".ndjson": read_json, ".parquet": read_parquet, ".pq": read_parquet,
    ".sqlite": read_sqlite, ".sqlite3": read_sqlite, ".db": read_sqlite,
}


def reader_of(path):
    """By content where the content says so, else by suffix, else CSV."""
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"SQLite format 3\0"):
        return read_sqlite
    if head.startswith(b"PAR1"):
        return read_parquet
    return READERS.get(os.path.splitext(path)[1].lower(), read_csv)


def dates_of(series):
    """What pandas needs to read this column as dates, or None."""
    if pd.api.types.is_datetime64_any_dtype(series):
        return {"dayfirst": False, "values": series}
    if not (pd.api.types.is_object_dtype(series) or pd.api.types.is_string_dtype(series)):
        return None
    sample = series.dropna().head(200)
    if sample.empty or not all(isinstance(v, str) and DATE_SHAPE.match(v) for v in sample):
        return None
    firsts = [re.match(r"\s*(\d{1,2})[-/.](\d{1,2})[-/.]", v) for v in sample]
    dayfirst = any(m and int(m.group(1)) > 12 for m in firsts)
    values = pd.to_datetime(series, errors="coerce", dayfirst=dayfirst)
    if values.notna().sum() < 0.9 * series.notna().sum():
        return None
    return {"dayfirst": dayfirst, "values": values}


def describe_column(name, series):
    column = {"name": str(name), "dtype": str(series.dtype), "missing": int(series.isna().sum())}
    if not isinstance(name, str):
        column["renamed"] = True
    dates = dates_of(series)
    if dates:
        column.update(kind="date", dayfirst=dates["dayfirst"],
                      min=cell(dates["values"].min()), max=cell(dates["values"].max()))
        return column
    if pd.api.types.is_bool_dtype(series):
        column["kind"] = "bool"
    elif pd.api.types.is_numeric_dtype(series):
        column.update(kind="number", min=cell(series.min()), max=cell(series.max()),
                      mean=cell(series.mean()))
    else:
        column["kind"] = "text"
    try:
        counts = series.value_counts()
        column["distinct"] = int(len(counts))
        if column["kind"] != "number" or len(counts) <= MAX_VALUES:
            column["values"] = [cell(v) for v in counts.index[:MAX_VALUES]]
    except TypeError:  # lists or dicts in the cells
        column["kind"] = "nested"
    return column


def describe_table(source, frame, rows, name):
    columns = [describe_column(c, frame.iloc[:, i]) for i, c in enumerate(frame.columns[:MAX_COLUMNS])]
    head = [[cell(v) for v in row]
            for row in frame.iloc[:5, :MAX_COLUMNS].itertuples(index=False, name=None)]
    return {"file": name, **source, "rows": int(rows), "described_rows": int(len(frame)),
            "columns": columns, "columns_total": int(frame.shape[1]), "head": head}


def describe_file(name):
    path = os.path.join(DATA, name)
    large = os.path.getsize(path) > SAMPLE_BYTES
    reader = reader_of(path)
    try:
        tables = [describe_table(*table, name) for table in reader(path, large)]
        return tables or [{"file": name, "error": "holds no table"}]
    except Exception as error:  # any library may fail in any way on a hostile file
        return [{"file": name, "error": f"{type(error).__name__}: {error}"[:400]}]


def main():
    warnings.simplefilter("ignore")
    tables = [table for name in sys.argv[1:] for table in describe_file(name)]
    json.dump({"tables": tables}, sys.stdout, allow_nan=False)


main()
