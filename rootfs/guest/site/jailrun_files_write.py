"""Writes a value to a file by type and extension, for jailrun_files.save."""

import os

import jailrun_files_tables as tables
from jailrun_files_plain import is_a, is_table, module_of, write_bytes, write_joblib, write_json
from jailrun_files_plain import write_jsonl, write_pickle, write_text, write_toml, write_yaml

TABLE_KINDS = " ".join([*tables.ONE, "pickle", "pkl"])
IMAGES = "png jpg jpeg gif bmp tif tiff webp svg pdf eps"


def save(obj, name, work, options):
    value = plain_value(obj)
    path = place(name, work)
    kind = os.path.splitext(path)[1][1:].lower()
    if not kind:
        kind = default_kind(value)
        path += "." + kind
    write = writer(value, kind)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # The extension stays last: some writers go by it.
    folder, base = os.path.split(path)
    part = os.path.join(folder, f".{os.getpid()}.part.{kind}")
    try:
        write(value, part, options, os.path.splitext(base)[0])
        os.replace(part, path)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)
        raise
    return path


def place(name, work):
    path = os.path.normpath(os.path.join(work, name))
    if (
        "\0" in name
        or path == work
        or not path.startswith((work + "/", "/tmp/"))
        or name.endswith("/")
    ):
        raise ValueError(f"{name!r} is no name of a file below {work}")
    return path


def plain_value(obj):
    """Tables of other libraries as pandas', axes as their figure. Nothing is imported to look."""
    if module_of(obj) in ("polars", "pyarrow"):
        if hasattr(obj, "collect") and not hasattr(obj, "to_pandas"):
            obj = obj.collect()  # a LazyFrame
        return obj.to_pandas() if hasattr(obj, "to_pandas") else obj
    if type(obj).__name__ == "DuckDBPyRelation":
        return obj.df()
    if not hasattr(obj, "savefig") and hasattr(obj, "figure") and hasattr(obj.figure, "savefig"):
        return obj.figure
    if module_of(obj) == "pandas" and type(obj).__name__ == "Series":
        return obj.to_frame(obj.name if obj.name is not None else "value")
    return obj


def is_tables(value):
    return (
        isinstance(value, dict) and bool(value) and all(is_table(each) for each in value.values())
    )


def default_kind(value):
    if isinstance(value, str):
        return "txt"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bin"
    if is_table(value):
        return "csv"
    if is_a(value, "numpy", "ndarray"):
        return "npy"
    if hasattr(value, "savefig") or is_a(value, "PIL", "Image"):
        return "png"
    if hasattr(value, "write_html") or is_a(value, "altair", "TopLevelMixin"):
        return "html"
    if is_tables(value):
        return "xlsx"
    if isinstance(value, (dict, list, tuple, int, float, bool, type(None))):
        return "json"
    return "pickle"


def writer(value, kind):
    """The function for a value and an extension, or an error that names those that there are."""
    if isinstance(value, str):
        return write_text
    if isinstance(value, (bytes, bytearray, memoryview)):
        return write_bytes
    if kind in ("pickle", "pkl"):
        return write_pickle
    if kind == "joblib":
        return write_joblib
    for belongs, kinds, write in KINDS:
        if belongs(value) and kind in kinds.split():
            return write
    known = " ".join(kinds for belongs, kinds, _ in KINDS if belongs(value)).split()
    known = list(dict.fromkeys([*known, "pickle"]))
    raise ValueError(
        f"a {type(value).__name__} cannot be saved as .{kind}; it can as .{', .'.join(known)}"
    )


# --- tables ---------------------------------------------------------------------------------------


def extension(path):
    return os.path.splitext(path)[1][1:].lower()


def write_table(value, path, options, stem):
    tables.ONE[extension(path)](value, path, options, stem)


def write_tables(value, path, options, stem):
    tables.SEVERAL[extension(path)](value, path, options, stem)


def write_rows(value, path, options, stem):
    import pandas as pd

    write_table(pd.DataFrame(list(value)), path, options, stem)


# --- arrays and pictures --------------------------------------------------------------------------


def write_array(value, path, options, stem):
    import numpy as np

    kind = extension(path)
    if kind == "npy":
        np.save(path, value, **options)
    elif kind == "npz":
        np.savez_compressed(path, **(value if isinstance(value, dict) else {"array": value}))
    elif kind in ("csv", "tsv", "txt"):
        np.savetxt(
            path,
            np.atleast_1d(value),
            **{"delimiter": "\t" if kind == "tsv" else ",", "fmt": "%s", **options},
        )
    else:
        from PIL import Image

        Image.fromarray(value).save(path, **options)


def write_figure(value, path, options, stem):
    value.savefig(path, **{"bbox_inches": "tight", **options})


def write_image(value, path, options, stem):
    if path.lower().endswith(("jpg", "jpeg")) and value.mode not in ("RGB", "L", "CMYK"):
        value = value.convert("RGB")
    value.save(path, **options)


def write_chart(value, path, options, stem):
    kind = extension(path)
    if hasattr(value, "write_html"):  # Plotly: its library comes along, nobody has a network
        value.write_html(path, **options) if kind == "html" else value.write_json(path, **options)
    else:
        write_text(
            value.to_html(**options) if kind == "html" else value.to_json(**options), path, {}, stem
        )


def arrays(value):
    return (
        isinstance(value, dict)
        and bool(value)
        and all(is_a(v, "numpy", "ndarray") for v in value.values())
    )


def rows(value):
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(each, dict) for each in value)
    )


def structure(value):
    return module_of(value) == "numpy" or isinstance(
        value, (dict, list, tuple, set, int, float, type(None))
    )


# Whether it belongs, extensions, how. The first that fits.
KINDS = [
    (is_table, TABLE_KINDS, write_table),
    (is_tables, "xlsx ods sqlite db", write_tables),
    (arrays, "npz", write_array),
    (
        lambda v: is_a(v, "numpy", "ndarray"),
        "npy npz csv tsv txt png jpg bmp tif gif webp",
        write_array,
    ),
    (lambda v: is_a(v, "numpy", "ndarray"), "parquet feather xlsx ods", write_rows),
    (lambda v: hasattr(v, "savefig"), IMAGES, write_figure),
    (lambda v: is_a(v, "PIL", "Image"), "png jpg jpeg gif bmp tif tiff webp pdf ico", write_image),
    (
        lambda v: hasattr(v, "write_html") or hasattr(v, "to_html") and hasattr(v, "to_json"),
        "html json",
        write_chart,
    ),
    (rows, "csv tsv xlsx ods parquet feather sqlite html md", write_rows),
    (lambda v: isinstance(v, (list, tuple)), "jsonl", write_jsonl),
    (lambda v: isinstance(v, dict), "toml", write_toml),
    (structure, "json", write_json),
    (structure, "yaml yml", write_yaml),
]
