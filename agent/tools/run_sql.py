"""Runs one query of DuckDB over the data files, which become tables. Runs inside a jail."""


def _run_sql(sources, sql, most_rows, most_bytes, as_json):
    import csv
    import os
    import re

    import duckdb

    large = 64 << 20  # read where it lies, not copied into memory

    def literal(text):
        return "'" + text.replace("'", "''") + "'"

    def known_reader(connection, name, source):
        """By the types of a registry, where the file has those columns and keeps to them."""
        path, columns = "/data/" + source["file"], source["columns"]
        if not columns or not source["plain"] or os.path.getsize(path) > large:
            return False
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            try:
                header = next(csv.reader(file, delimiter=source["separator"]), [])
            except csv.Error:
                return False
        if header != list(columns):
            return False
        types = ", ".join(f"{literal(column)}: {literal(kind)}" for column, kind in columns.items())
        options = f"delim={literal(source['separator'])}, header=true, quote='\"', escape='\"'"
        reader = f"read_csv({literal(path)}, {options}, auto_detect=false, columns={{{types}}})"
        try:
            connection.execute(f'create table "{name}" as select * from {reader}')
        except duckdb.Error:
            return False
        return True

    def own_reader(connection, name, source):
        """What DuckDB reads itself; False: pandas is to read it as it was described."""
        path, how = "/data/" + source["file"], source["format"]
        size = os.path.getsize(path)
        if how == "csv" and source["plain"]:
            options = f"delim={literal(source['separator'])}, header=true"
            options += "" if size > large else ", sample_size=-1"
            reader = f"read_csv_auto({literal(path)}, {options})"
        elif how == "parquet":
            reader = f"read_parquet({literal(path)})"
        else:
            return False
        try:
            kind = "view" if size > large else "table"
            connection.execute(f'create {kind} "{name}" as select * from {reader}')
        except duckdb.Error:
            if how == "parquet" or size > large:
                raise
            return False
        return True

    def load(connection, name, source):
        if known_reader(connection, name, source) or own_reader(connection, name, source):
            return
        import sqlite3

        import pandas as pd

        frame = source["read"](pd, sqlite3)
        frame.columns = [str(column) for column in frame.columns]
        connection.register("_frame", frame)
        try:
            connection.execute(f'create table "{name}" as select * from _frame')
        except duckdb.Error:  # cells of several types in one column
            for column in frame.select_dtypes("object"):
                frame[column] = frame[column].map(str, na_action="ignore")
            connection.register("_frame", frame)
            connection.execute(f'create table "{name}" as select * from _frame')
        connection.unregister("_frame")

    def qualify(connection, name):
        """support.tickets is tickets, whatever data set the query names."""
        for outer in set(re.findall(rf'(\w+)"?\s*\.\s*"?{name}\b', sql, re.IGNORECASE)):
            try:
                connection.execute(f'create schema if not exists "{outer}"')
                connection.execute(f'create view "{outer}"."{name}" as select * from main."{name}"')
            except duckdb.Error:
                pass  # a schema of DuckDB's own

    def lock(connection):
        """From here on a query sees the tables and nothing else, and cannot change that."""
        paths = ", ".join("'/data/" + source["file"] + "'" for source in sources.values())
        for setting in (
            f"threads = {max(1, int(os.environ.get('PYTHON_CPU_COUNT') or 1))}",
            f"allowed_paths = [{paths}]",
            "autoload_known_extensions = false",
            "autoinstall_known_extensions = false",
            "allow_community_extensions = false",
            "python_enable_replacements = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute("set " + setting)

    def fetch(connection):
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type.name not in ("SELECT", "EXPLAIN"):
            raise SystemExit("one SELECT is wanted: the tables can be read and not changed")
        result = connection.execute(statements[0])
        rows = result.fetchmany(most_rows + 1)
        return [column[0] for column in result.description], rows[:most_rows], len(rows) > most_rows

    def show(columns, rows, more):
        import pandas as pd

        def short(value):
            return value[:999] + "…" if isinstance(value, str) and len(value) > 1000 else value

        rows = [[short(value) for value in row] for row in rows]
        print(pd.DataFrame(rows, columns=columns).to_markdown(index=False))
        shown = f"more than {most_rows} rows, the first {most_rows} shown"
        print(f"\n{shown if more else f'{len(rows)} rows'}")

    def tell(columns, rows, more):
        import json

        from jailrun_csv import as_json as plain

        told = [[plain(value) for value in row] for row in rows]
        sizes, total = [len(json.dumps(row, ensure_ascii=False).encode()) + 2 for row in told], 0
        for kept, size in enumerate([*sizes, 0]):
            total += size
            if total > most_bytes:
                break
        answer = {"columns": columns, "rows": told[:kept], "truncated": more or kept < len(told)}
        print(json.dumps(answer, ensure_ascii=False, allow_nan=False))

    words = {word.lower() for word in re.findall(r"\w+", sql)}
    connection = duckdb.default_connection()  # is there already, with the jail's limits
    try:
        for name, source in sources.items():
            if name.lower() in words:
                load(connection, name, source)
                qualify(connection, name)
        lock(connection)
        answer = fetch(connection)
    except duckdb.Error as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
    (tell if as_json else show)(*answer)
