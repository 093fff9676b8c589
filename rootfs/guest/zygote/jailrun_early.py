"""DuckDB imported ahead of the fork, and its own database opened ahead of it too.

An open database has threads, which no child would have, and the package opens one as soon as it
knows the policy's limits: the zygote imports it without them (HELD), and then opens that database
with no thread. A child that comes to use it gets a connection of its own, whose random numbers
are nobody else's, and as many threads as it has CPUs. Whoever does not use it pays nothing.
"""

import os
import sys
import types

# Not set while the zygote imports.
HELD = ("JAILRUN_DUCKDB_MEMORY_BYTES", "JAILRUN_DUCKDB_TEMP")

NO_THREADS = {"threads": 1, "async_threads": 0}

QUERIES = (
    "create table t as select * from read_csv_auto('{path}', delim=',', header=true)",
    "select * from t order by 1 limit 1",
    "select s, count(*) as n, min(x), max(x), avg(x) from t group by 1 order by n desc, 1 limit 5",
    "select count(distinct s) from t where x > 1 and s like 'a%'",
)

# These leave it alone for sure.
OTHERS = {"connect", "set_default_connection", "__getattr__"}

opened = []  # the database


class Waiting(types.ModuleType):
    """The package until a function is looked up that may use its own database."""

    def __getattribute__(self, name):
        if name in uses:
            self.__class__ = types.ModuleType
            own = opened.pop().cursor()
            if (cpus := len(os.sched_getaffinity(0))) > 1:
                own.execute(f"set threads = {cpus}")
            self.set_default_connection(own)
        return types.ModuleType.__getattribute__(self, name)


Waiting.__name__, Waiting.__module__ = "module", "builtins"
uses = set()


def rehearse(duckdb):
    """What a query writes for ever is written once, and not by every child."""
    file = os.memfd_create("rehearsal")
    os.write(file, b"s,x,at\n" + b"".join(b"a%d,%d.5,2024-01-02\n" % (i, i) for i in range(100)))
    database = duckdb.connect(config=NO_THREADS)
    for query in QUERIES:
        database.execute(query.format(path=f"/proc/self/fd/{file}")).fetchall()
    database.close()
    os.close(file)


def start():
    """In the zygote, the policy's variables set."""
    duckdb = sys.modules.get("duckdb")
    if duckdb is None:
        return
    rehearse(duckdb)
    for name, what in vars(duckdb).items():
        if callable(what) and not isinstance(what, type) and name not in OTHERS:
            uses.add(name)
    opened.append(duckdb.connect(config=NO_THREADS))
    duckdb.__class__ = Waiting
