"""Values within results, as JSON has them: scalars of all libraries, lists, dicts, arrays.

There is no NaN in what comes out: null is in its place. All of it is bounded by a Budget.
"""

import collections
import datetime
import decimal
import fractions
import math
import pathlib
import sys
import uuid

from jailrun_text import DEFAULT, clean, name_of, say, shorten, size

NODES = 20_000  # values in one list or dict, at any depth
DEPTH = 32
CELL = 4096  # bytes of one text in a table
SMALLEST, LARGEST = -(1 << 63), (1 << 64) - 1  # what readers of JSON keep exactly as integers
NULL = {"type": "none", "value": None}


LISTS = (list, tuple, set, frozenset, range, collections.deque)
LISTS += (type({}.keys()), type({}.values()), type({}.items()))


class Budget:
    """What is left to spend on one value, and what was cut when it ran out."""

    __slots__ = ("bytes", "caps", "cell", "inside", "nodes", "notes", "shortened", "table")

    def __init__(self, caps, cell, table=None):
        self.caps, self.table = caps, table  # table(value, budget): for tables within, or None
        self.bytes, self.cell, self.nodes = caps.bytes, cell, NODES
        self.inside, self.notes, self.shortened = set(), [], 0

    def note(self, text):
        if len(self.notes) < 20:
            self.notes.append(text)

    def cut(self):
        if self.shortened:
            self.note(f"{self.shortened} texts cut to {size(self.cell)} or to what was left")
        return self.notes


def text_of(value, budget):
    value = clean(value[: budget.cell + 1] if len(value) > budget.cell else value)
    text, cut = shorten(value, min(budget.cell, max(budget.bytes, 0)))
    budget.bytes -= len(text) + 2
    budget.shortened += cut
    return text


def number(value):
    """A float, or null and why."""
    if math.isfinite(value):
        return {"type": "number", "value": value}
    special = "nan" if value != value else "inf" if value > 0 else "-inf"
    return {"type": "number", "value": None, "special": special}


def _integer(value):
    if SMALLEST <= value <= LARGEST:
        return {"type": "number", "value": value}
    # Decimal digits are quadratic, and refused beyond 4300 of them.
    text = str(value) if value.bit_length() < 13_000 else shorten(f"{value:#x}", 64 << 10)[0]
    return {"type": "number", "value": None, "special": "big", "text": text}


def _exact(value):
    """Decimal and Fraction: the nearest float, and all digits as text."""
    try:
        told = number(float(value))
    except (OverflowError, ValueError):  # Fraction(10**400); a signalling NaN
        told = {"type": "number", "value": None, "special": "big"}
    if isinstance(value, decimal.Decimal):
        if value.is_nan():  # a signalling one becomes no float
            told["special"] = "nan"
        elif value.is_finite() and told["value"] is None:
            told["special"] = "big"
    return {**told, "text": shorten(str(value), CELL)[0]}


