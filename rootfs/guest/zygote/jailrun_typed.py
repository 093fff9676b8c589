"""Values as data: numbers, tables, lists as JSON with their types named; whole tables as Arrow.

typed() gives {"type": one of none, boolean, number, string, list, dict, dataframe, series, plot,
object; "value": …}. Where needed also
    python    the class, for what JSON has no type for
    special   why a number's value is null: "nan", "inf", "-inf", "big" (its digits are in "text")
    text      all digits of a number that is no float: Decimal, Fraction, big int
    cut       what was left out
A table has "value": {"columns", "index", "data"} as orient="split" of pandas, "schema", "shape" of
the whole, "index" (about the rows' labels). No value has NaN in it: null is in its place.
"""

import sys

import jailrun_tables as tables
from jailrun_text import DEFAULT, clean, describe, name_of, say, shorten
from jailrun_values import CELL, LARGEST, LISTS, SMALLEST, Budget
from jailrun_values import is_array, nested, number, scalar, text_of

# Their value names the body of bundle(), or of figures(), that shows them.
PLOTS = (
    ("matplotlib.figure", "Figure", "image/png"),
    ("matplotlib.axes", "Axes", "image/png"),
    ("PIL.Image", "Image", "image/png"),
    ("plotly.basedatatypes", "BaseFigure", "application/vnd.plotly.v1+json"),
    ("altair", "TopLevelMixin", None),
    ("seaborn.axisgrid", "Grid", "image/png"),
    ("seaborn._core.plot", "Plot", "image/png"),
)


def _plot(value):
    for module, name, mime in PLOTS:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(value, kind):
            return {"type": "plot", "value": mime or vega_mime()}
    return None


def vega_mime():
    """Of the charts of this altair: 5 writes Vega-Lite 5, 6 writes Vega-Lite 6."""
    version = getattr(sys.modules.get("altair"), "SCHEMA_VERSION", "v5")
    return f"application/vnd.vegalite.{version.partition('.')[0]}+json"


def typed(value, caps=DEFAULT, text=None):
    """The value as data. `text`: its text/plain, if bundle() has asked for its repr already."""
    kind = type(value)
    if kind is int and SMALLEST <= value <= LARGEST:
        return {"type": "number", "value": value}
    if kind is float:
        return number(value)
    if value is None:
        return {"type": "none", "value": None}
    if kind is bool:
        return {"type": "boolean", "value": value}
    try:
        told = _told(value, kind, caps)
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # a subclass that breaks what its base promises
        told = {"type": "object", "cut": [f"not read: {describe(fault)}"]}
    if told["type"] == "object" and "value" not in told:
        told["value"] = shorten(say(value) if text is None else text, min(caps.text, caps.bytes))[0]
        told["python"] = name_of(kind)
    return told


def _told(value, kind, caps):
    budget = Budget(caps, caps.bytes, tables.told)
    if isinstance(value, str):
        told = {"type": "string", "value": text_of(value, budget)}
    elif (told := scalar(value)) is not None:
        told = dict(told)
    elif isinstance(value, LISTS) or is_array(value):
        budget.cell = caps.text
        told = {"type": "list", "value": nested(value, budget)}
        if kind is not list and is_array(value):
            told |= {"shape": list(value.shape), "dtype": clean(str(value.dtype))}
    elif isinstance(value, dict):
        budget.cell = caps.text
        told = {"type": "dict", "value": nested(value, budget)}
    else:
        budget.cell = CELL
        budget.inside.add(id(value))
        told = tables.told(value, budget) or _plot(value) or {"type": "object"}
    if kind not in (int, str, list, dict):
        told.setdefault("python", name_of(kind))
    if cut := budget.cut():
        told["cut"] = cut
    return told


# What pandasai's parser takes for each type that a script may declare.
DECLARED = {
    "number": ("number",),
    "string": ("string",),
    "dataframe": ("dataframe", "series", "dict"),
    "plot": ("plot", "string", "dict"),
}


def declared(result, caps=DEFAULT):
    """A script's variable `result`: {"type": …, "value": …} told with the type it declares.

    {"declared": "dataframe", "fits": whether the value is that, and all of typed(value)}. A value
    that declares nothing is told as it is.
    """
    if not (isinstance(result, dict) and set(result) == {"type", "value"}):
        return typed(result, caps)
    kind = result["type"]
    if not (isinstance(kind, str) and kind in DECLARED):
        return typed(result, caps)
    told = typed(result["value"], caps)
    return {"declared": clean(kind), "fits": told["type"] in DECLARED[kind], **told}
