"""Tables: the first rows as JSON with all that is known of the columns, or all of it as Arrow."""

import sys
import warnings

from jailrun_text import clean, describe, name_of, say, shorten
from jailrun_values import label_of, label_text, list_of, shown


def _name(dtype):
    """An Enum of polars has all of its values in it."""
    return shorten(clean(str(dtype)), 200)[0]


def _table(kind, library, rows, total_rows, columns, data, index, about, budget):
    """`columns`: all schema entries that are shown; `data`: their values, by column."""
    names = [column["name"] for column in columns]
    value = {"index": index, "data": [list(row) for row in zip(*data)] or [[] for _ in range(rows)]}
    if kind == "series":
        value = {"name": names[0], "index": index, "data": data[0]}
    else:
        value["columns"] = names
    shape = [total_rows] if kind == "series" else [total_rows, about.pop("total_columns")]
    budget.nodes -= rows * len(columns)
    budget.bytes -= rows * len(columns) * 8
    if rows < total_rows:
        budget.note(f"rows: the first {rows} of {total_rows}")
    if kind == "dataframe" and len(columns) < shape[1]:
        budget.note(f"columns: the first {len(columns)} of {shape[1]}")
    told = {"type": kind, "value": value, "python": library, "schema": columns, "shape": shape}
    return {**told, **about}


def _pandas_column(label, series, budget):
    column = {"name": label_of(label, budget), "dtype": _name(series.dtype)}
    categories = getattr(series.dtype, "categories", None)
    if categories is not None:
        column["ordered"] = bool(series.dtype.ordered)
        column["categories"] = [shown(one, budget) for one in categories[:50].tolist()]
        if len(categories) > 50:
            budget.note(f"categories of {column['name']}: the first 50 of {len(categories)}")
    return column, [shown(one, budget) for one in series.tolist()]


def _pandas_index(index):
    levels = [index.get_level_values(i) for i in range(index.nlevels)]
    return {
        "names": [None if name is None else label_text(name) for name in index.names],
        "dtypes": [_name(level.dtype) for level in levels],
    }


def _pandas(value, caps, budget, pandas):
    kind = "series" if isinstance(value, pandas.Series) else "dataframe"
    head = value.iloc[: caps.rows]
    about = {"index": _pandas_index(head.index)}
    if kind == "series":
        pairs = [(None, head)]
    else:
        head = head.iloc[:, : caps.columns]
        about["total_columns"] = value.shape[1]
        if head.columns.nlevels > 1 or head.columns.name is not None:
            about["columns"] = _pandas_index(head.columns)
        # By position: labels may be there twice.
        pairs = [(label, head.iloc[:, i]) for i, label in enumerate(head.columns)]
    both = [_pandas_column(label, series, budget) for label, series in pairs]
    if kind == "series":
        both[0][0]["name"] = None if head.name is None else label_of(head.name, budget)
    index = [shown(label, budget) for label in head.index.tolist()]
    columns, data = [column for column, _ in both], [cells for _, cells in both]
    name = name_of(type(value))
    return _table(kind, name, len(head), len(value), columns, data, index, about, budget)


def _polars(value, caps, budget, polars):
    kind = "series" if isinstance(value, polars.Series) else "dataframe"
    frame = value.to_frame() if kind == "series" else value
    head = frame.head(caps.rows)[:, : caps.columns]
    columns = [{"name": label_of(n, budget), "dtype": _name(t)} for n, t in head.schema.items()]
    return _columnar(value, kind, frame.shape, columns, head, lambda one: one.to_list(), budget)


def _arrow_shown(value, caps, budget, pyarrow):
    tables = (pyarrow.Table, pyarrow.RecordBatch)
    kind = "dataframe" if isinstance(value, tables) else "series"
    table = value if kind == "dataframe" else pyarrow.table({"": value})
    head = table.slice(0, caps.rows).select(range(min(caps.columns, table.num_columns)))
    fields = [head.schema.field(i) for i in range(head.num_columns)]
    columns = [{"name": label_of(one.name, budget), "dtype": _name(one.type)} for one in fields]
    head = [head.column(i) for i in range(head.num_columns)]
    shape = (table.num_rows, table.num_columns)
    return _columnar(value, kind, shape, columns, head, lambda one: one.to_pylist(), budget)


def _columnar(value, kind, shape, columns, head, values, budget):
    """polars and pyarrow: no labels of rows."""
    data = [[shown(one, budget) for one in values(column)] for column in head]
    rows = len(data[0]) if data else 0
    about = {"total_columns": shape[1], "index": {"names": [None], "dtypes": ["int64"]}}
    if kind == "series":
        del about["total_columns"]
    name = name_of(type(value))
    index = list(range(rows))
    return _table(kind, name, rows, shape[0], columns, data, index, about, budget)


def told(value, budget):
    """A table of a library that is loaded; None for anything else."""
    caps = budget.caps
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    pyarrow = sys.modules.get("pyarrow")
    if pandas and isinstance(value, (pandas.DataFrame, pandas.Series)):
        return _pandas(value, caps, budget, pandas)
    if polars and isinstance(value, (polars.DataFrame, polars.Series)):
        return _polars(value, caps, budget, polars)
    kinds = ("Table", "RecordBatch", "Array", "ChunkedArray")
    if pyarrow and isinstance(value, tuple(getattr(pyarrow, kind) for kind in kinds)):
        return _arrow_shown(value, caps, budget, pyarrow)
    if pandas and isinstance(value, pandas.Index):
        return {"type": "list", "value": list_of(value, budget), "dtype": _name(value.dtype)}
    return None


