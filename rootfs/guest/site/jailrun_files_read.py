"""Reads a file by its type, for jailrun_files.load_file."""

import bz2
import gzip
import lzma
import os
import sqlite3

from jailrun_files_text import SAMPLE, decimal_of, decode_some, delimiter_of, encodings

PACKED = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
PATH = (
    "png jpg jpeg gif bmp tif tiff webp ico heic mp3 wav flac ogg m4a mp4 avi mov mkv webm "
    "zip tar tgz 7z rar pdf"
)
TEXT = (
    "txt text md rst log ini cfg conf env html htm css svg sql py ipynb js ts r jl c h cc cpp java "
    "go rs rb php sh pl lua kt swift scala tex bib srt vtt diff patch"
)
ENGINES = {"ods": "calamine", "xlsb": "calamine", "xls": "calamine", "xlsx": None, "xlsm": None}


def load(path, kind, options):
    packing, given = None, kind is not None
    if not given:
        kind, packing = kind_of(path)
    reader = READERS.get(kind.lower().lstrip("."))
    if reader is None and given:
        raise ValueError(f"no reader for kind {kind!r}; there are: {', '.join(sorted(READERS))}")
    if reader is read_path:
        return path
    if packing and reader in WHOLE:
        raise ValueError(
            f"{path} is compressed; unpack it first, {kind} cannot be read in a stream"
        )
    return (reader or anything)(path, Opener(path, packing), options)


def kind_of(path):
    """By name; compressed files have two extensions. What it does not say, the first bytes may."""
    parts = os.path.basename(path).lower().rsplit(".", 2)
    packing = parts[-1] if parts[-1] in PACKED and len(parts) > 1 else None
    kind = (
        parts[-2]
        if packing and len(parts) > 2
        else parts[-1] if not packing and len(parts) > 1 else ""
    )
    with open(path, "rb") as file:
        head = file.read(16)
    # A pickle is never guessed: reading one runs what is in it.
    if head.startswith(b"PK\3\4") and kind in ("csv", "tsv", "xls", "ods", "xlsb"):
        return zipped(path) or kind, packing
    if kind not in READERS:
        for magic, found in MAGIC.items():
            if head.startswith(magic):
                return found, packing
    return kind, packing


def zipped(path):
    """Which of the office formats a ZIP archive is."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return None
    if "content.xml" in names:
        return "ods"
    if "xl/workbook.bin" in names:
        return "xlsb"
    return "xlsx" if "xl/workbook.xml" in names else None


class Opener:
    def __init__(self, path, packing):
        self.path = path
        self.open = PACKED.get(packing, open)

    def sample(self):
        with self.open(self.path, "rb") as file:
            return file.read(SAMPLE)

    def bytes(self):
        with self.open(self.path, "rb") as file:
            return file.read()

    def text(self, options):
        data = self.bytes()
        if given := options.pop("encoding", None):
            return data.decode(given)
        for encoding in encodings(data[:SAMPLE]):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                pass
        return data.decode("latin-1")


# --- text -----------------------------------------------------------------------------------------


def table(preferred):
    def read(path, opener, options):
        import pandas as pd

        options = dict(options)
        head = opener.sample()
        tries = [options.pop("encoding")] if "encoding" in options else encodings(head)
        if not head.strip():
            raise ValueError(f"{path} is empty")
        if not {"sep", "delimiter"} & options.keys():
            sample = decode_some(head, tries)
            options["sep"] = delimiter_of(sample, preferred)
            if "decimal" not in options:
                options = {**decimal_of(sample, options["sep"]), **options}
        for encoding in tries:
            try:
                with opener.open(opener.path, "rb") as file:
                    return pd.read_csv(file, encoding=encoding, **options)
            except UnicodeDecodeError:
                if encoding == tries[-1]:
                    raise

    return read


def text(path, opener, options):
    return opener.text(options)


def anything(path, opener, options):
    data = opener.bytes()
    if b"\0" not in data[:SAMPLE]:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    return data


# --- structures -----------------------------------------------------------------------------------


def records(values):
    """A DataFrame of a list of flat objects; any other value is itself."""
    if not (isinstance(values, list) and values and all(isinstance(each, dict) for each in values)):
        return values
    import pandas as pd

    return pd.DataFrame.from_records(values)


def read_json(path, opener, options):
    import json

    if options:
        import pandas as pd

        return pd.read_json(path, **options)
    return records(json.loads(opener.text({})))


def read_geojson(path, opener, options):
    import json

    return json.loads(opener.text(options))


def read_jsonl(path, opener, options):
    import json

    values = []
    for number, line in enumerate(opener.text(options).splitlines(), 1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is no JSON: {error}") from None
    return records(values)


def read_yaml(path, opener, options):
    import yaml

    documents = list(yaml.safe_load_all(opener.text(options)))
    return documents[0] if len(documents) == 1 else documents


def read_toml(path, opener, options):
    import tomllib

    return tomllib.loads(opener.text(options))


def read_xml(path, opener, options):
    """A DataFrame where the root holds rows: alike, flat, more than their names. Else the tree."""
    import xml.etree.ElementTree as tree

    if options:
        import pandas as pd

        return pd.read_xml(path, **{"parser": "etree", **options})
    with opener.open(path, "rb") as file:
        document = tree.parse(file)
    rows = list(document.getroot())
    flat = all(len(cell) == 0 and not cell.attrib for row in rows for cell in row)
    if (
        not rows
        or len({row.tag for row in rows}) > 1
        or not flat
        or not all(len(row) for row in rows)
    ):
        return document
    import io

    import pandas as pd

    return pd.read_xml(io.BytesIO(tree.tostring(document.getroot())), parser="etree")


def workbook(kind):
    def read(path, opener, options):
        import pandas as pd

        if options or kind == "ods":
            return pd.read_excel(path, **{"engine": ENGINES[kind], **options})
        return whole_workbook(path, ENGINES[kind])

    return read


def whole_workbook(path, engine):
    import pandas as pd

    class Workbook(pd.ExcelFile):
        """pandas' ExcelFile, which says what to do when it is taken for a table."""

        def __getattr__(self, name):
            if name.startswith("_") or not hasattr(pd.DataFrame, name):
                raise AttributeError(f"'ExcelFile' object has no attribute {name!r}")
            first = self.sheet_names[0]
            raise AttributeError(
                f"this is a workbook with the sheets {', '.join(map(repr, self.sheet_names))}, "
                f"not a DataFrame: take one by load_file(name, sheet_name={first!r}) "
                f"or .parse({first!r})"
            )

    return Workbook(path, engine=engine)


