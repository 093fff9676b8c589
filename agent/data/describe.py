"""Describes data files to whoever writes the code. Runs inside a jail: the files are hostile.

    describe.py NAME...      each NAME lies in /data; prints one JSON object

Everything printed is bounded: columns per table, distinct values, characters per cell.
"""

import collections
import csv
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
MAX_NOTES = 8
LINE = 1 << 20
SHAPE_LINES = 64  # what delimiter, title lines and header are found out from
SEPARATORS = ",;\t|"
EUROPEAN = re.compile(r"^\s*[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+\s*$")
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


def shorten(text, most=40):
    text = str(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def first_lines(path, encoding):
    lines = []
    with open(path, encoding=encoding, errors="replace", newline="") as file:
        while len(lines) < SHAPE_LINES and (line := file.readline(LINE)):
            if len(line) < LINE or not lines:  # one that is too long tells nothing of the others
                lines.append(line.replace("\0", ""))
            while line and not line.endswith("\n"):
                line = file.readline(LINE)
    return lines


def rows_of(lines, separator):
    """[(lines before it, cells)] of the rows that are not blank."""
    reader, rows, before = csv.reader(lines, delimiter=separator), [], 0
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((before, row))
            before = reader.line_num
    except csv.Error:
        pass
    return rows


def shape_of(path, encoding):
    """(separator, rows) with most rows of one width; of several, the one with most columns."""
    lines = first_lines(path, encoding)
    suffixed = "\t" if path.lower().endswith((".tsv", ".tab")) else ","
    found = []
    for separator in SEPARATORS:
        rows = rows_of(lines, separator)
        widths = collections.Counter(len(row) for _, row in rows)
        width, often = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        share = often / len(rows) if width > 1 else 0
        found.append(((round(share, 1), separator == suffixed, width), separator, rows))
    return max(found)[1:]


def looks_like_number(text):
    return re.fullmatch(r"\s*[-+]?\d+([.,]\d+)?\s*", text) is not None


def csv_options(rows):
    """(skipped lines, header, whether each line ends in one more delimiter, notes)"""
    widths = [len(row) for _, row in rows]
    usual = collections.Counter(widths).most_common(1)[0][0] if widths else 1
    start = 0  # lines of a title have one field; with two columns that may be a short row
    while usual > 2 and start < min(10, len(rows) - 1) and widths[start] == 1:
        start += 1
    header = rows[start][1] if rows else []
    skipped = rows[start][0] if start else 0
    body, notes = rows[start + 1 :], []
    trailing = bool(body) and all(len(row) == len(header) + 1 and not row[-1] for _, row in body)
    longer = sum(len(row) == len(header) + 1 for _, row in body)
    # By its first row pandas would move all to the right, those as well that have no such field.
    if not trailing and 0 < longer < len(body) and len(body[0][1]) == len(header) + 1:
        notes.append(f"{longer} of the first {len(body)} rows have one field more than the header;"
                     " it is left out")
        trailing = True
    if skipped:
        notes.append(f"{skipped} lines stand above the header and are passed over")
    for name, times in collections.Counter(header).items():
        if times > 1 and name.strip():
            again = shorten(name) + ".1"
            notes.append(f"{times} columns are called {shorten(name)!r}; the second is {again!r}")
    if len(header) > 1 and sum(map(looks_like_number, header)) * 2 >= len(header):
        notes.append("the first line looks like data, not like names; it was taken for the header")
    if body and not trailing and longer == len(body):
        notes.append("all rows have one field more than the header: the first, which has no name,"
                     " became the index")
    short = sum(len(row) < len(header) for _, row in body)
    if short:
        notes.append(f"{short} of the first {len(body)} rows have fewer fields than the header")
    return skipped, header, trailing, notes


def count_lines(path):
    lines, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")


def european(frame):
    """(decimal, thousands, notes): whether its numbers have a decimal comma, all or some."""
    comma, dots = [], False
    for name, series in texts(frame):
        sample = series.dropna().head(1000).astype(str)
        fits = sample.str.match(EUROPEAN)
        if len(sample) and fits.mean() >= 0.9:
            comma.append(name)
            dots = dots or sample[fits].str.contains(".", regex=False).any()
    if not comma:
        return ".", "", []
    # A column with a decimal point would be read as a hundredfold.
    points = [name for name in frame.columns if pd.api.types.is_float_dtype(frame[name].dtype)
              and (frame[name].dropna() % 1 != 0).any()] if frame.columns.is_unique else [0]
    if points:
        name = shorten(comma[0])
        return ".", "", [f"numbers of {name!r} have a decimal comma and are text, others a point"]
    return ",", "." if dots else "", ["numbers have a decimal comma"]


def texts(frame):
    for i, name in enumerate(frame.columns[:MAX_COLUMNS]):
        series = frame.iloc[:, i]
        if pd.api.types.is_object_dtype(series) or pd.api.types.is_string_dtype(series):
            yield name, series


def parse(path, large, options):
    """The frame, and how many lines had too many fields to be read."""
    nrows = SAMPLE_ROWS if large else None
    try:
        return pd.read_csv(path, nrows=nrows, low_memory=False, **options), 0
    except pd.errors.ParserError:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            frame = pd.read_csv(path, nrows=nrows, low_memory=False, on_bad_lines="warn", **options)
        return frame, sum(str(each.message).count("Skipping line") for each in told)


def read_csv(path, large):
    encoding = encoding_of(path)
    separator, rows = shape_of(path, encoding)
    skipped, header, trailing, notes = csv_options(rows)
    options = {"sep": separator, "encoding": encoding, "skiprows": skipped}
    if trailing:
        options["index_col"] = False
    frame, bad = parse(path, large, options)
    decimal, thousands, more = european(frame)
    notes += more
    if decimal == ",":
        options |= {"decimal": decimal} | ({"thousands": thousands} if thousands else {})
        frame, bad = parse(path, large, options)
    if bad:
        notes.append(f"{bad} lines have more fields than the header and are left out")
    with open(path, "rb") as file:
        nuls = encoding != "utf-16" and b"\0" in file.read(1 << 20)
    if nuls:
        notes.append("the file holds NUL bytes; a cell ends at one")
    if encoding in ("utf-8-sig", "utf-16"):
        notes.append("the file begins with a byte order mark")
    # What DuckDB's own reader and pandas understand alike; else SQL reads what pandas read.
    odd = skipped or trailing or bad or nuls or decimal == "," or len(set(header)) < len(header)
    even = all(len(row) == len(header) for _, row in rows)
    plain = even and not odd and encoding in ("utf-8", "utf-8-sig")
    source = {"format": "csv", "encoding": encoding, "separator": separator, "skip_rows": skipped,
              "trailing": trailing, "bad_lines": bad, "decimal": decimal, "thousands": thousands,
              "plain": plain, "notes": notes}
    return [(source, frame, count_lines(path) - 1 - skipped if large else len(frame))]


def read_excel(path, large):
    modern = path.lower().endswith((".xlsx", ".xlsm"))
    book = pd.ExcelFile(path, engine=None if modern else "calamine")
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
    ".xlsx": read_excel, ".xlsm": read_excel, ".xls": read_excel, ".xlsb": read_excel,
    ".ods": read_excel, ".json": read_json, ".jsonl": read_json,
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


def mixed(series):
    """A note on a column in which some cells are numbers and some are not; else empty."""
    cells = series.dropna().head(20_000)
    if cells.empty:
        return ""
    words = cells[[isinstance(value, str) for value in cells]]
    is_number = pd.to_numeric(words, errors="coerce").notna()
    numbers = int(is_number.sum()) + len(cells) - len(words)
    rest = [shorten(value, 20) for value in words[~is_number].unique()[:3]]
    if 2 * numbers < len(cells) or not rest:
        return ""
    return f"text, but {numbers} of {len(cells)} are numbers; not {', '.join(map(repr, rest))}"


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
        if note := mixed(series):
            column["note"] = note
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
    source["notes"] = source.get("notes", [])[:MAX_NOTES]
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