# --- whole tables ---------------------------------------------------------------------------


def arrow(value, notes=None):
    """A whole table as an Arrow IPC stream, bytes-like. TypeError if it is no table.

    `notes` gets what could not be kept as it was: renamed columns, values that became text.
    """
    notes = [] if notes is None else notes
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if polars and isinstance(value, polars.Series):
        value = value.to_frame()
    if polars and isinstance(value, polars.DataFrame):
        # The oldest form: readers without string views can read it too.
        oldest = polars.CompatLevel.oldest()
        return value.write_ipc_stream(None, compat_level=oldest).getbuffer()

    import pyarrow  # dear: only who asks for a whole table pays for it

    if pandas and isinstance(value, pandas.Series):
        value = value.to_frame("0" if value.name is None else value.name)
    if pandas and isinstance(value, pandas.DataFrame):
        value = _arrow_of(value, pandas, pyarrow, notes)
    elif isinstance(value, pyarrow.RecordBatch):
        value = pyarrow.Table.from_batches([value])
    elif isinstance(value, (pyarrow.Array, pyarrow.ChunkedArray)):
        value = pyarrow.table({"0": value})
    elif not isinstance(value, pyarrow.Table) and hasattr(
        type(value), "__arrow_c_stream__"
    ):  # a relation of duckdb
        value = pyarrow.table(value)
    if not isinstance(value, pyarrow.Table):
        raise TypeError(f"{name_of(type(value))} is no table: give a DataFrame or a Series")
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, value.schema) as stream:
        stream.write_table(value)
    return memoryview(sink.getvalue())


def _arrow_of(frame, pandas, pyarrow, notes):
    with warnings.catch_warnings(action="ignore"):  # of names that are no text: they become it
        levels = [frame.index.get_level_values(i) for i in range(frame.index.nlevels)]
        try:
            for column in (*(frame.iloc[:, i] for i in range(frame.shape[1])), *levels):
                _check_mixture(column)
            return pyarrow.Table.from_pandas(frame)
        except KeyboardInterrupt:
            raise
        except Exception:  # mixed types in a column, a name twice: all else is kept
            return pyarrow.Table.from_pandas(_repaired(frame, pandas, pyarrow, notes))


def _repaired(frame, pandas, pyarrow, notes):
    """The same frame with columns, and labels of rows, that Arrow can hold."""
    columns, labels = {}, frame.columns
    frame = frame.set_axis(range(len(labels)), axis=1)  # a label may be no name of a column
    for place, label in enumerate(labels):
        name = wanted = label_text(label)
        number = 0
        while name in columns:
            number += 1
            name = f"{wanted}.{number}"
        if name != wanted:
            notes.append(f"arrow: a second column {wanted!r} is named {name!r}")
        columns[name] = _convertible(frame.iloc[:, place], name, pyarrow, notes)
    levels = []
    for place, name in enumerate(frame.index.names):
        level = frame.index.get_level_values(place).to_series(index=range(len(frame)))
        level = _convertible(level, f"index {place}", pyarrow, notes)
        name = None if name is None else label_text(name)
        levels.append(pandas.Index(level, name=None if name in columns else name))
    index = levels[0] if len(levels) == 1 else pandas.MultiIndex.from_arrays(levels)
    values = {name: column.set_axis(index) for name, column in columns.items()}
    return pandas.DataFrame(values, index=index)


def _kinds(values, numpy, depth=0):
    """The types of all values, those in lists and dicts too."""
    if depth > 16:
        raise TypeError("nested too deeply")
    kinds = set(map(type, values))
    if any(issubclass(kind, (list, tuple, dict, set, frozenset, numpy.ndarray)) for kind in kinds):
        for value in values:
            if isinstance(value, dict):
                kinds |= _kinds(value.values(), numpy, depth + 1)
            elif isinstance(value, numpy.ndarray) and value.dtype != object:
                kinds.add(value.dtype.type)
            elif isinstance(value, (list, tuple, set, frozenset, numpy.ndarray)):
                kinds |= _kinds(value, numpy, depth + 1)
    return kinds


def _check_mixture(column):
    """pyarrow 26 dies of a np.datetime64 that comes before another scalar of numpy."""
    if column.dtype == object:
        numpy = sys.modules["numpy"]
        kinds = _kinds(column.to_numpy(), numpy)
        if numpy.datetime64 in kinds and sum(issubclass(kind, numpy.generic) for kind in kinds) > 1:
            raise TypeError("scalars of numpy of different types")


def _convertible(series, name, pyarrow, notes):
    try:
        _check_mixture(series)
        pyarrow.Array.from_pandas(series)
        return series
    except KeyboardInterrupt:
        raise
    except Exception as fault:
        notes.append(f"arrow: {name!r} as text, {describe(fault)}")
    gone = series.isna().to_numpy()
    values = [
        None if missing else clean(value) if isinstance(value, str) else say(value)
        for value, missing in zip(series.tolist(), gone)
    ]
    return type(series)(values, index=series.index, dtype=object)
