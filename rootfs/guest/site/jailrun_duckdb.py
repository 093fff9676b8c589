"""DuckDB as large as the jail: memory and spill directory from the policy's environment.

Values that a caller of `duckdb.connect(config=...)` gives win; without the variables nothing changes.
"""

import functools
import os


def _limits():
    limits = {}
    if memory := os.environ.get("JAILRUN_DUCKDB_MEMORY_BYTES"):
        limits["memory_limit"] = f"{int(memory)}B"
    if spill := os.environ.get("JAILRUN_DUCKDB_TEMP"):
        limits["temp_directory"] = spill
    return limits


def sized(connect):
    """`duckdb.connect` with the jail's limits as defaults."""

    @functools.wraps(connect)
    def sized_connect(database=":memory:", read_only=False, config=None):
        return connect(database, read_only, {**_limits(), **(config or {})})

    return sized_connect


def size_default(set_default_connection, connect):
    """Gives the module's own connection (`duckdb.sql(...)`) the same limits."""
    if _limits():
        set_default_connection(connect())
