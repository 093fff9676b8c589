"""Writes text, bytes, objects and structures. For jailrun_files_write."""


def module_of(obj):
    return type(obj).__module__.partition(".")[0]


def is_table(value):
    return is_a(value, "pandas", "DataFrame")  # GeoDataFrames too


def is_a(value, module, name):
    return any(
        c.__name__ == name and c.__module__.partition(".")[0] == module for c in type(value).__mro__
    )


def write_text(value, path, options, stem):
    with open(path, "w", **{"encoding": "utf-8", "newline": "", **options}) as file:
        file.write(value)


def write_bytes(value, path, options, stem):
    with open(path, "wb") as file:
        file.write(value)


def write_pickle(value, path, options, stem):
    import pickle

    try:
        data = pickle.dumps(value, protocol=5)
    except Exception:
        import cloudpickle  # functions and classes of a cell

        data = cloudpickle.dumps(value)
    write_bytes(data, path, {}, stem)


def write_joblib(value, path, options, stem):
    import joblib

    joblib.dump(value, path, **options)


# --- structures -----------------------------------------------------------------------------------


def simple(value):
    """What JSON, YAML and TOML can say; NaN and infinities are null."""
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, float):
        return float(value) if value - value == 0 else None
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else str(key): simple(each) for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [simple(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((simple(each) for each in value), key=repr)
    if is_table(value):
        return [simple(row) for row in value.to_dict("records")]
    if module_of(value) == "pandas" and hasattr(value, "to_list"):
        return [simple(each) for each in value.to_list()]
    if module_of(value) == "numpy" and hasattr(value, "tolist"):
        return simple(value.tolist())
    if module_of(value) == "pandas" and (type(value).__name__ in ("NaTType", "NAType")):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


def write_json(value, path, options, stem):
    import json

    write_text(
        json.dumps(simple(value), **{"ensure_ascii": False, "indent": 2, **options}), path, {}, stem
    )


def write_jsonl(value, path, options, stem):
    import json

    lines = (json.dumps(each, ensure_ascii=False) for each in simple(value))
    write_text("".join(line + "\n" for line in lines), path, {}, stem)


def write_yaml(value, path, options, stem):
    import yaml

    options = {"allow_unicode": True, "sort_keys": False, **options}
    write_text(yaml.safe_dump(simple(value), **options), path, {}, stem)


def write_toml(value, path, options, stem):
    import tomli_w

    def without_none(thing):
        if isinstance(thing, dict):
            return {key: without_none(each) for key, each in thing.items() if each is not None}
        return [without_none(each) for each in thing] if isinstance(thing, list) else thing

    write_bytes(tomli_w.dumps(without_none(simple(value)), **options).encode(), path, {}, stem)
