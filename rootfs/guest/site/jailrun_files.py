"""Files of a jail by name: what was given lies in /data, what is made in /work.

    load_file("sales.csv")          what is in it, by its type: a DataFrame, a dict, text, …
    save(frame, "result.xlsx")      below /work, by type and extension; gives the path
    get_file_path("sales.csv")      where it lies
    FILES                           the files that are there, and their paths

A file from the store is known by its id as well. Readers and writers are imported when they are
used: this module must cost a parked jail nothing.
"""

import os
import stat
from collections.abc import Mapping

NAMES = ("load_file", "save", "get_file_path", "FILES")
DATA = "/data"
WORK = "/work"  # a branch of a session has another
MANIFEST = ".files.json"  # in /data, from whoever attached stored files: {id: name}
MOST_NAMED = 20  # in a message


class NoSuchFile(FileNotFoundError, ValueError):
    """Names what there is."""


def _shown(name):
    """A name without what could steer a terminal, in quotes."""
    return ascii(name) if not name.isprintable() else repr(name)


def _is_file(path):
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _ids():
    """{id: name} of stored files. It is data from outside: what is strange in it is left out."""
    try:
        import json

        with open(os.path.join(DATA, MANIFEST), encoding="utf-8") as file:
            ids = json.load(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(ids, dict):
        return {}
    return {key: name for key, name in ids.items() if isinstance(name, str) and "/" not in name}


def _names(folder):
    """Regular files in a folder, those with a dot in front left out."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.name[0] != "." and _is_file(e.path))
    except OSError:
        return []


class Files(Mapping):
    """A view of what is there now: {id or name: path}. Stored files appear by their id, and are
    found by their name too."""

    def _places(self):
        found = {}
        if ids := _ids():
            found = {key: os.path.join(DATA, name) for key, name in ids.items()}
        given = set(ids.values())
        made = _names(WORK)
        for folder, names in ((DATA, _names(DATA)), (WORK, made)):
            for name in names:
                if folder == WORK or (name not in given and name not in made):
                    found[name] = os.path.join(folder, name)
        return found

    def __getitem__(self, name):
        path = _find(name)
        if path is None:
            raise KeyError(name)
        return path

    def __contains__(self, name):
        return isinstance(name, (str, os.PathLike)) and _find(name) is not None

    def __iter__(self):
        return iter(self._places())

    def __len__(self):
        return len(self._places())

    def __repr__(self):
        inner = ", ".join(
            f"{_shown(name)}: {_shown(path)}" for name, path in self._places().items()
        )
        return "{" + inner + "}"


FILES = Files()


def _find(name):
    """What a script made goes before what it was given, as for a plain open() in /work."""
    name = os.fspath(name)
    if not isinstance(name, str):
        name = os.fsdecode(name)
    if not name:
        return None
    places = [os.path.join(WORK, name), os.path.join(DATA, name)]  # an absolute name stays as it is
    for path in places:
        if _is_file(path):
            return path
    known = _ids().get(name)
    if known is not None and _is_file(path := os.path.join(DATA, known)):
        return path
    return None


def _nothing(name):
    """Why there is no such file, and what to ask for instead."""
    import difflib

    shown = _shown(name)
    for folder in (WORK, DATA):
        path = os.path.join(folder, name)
        if "\0" not in name and os.path.isdir(path):
            inside = ", ".join(_shown(n) for n in _names(path)[:MOST_NAMED]) or "no files"
            return IsADirectoryError(f"{shown} is a directory; in it: {inside}")
        if "\0" not in name and os.path.exists(path):
            return NoSuchFile(f"{shown} is no regular file")
    ids = _ids()
    there = list(FILES)
    text = f"no file {shown}"
    lower = {other.lower(): other for other in [*ids.values(), *reversed(there)]}
    if close := difflib.get_close_matches(name.lower(), lower, 1, 0.6):
        text += f"; did you mean {_shown(lower[close[0]])}?"
    if not there:
        return NoSuchFile(text + f"; neither {DATA} nor {WORK} has a file")
    text += " there are: " if text.endswith("?") else "; there are: "
    names = {key: f"{_shown(key)} ({_shown(other)})" for key, other in ids.items()}
    text += ", ".join(names.get(other, _shown(other)) for other in there[:MOST_NAMED])
    if len(there) > MOST_NAMED:
        text += f", and {len(there) - MOST_NAMED} more"
    return NoSuchFile(text)


def get_file_path(name):
    """The path of a file, by its name or the id that it has in the store."""
    path = _find(name)
    if path is None:
        raise _nothing(os.fsdecode(name))
    return path


def load_file(name, *, kind=None, **options):
    """What is in a file, by the type that its name says; `options` go to the reader.

    csv, tsv, parquet, feather, dta, sav, sas, ods   DataFrame; encoding and delimiter are found out
    json, jsonl, geojson                             DataFrame of records, else dict or list
    xlsx, xls, xlsb                                  ExcelFile; with sheet_name= a DataFrame
    npy, npz, pickle, yaml, toml, xml                as saved; xml a DataFrame or an ElementTree
    sqlite, duckdb                                   a connection, read-only
    text and code: str; images, audio, archives: the path; anything else: str or bytes

    kind="csv" reads a file as that, whatever its name says.
    """
    path = get_file_path(name)
    import jailrun_files_read

    return jailrun_files_read.load(path, kind, options)


def save(obj, name, **options):
    """Writes obj to a file below /work and gives its path; `options` go to the writer.

    The extension of the name says how; without one the type does: csv for tables, npy for arrays,
    png for figures, json for dicts and lists, txt for text, pickle for models. A file that cannot
    be written whole is not there.
    """
    import jailrun_files_write

    return jailrun_files_write.save(obj, os.fsdecode(name), WORK, options)