def _duration(value):
    """ISO 8601, as pandas writes it."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    hours, rest = divmod(value.seconds, 3600)
    fraction = f".{value.microseconds:06}" if value.microseconds else ""
    return f"P{value.days}DT{hours}H{rest // 60}M{rest % 60}{fraction}S"


def _numpy_scalar(value, numpy):
    if isinstance(value, numpy.bool_):
        return {"type": "boolean", "value": bool(value)}
    if isinstance(value, numpy.integer) and not isinstance(value, numpy.timedelta64):
        return _integer(int(value))
    if isinstance(value, numpy.floating):
        return number(float(value))
    if isinstance(value, (numpy.datetime64, numpy.timedelta64)):
        if numpy.isnat(value):
            return NULL
        pandas = sys.modules.get("pandas")
        if pandas and isinstance(value, numpy.timedelta64):
            value = pandas.Timedelta(value).isoformat()
        return {"type": "string", "value": str(value)}
    return None


def scalar(value):
    """What is one value, though no exact int, float, str, bool or None; None if it is not."""
    if isinstance(value, str):
        return {"type": "string", "value": clean(value)}
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic) and not isinstance(value, bytes):
        return _numpy_scalar(value, numpy)
    if isinstance(value, int):
        return _integer(int.__index__(value))
    if isinstance(value, float):
        return number(float.__float__(value))
    if isinstance(
        value, (datetime.date, datetime.time)
    ):  # a Timestamp is a datetime, and so is NaT
        if value != value:
            return NULL
        return {"type": "string", "value": value.isoformat()}
    if isinstance(value, datetime.timedelta):
        return NULL if value != value else {"type": "string", "value": _duration(value)}
    if isinstance(value, (decimal.Decimal, fractions.Fraction)):
        return _exact(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {
            "type": "object",
            "value": f"{type(value).__name__}, {size(memoryview(value).nbytes)}",
        }
    if isinstance(value, (uuid.UUID, pathlib.PurePath)):
        return {"type": "string", "value": clean(str(value))}
    module, name = type(value).__module__, type(value).__name__
    if isinstance(module, str) and module.startswith("pandas."):
        if name in ("NaTType", "NAType"):
            return NULL
        if name in ("Period", "Interval"):
            return {"type": "string", "value": clean(str(value))}
    return None


def shown(value, budget):
    """A value within another one, as JSON has it."""
    kind = type(value)
    if kind is str:
        return text_of(value, budget)
    if value is None or kind is bool:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is int and SMALLEST <= value <= LARGEST:
        return value
    if kind in (list, tuple, dict):
        return nested(value, budget)
    one = scalar(value)
    if one is not None:
        value = one["value"] if one["value"] is not None else one.get("text")
        return text_of(value, budget) if type(value) is str else value
    if isinstance(value, (dict, *LISTS)) or is_array(value):
        return nested(value, budget)
    if budget.table and id(value) not in budget.inside and len(budget.inside) < 4:
        budget.inside.add(id(value))  # a frame may have itself in a cell
        try:
            if (table := budget.table(value, budget)) is not None:
                return table
        finally:
            budget.inside.discard(id(value))
    return text_of(say(value), budget)


def is_array(value):
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def nested(value, budget):
    if id(value) in budget.inside:
        budget.note(f"{name_of(type(value))}: contains itself, null there")
        return None
    if len(budget.inside) >= DEPTH:
        budget.note(f"{name_of(type(value))}: null below a depth of {DEPTH}")
        return None
    budget.inside.add(id(value))
    try:
        if is_array(value):
            return _array(value, budget)
        return dict_of(value, budget) if isinstance(value, dict) else list_of(value, budget)
    finally:
        budget.inside.discard(id(value))


def list_of(value, budget):
    items = []
    for item in value:
        if budget.nodes <= 0 or budget.bytes <= 0:
            budget.note(f"{name_of(type(value))}: the first {len(items)} of {len(value)} elements")
            break
        budget.nodes -= 1
        budget.bytes -= 8
        items.append(shown(item, budget))
    return items


def dict_of(value, budget):
    items = {}
    for key, item in dict.items(value):
        if budget.nodes <= 0 or budget.bytes <= 0:
            budget.note(f"{name_of(type(value))}: the first {len(items)} of {len(value)} entries")
            break
        budget.nodes -= 1
        budget.bytes -= 8
        name = label_of(key, budget)
        if name in items:  # 1 and "1": JSON has only the one
            name = f"{name} ({type(key).__name__})"
        items[name] = shown(item, budget)
    return items


def _array(value, budget):
    """An ndarray as nested lists: of each row as much as possible, then of the rows."""
    if not value.ndim:
        return shown(value.item(), budget)
    nodes = budget.nodes if value.ndim == 1 else budget.nodes // 2  # each row counts as one too
    room, part = max(min(nodes, budget.bytes // 8), 1), []
    for length in reversed(value.shape):
        part.insert(0, slice(min(length, room)))
        room = max(room // max(length, 1), 1)
    head = value[tuple(part)]
    if head.shape != value.shape:
        budget.note(f"ndarray: {head.shape} of {value.shape}")
    if head.dtype.kind in "Mm":  # tolist() makes integers of nanoseconds
        head = head.astype(str).astype(object)
        head[head == "NaT"] = None
    return list_of(head.tolist(), budget)


def _level(label):
    """A number stays one."""
    one = scalar(label)
    return label if one is None or one["value"] is None else one["value"]


def label_text(label):
    """The name of a column, or a key, as text; of any length."""
    if isinstance(label, str):
        return clean(label)
    if type(label) is tuple:  # of several levels
        return say(tuple(_level(one) for one in label))
    one = scalar(label)
    value = one["value"] if one and one["type"] != "object" else None
    return say(label) if value is None else str(value)


def label_of(label, budget):
    return text_of(label_text(label), budget)


def plain_json(value, caps=DEFAULT):
    """Anything as something that json.dumps() takes."""
    return shown(value, Budget(caps, caps.bytes))