# --- columns, arrays, databases -------------------------------------------------------------------


def by_pandas(function):
    def read(path, opener, options):
        import pandas as pd

        try:
            return getattr(pd, function)(path, **options)
        except ImportError as error:
            raise ValueError(f"{path} cannot be read in this image: {error}") from None

    return read


def read_pickle(path, opener, options):
    import pandas as pd

    return pd.read_pickle(path, **options)


def read_joblib(path, opener, options):
    import joblib

    return joblib.load(path, **options)


def read_npy(path, opener, options):
    import numpy as np

    return np.load(path, **options)


def read_npz(path, opener, options):
    import numpy as np

    with np.load(path, **options) as arrays:
        return dict(arrays)


def read_sqlite(path, opener, options):
    """Read-only; `immutable` because no journal can be made beside a file in /data."""
    from urllib.parse import quote

    frozen = "" if os.access(os.path.dirname(path), os.W_OK) else "&immutable=1"
    return sqlite3.connect(f"file:{quote(path)}?mode=ro{frozen}", uri=True, **options)


def read_duckdb(path, opener, options):
    import duckdb

    return duckdb.connect(path, read_only=True, **options)


def read_path(path, opener, options):
    return path


def read_bytes(path, opener, options):
    return opener.bytes()


MAGIC = {
    b"PAR1": "parquet",
    b"ARROW1": "feather",
    b"SQLite format 3\0": "sqlite",
    b"\x93NUMPY": "npy",
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpg",
    b"%PDF": "pdf",
}
READERS = {
    "csv": table(","),
    "tsv": table("\t"),
    "tab": table("\t"),
    "psv": table("|"),
    "json": read_json,
    "geojson": read_geojson,
    "jsonl": read_jsonl,
    "ndjson": read_jsonl,
    "yaml": read_yaml,
    "yml": read_yaml,
    "toml": read_toml,
    "xml": read_xml,
    "parquet": by_pandas("read_parquet"),
    "pq": by_pandas("read_parquet"),
    "feather": by_pandas("read_feather"),
    "arrow": by_pandas("read_feather"),
    "orc": by_pandas("read_orc"),
    "dta": by_pandas("read_stata"),
    "sas7bdat": by_pandas("read_sas"),
    "xpt": by_pandas("read_sas"),
    "sav": by_pandas("read_spss"),
    "h5": by_pandas("read_hdf"),
    "hdf": by_pandas("read_hdf"),
    "hdf5": by_pandas("read_hdf"),
    "pickle": read_pickle,
    "pkl": read_pickle,
    "joblib": read_joblib,
    "npy": read_npy,
    "npz": read_npz,
    "db": read_sqlite,
    "sqlite": read_sqlite,
    "sqlite3": read_sqlite,
    "duckdb": read_duckdb,
    "bin": read_bytes,
    **{kind: workbook(kind) for kind in ENGINES},
    **{kind: text for kind in TEXT.split()},
    **{kind: read_path for kind in PATH.split()},
}
# Those that read by path, and so cannot read through a decompressor.
STREAMED = {
    "csv",
    "tsv",
    "tab",
    "psv",
    "json",
    "geojson",
    "jsonl",
    "ndjson",
    "yaml",
    "yml",
    "toml",
    "xml",
    "bin",
}
STREAMED |= set(TEXT.split())
WHOLE = {reader for kind, reader in READERS.items() if kind not in STREAMED}
