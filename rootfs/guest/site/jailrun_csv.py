"""The CSV files in /data as tables: for Python as data frames, for SQL in a DuckDB that reads
nothing else.

    dfs["tickets"]                     /data/tickets.csv, read when it is first asked for
    sql("SELECT count(*) FROM tickets")

What a query could reach is bounded by the jail. DuckDB's own lock-down and the look at the
statement come before that, so that a query that wants more than the tables is told so.
"""

import json
import math
import os
import re
import sys
import time

DATA = "/data"
ROWS, ROWS_MOST = 200, 1000
BYTES = 65536
WITHIN_TABLES = {"range", "generate_series", "unnest", "repeat", "repeat_row", "summary"}


class SqlRefused(ValueError):
    """The statement is not one that reads tables; nothing of it has run."""


def tables():
    """{table: path} of the CSV files in /data, by the stem of their names."""
    found = {}
    for name in sorted(os.listdir(DATA)) if os.path.isdir(DATA) else []:
        stem, dot, suffix = name.rpartition(".")
        if suffix.lower() in ("csv", "tsv"):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", stem):
                raise ValueError(f"Invalid table name: {stem!r}; rename the file {name!r}")
            if stem in found:
                raise ValueError(f"Duplicate table name: {stem!r}")
            found[stem] = os.path.join(DATA, name)
    return found


class Frames(dict):
    """Each CSV file as a data frame, read when it is first asked for."""

    def __missing__(self, name):
        import pandas

        known = tables()
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "there is no CSV file in /data"
            raise KeyError(f"no table {name!r}; {there}")
        tabs = known[name].lower().endswith(".tsv")
        frame = self[name] = pandas.read_csv(known[name], sep="\t" if tabs else ",")
        return frame

    def __iter__(self):
        return iter(tables())

    def keys(self):
        return tables().keys()

    def values(self):
        return [self[name] for name in tables()]

    def items(self):
        return [(name, self[name]) for name in tables()]

    def __len__(self):
        return len(tables())

    def __contains__(self, name):
        return name in tables()


dfs = Frames()


def check(statement):
    """The one statement, parsed by DuckDB itself. Raises SqlRefused with the reason."""
    import duckdb

    parsed = duckdb.extract_statements(statement)
    if len(parsed) > 1:
        raise SqlRefused("Multiple SQL statements are not allowed.")
    if not parsed or parsed[0].type not in (
        duckdb.StatementType.SELECT,
        duckdb.StatementType.EXPLAIN,
        duckdb.StatementType.RELATION,
    ):
        raise SqlRefused("Only SELECT/WITH queries are allowed.")
    words = duckdb.tokenize(statement)
    ends = [start for start, _ in words[1:]] + [len(statement)]
    pieces = [statement[start:end].strip() for (start, _), end in zip(words, ends)]
    for before, piece, after in zip(["", *pieces], pieces, [*pieces[1:], ""]):
        word = piece.lower().strip('"')
        reads = re.fullmatch(r"(read|sniff|scan)_\w+|\w+_scan|glob|query(_table)?", word)
        tells = re.fullmatch(r"duckdb_\w+|pragma_\w+|getenv|current_setting|which_secret", word)
        if after.startswith("(") and (reads or tells) and word not in WITHIN_TABLES:
            raise SqlRefused(f"SQL contains blocked token: {word}")
        if piece.startswith("'") and before.lower() in ("from", "join"):
            raise SqlRefused(f"SQL contains blocked token: {piece}; name a table, not a file")
    return parsed[0]


def connect(statement):
    """A database in memory with the tables that the statement mentions, and locked after that."""
    import duckdb

    database = duckdb.connect()
    words = {word.lower() for word in re.findall(r"\w+", statement)}
    for name, path in tables().items():
        if name.lower() in words:
            quoted = path.replace("'", "''")
            database.execute(f'CREATE TABLE "{name}" AS SELECT * FROM read_csv_auto(\'{quoted}\')')
    for setting in (
        "enable_external_access=false",
        "autoinstall_known_extensions=false",
        "autoload_known_extensions=false",
        "python_enable_replacements=false",
        "allow_community_extensions=false",
        "lock_configuration=true",
    ):
        database.execute(f"SET {setting}")
    return database


def sql(statement):
    """A query over the CSV files in /data, as a data frame."""
    return connect(statement).execute(check(statement)).df()


query = sql  # what a cell in SQL is


# --- a whole script in SQL ------------------------------------------------------------------------


def as_json(value):
    """A cell of a result as JSON has it: NaN and infinities are null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {str(key): as_json(each) for key, each in value.items()}
    if type(value).__name__ == "Decimal":
        return as_json(float(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def number(name, otherwise, least, most):
    text = os.environ.get(name, "")
    return min(max(int(text), least), most) if text.isdigit() else otherwise


def execute(statement):
    """The answer to a statement as a dict: columns, rows, row_count, error."""
    import duckdb

    began = time.monotonic()
    told = {"status": "success", "columns": [], "rows": [], "row_count": 0, "exec_time_ms": 0}
    told |= {"stdout_trunc": False, "stderr_trunc": False, "error": None}
    try:
        parsed = check(statement)
        database = connect(statement)
        result = database.execute(parsed)
        most = number("MAX_ROWS", ROWS, 1, ROWS_MOST)
        rows = [[as_json(value) for value in row] for row in result.fetchmany(most + 1)]
        told["columns"] = [column[0] for column in result.description]
        told["stdout_trunc"] = len(rows) > most
        told["rows"] = rows[:most]
    except SqlRefused as refused:
        told["error"] = {"type": "SQL_POLICY_VIOLATION", "message": str(refused)}
    except ValueError as fault:
        told["error"] = {"type": "VALIDATION_ERROR", "message": str(fault)}
    except (duckdb.Error, MemoryError) as fault:
        told["error"] = {"type": "SQL_EXECUTION_ERROR", "message": str(fault)}
    if told["error"]:
        told["status"] = "error"
    told["row_count"] = len(told["rows"])
    told["exec_time_ms"] = round((time.monotonic() - began) * 1000)
    return told


def fit(told, most):
    """The answer as JSON of at most so many bytes: rows are dropped from the end."""
    rows, text = told["rows"], json.dumps(told, ensure_ascii=False)
    while len(text.encode()) > most and rows:
        over = len(text.encode()) / most
        del rows[min(int(len(rows) / over), len(rows) - 1) :]
        told["row_count"], told["stdout_trunc"] = len(rows), True
        text = json.dumps(told, ensure_ascii=False)
    return text


def answer(statement):
    """A script in SQL: its answer is one line of JSON; the status is 1 where it failed."""
    told = execute(statement)
    print(fit(told, number("MAX_OUTPUT_BYTES", BYTES, 1025, 1_000_000)))
    if told["error"]:
        print(f"{told['error']['type']}: {told['error']['message']}", file=sys.stderr)
        raise SystemExit(1)
