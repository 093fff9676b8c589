"""Runs one query of DuckDB over the data files, which become tables. Runs inside a jail."""


def _run_sql(sources, sql, most_rows):
    import duckdb
    import pandas as pd

    def load(connection, name, source):
        path, how = "/data/" + source["file"], source["format"]
        if how == "csv" and source["encoding"] in ("utf-8", "utf-8-sig"):
            return connection.execute(
                f'create table "{name}" as select * from read_csv_auto(?, delim=?)',
                [path, source["separator"]])
        if how == "parquet":
            return connection.execute(f'create table "{name}" as select * from read_parquet(?)', [path])
        if how == "csv":
            frame = pd.read_csv(path, sep=source["separator"], encoding=source["encoding"], low_memory=False)
        elif how == "excel":
            frame = pd.read_excel(path, sheet_name=source["table"])
        elif how == "sqlite":
            import sqlite3

            quoted = source["table"].replace('"', '""')
            base = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
            frame = pd.read_sql(f'select * from "{quoted}"', base)
            base.close()
        else:
            frame = pd.read_json(path, lines=how == "jsonl")
        connection.register("_frame", frame)
        connection.execute(f'create table "{name}" as select * from _frame')
        return connection.unregister("_frame")

    connection = duckdb.connect()
    try:
        for name, source in sources.items():
            load(connection, name, source)
        # From here on a query sees the tables and nothing else, and cannot change that.
        connection.execute("set autoload_known_extensions = false")
        connection.execute("set autoinstall_known_extensions = false")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type.name not in ("SELECT", "EXPLAIN"):
            raise SystemExit("one SELECT is wanted: the tables can be read and not changed")
        frame = connection.execute(statements[0]).df()
    except duckdb.Error as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
    finally:
        connection.close()
    print(frame.head(most_rows).to_markdown(index=False))
    print(f"\n{len(frame)} rows" + (f", the first {most_rows} shown" if len(frame) > most_rows else ""))
