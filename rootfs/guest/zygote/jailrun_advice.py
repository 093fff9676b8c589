"""What to try after a failure: a short text for a model and for a person.

Each rule looks at the exception, at the variables of the user's frames that it came through, and
at the jail itself (what lies in /data). It claims nothing else. A rule that fails gives no advice.
"""

import contextlib
import difflib
import errno
import itertools
import linecache
import os
import re
import sys

from jailrun_text import bases_of, clean, shorten, size

DATA, WORK = "/data", "/work"
MOST = 2000  # bytes of an advice
WRITABLE = "Only /work and /tmp can be written; /data and the rest of the system are read-only."
NO_NETWORK = (
    "There is no network in a jail. Give what is needed as an input file: it appears in /data."
)


def _names(names, most=20):
    """A list of names for people; `names` may be anything."""
    names = [shorten(clean(name if isinstance(name, str) else repr(name)), 80)[0] for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _nearest(wanted, names, most=3):
    """The names that are most like the wanted one: in any case, with any blanks around."""
    names = [name for name in names if isinstance(name, str)][:5000]
    by_form = {}
    for name in names:
        by_form.setdefault(re.sub(r"[\s_-]+", "", name).casefold()[:200], []).append(name)
    form = re.sub(r"[\s_-]+", "", wanted).casefold()[:200]
    close = difflib.get_close_matches(form, by_form, most, 0.6)
    close += [other for other in by_form if form and form in other and other not in close]
    return [name for other in close for name in by_form[other]][:most]


def _files(most=200, looked_at=2000):
    """Paths below /data and /work, and their sizes; the first of them, were there a million."""
    found, folders = {}, [WORK, DATA]
    while folders and looked_at > 0:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in itertools.islice(entries, looked_at):
                looked_at -= 1
                if entry.is_dir(follow_symlinks=False):
                    folders.insert(0, entry.path)
                elif len(found) < most:
                    found[entry.path] = entry.stat(follow_symlinks=False).st_size
    return dict(sorted(found.items()))


def _listing(top, files):
    files = [
        f"{path[len(top) + 1 :]} ({size(s)})" for path, s in files.items() if path.startswith(top)
    ]
    return f"{top} holds: {_names(files)}." if files else f"{top} is empty."


def _line(step):
    return linecache.getline(step.tb_frame.f_code.co_filename, step.tb_lineno or 0)


def _named_in_line(steps):
    """Objects that the failing line names: (name, object)."""
    if not steps:
        return
    line, frame = _line(steps[-1]), steps[-1].tb_frame
    for name in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", line)):
        if name in frame.f_locals:
            yield name, frame.f_locals[name]
        elif name in frame.f_globals:
            yield name, frame.f_globals[name]


def _frames_of_data(steps, error):
    """DataFrames that the failing call was about: in pandas' own frames, then by name."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return
    step = error.__traceback__
    while step is not None:
        inner = step.tb_frame.f_locals.get("self")
        for one in (inner, getattr(inner, "obj", None)):
            if isinstance(one, pandas.DataFrame):
                yield "the frame", one
        step = step.tb_next
    for name, one in _named_in_line(steps):
        if isinstance(one, pandas.DataFrame):
            yield f"`{name}`", one


# --- rules: each gives a text, or None --------------------------------------------------------


def _memory(error, steps):
    reading = ""
    files = _files()
    for path, bytes_in_it in files.items():
        if steps and os.path.basename(path) in _line(steps[-1]):
            reading = f" while reading `{os.path.basename(path)}` ({size(bytes_in_it)})"
    big = re.search(r"Unable to allocate ([\d.]+ \w+)", str(error))
    asked = f" A single array of {big[1]} was asked for." if big else ""
    return (
        f"Memory ran out{reading}.{asked} Read fewer columns (usecols) or rows (nrows, "
        "chunksize), use smaller types (category, float32), delete what is not needed, or query "
        "the file with duckdb."
    )


def _no_file(error, steps):
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename.endswith("subprocess.py"):
            return (
                f"There is no program {error.filename!r} in the jail. Use Python's own libraries."
            )
        step = step.tb_next
    name = error.filename
    if not isinstance(name, (str, bytes)):
        named = re.search(r"['\"]([^'\"]+)['\"]", str(error))
        name = named[1] if named else ""
    name = clean(os.fsdecode(name))
    files = _files()
    base = os.path.basename(name)
    by_base = {}
    for path in files:
        by_base.setdefault(os.path.basename(path), path)
    near = _nearest(base, by_base) if base else []
    did = f" Did you mean {_names(repr(by_base[one]) for one in near)}?" if near else ""
    what = f"There is no file {name!r}." if name else "There is no such file."
    return f"{what}{did} {_listing(DATA, files)} {_listing(WORK, files)}"


COMMON = ("numpy", "pandas", "scipy", "sklearn", "statsmodels", "matplotlib", "seaborn", "plotly")
COMMON += ("altair", "duckdb", "polars", "pyarrow", "openpyxl", "PIL", "sympy", "networkx", "Bio")


def _no_module(error, steps):
    if not isinstance(error.name, str):
        return None
    if "." in error.name and error.name.partition(".")[0] in sys.modules:
        return f"The package is here, but it has no module {error.name!r}."
    import pkgutil

    top = error.name.partition(".")[0]
    here = {one.name for one in pkgutil.iter_modules()} | set(sys.stdlib_module_names)
    here = {name for name in here if not name.startswith(("_", "jailrun_"))}
    near = [one for one in _nearest(top, here) if one != top]
    did = f" Installed with a similar name: {_names(near)}." if near else ""
    common = [name for name in COMMON if name in here and name not in near]
    return (
        f"The module {top!r} is not installed, and there is no network to install it from.{did} "
        f"Installed are, among others: {_names(common)}."
    )


def _key(error, steps):
    wanted = error.args[0] if error.args else None
    if not isinstance(wanted, str):
        return None
    wanted = clean(wanted)
    quoted = re.findall(r"'([^']+)'", wanted) if "not in index" in wanted else []
    for name, frame in _frames_of_data(steps, error):
        columns = frame.columns.tolist()
        missing = [one for one in quoted or [wanted] if one not in columns]
        if not missing:
            continue
        near = _nearest(missing[0], columns)
        did = f" Nearest: {_names(map(repr, near))}." if near else ""
        kind = "no columns" if len(missing) > 1 else "no column"
        return (
            f"{name[0].upper()}{name[1:]} has {kind} {_names(map(repr, missing))}.{did} "
            f"Its columns: {_names(map(repr, columns), 30)}."
        )
    for name, one in _named_in_line(steps):
        if (
            isinstance(one, dict)
            and not dict.__contains__(one, wanted)
            and name not in ("globals",)
        ):
            near = _nearest(wanted, list(dict.keys(one)))
            did = f" Nearest: {_names(map(repr, near))}." if near else ""
            keys = _names(map(repr, list(dict.keys(one))[:21]))
            return f"`{name}` has no key {wanted!r}.{did} Its keys: {keys or 'none'}."
    return None


def _attribute(error, steps):
    pandas, name = sys.modules.get("pandas"), getattr(error, "name", None)
    if not isinstance(name, str) or pandas is None:
        return None
    if isinstance(error.obj, (pandas.DataFrame, pandas.Series)):
        if name == "append":
            return "pandas 2 has no append: use pd.concat([a, b], ignore_index=True)."
        if isinstance(error.obj, pandas.DataFrame):
            columns = error.obj.columns.tolist()
            near = _nearest(name, columns)
            did = f" Nearest column: {_names(map(repr, near))}." if near else ""
            return (
                f"The frame has no column {name!r}.{did} Its columns: {_names(map(repr, columns))}."
            )
    return None


def _os_error(error, steps):
    name = error.filename if isinstance(error.filename, str) else None
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        if name is None:
            return "The jail does not allow this operation to anybody."
        if name.startswith((WORK + "/", "/tmp/")):
            return "Files in /work and /tmp can be read and written, but not executed."
        copy = " To change an input, copy it to /work first." if name.startswith(DATA + "/") else ""
        return f"{clean(name)!r} cannot be opened that way. {WRITABLE}{copy}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        left = []
        for place in (WORK, "/tmp"):
            stat = os.statvfs(place)
            left.append(f"{place} has {size(stat.f_bavail * stat.f_frsize)} left")
        return f"A disk of the jail is full: {', '.join(left)}. Delete files, or write less."
    if error.errno == errno.EMFILE:
        return "Too many open files: close them, best by `with open(...) as file`."
    if error.errno in (errno.EAGAIN, errno.ENOMEM) and not name:
        return "No more processes or threads may be started: use fewer (n_jobs=1)."
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EAFNOSUPPORT):
        return NO_NETWORK
    if error.errno == errno.EISDIR:
        return f"{clean(name or '')!r} is a directory. {_listing(DATA, _files())}"
    return None


def _network(error, steps):
    return NO_NETWORK


def _decode(error, steps):
    body = bytes(error.object[: 1 << 20])
    at, end = error.start, min(error.start + 16, len(body))
    if body[:4] in (b"PK\x03\x04",):
        return "These bytes are a zip archive (an .xlsx file is one): try pd.read_excel or zipfile."
    if body[:2] == b"\x1f\x8b":
        return 'These bytes are gzip: pass compression="gzip", or use gzip.open.'
    fits = []
    marked = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
    order = [marked.get(body[:2]) or marked.get(body[:3]), "utf-8", "cp1252", "cp1251", "latin-1"]
    for encoding in filter(None, order):
        try:
            text = body.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
        around = text[at : at + 12] if encoding[:3] != "utf" else text[:12]
        fits.append(f"encoding={encoding!r} (reads {around!r})")
    found = f"Byte 0x{body[at]:02x} at {at} is not {error.encoding}" if at < end else "Not text"
    return f"{found}. These fit: {_names(fits)}. Or errors='replace'."


def _recursion(error, steps):
    names = {step.tb_frame.f_code.co_qualname for step in steps[-20:]}
    calls = f" ({_names(sorted(names), 5)})" if names else ""
    return (
        f"The calls never came to an end{calls}: check the case that stops them, or write a loop. "
        "A much higher recursion limit crashes the interpreter."
    )


def _syntax(error, steps):
    line = (error.text or "").strip() if isinstance(error.text, str) else ""
    if line.startswith("```"):
        return "Send the code alone, without ``` fences."
    if line.startswith(("!", "%")):
        return f"{line.split()[0]} is a notebook's magic. Here is plain Python; pip cannot install."
    if "await" in line and "outside" in str(error):
        return "Use asyncio.run(...) to run a coroutine."
    return None


ALIASES = {"np": "numpy as np", "pd": "pandas as pd", "plt": "matplotlib.pyplot as plt"}
ALIASES |= {"sns": "seaborn as sns", "pl": "polars as pl", "px": "plotly.express as px"}


def _name(error, steps):
    if error.name in ALIASES:
        return f"Import it first: import {ALIASES[error.name]}"
    return None


def _value(error, steps):
    text = str(error)
    if "could not convert string to float" in text or "invalid literal for int" in text:
        return (
            "The column or text is not all numbers: clean it, or use "
            'pd.to_numeric(..., errors="coerce"), which makes NaN of what is none.'
        )
    if "Could not convert" in text and "numeric" in text or "agg function failed" in text:
        return "Not all columns are numbers: pass numeric_only=True, or select the columns."
    return None


def _thread(error, steps):
    if "can't start new thread" in str(error):
        return "No more threads may be started here: use fewer (n_jobs=1)."
    return None


def _parser(error, steps):
    return (
        "The lines have different numbers of fields: look at the first ones, then pass sep=, "
        'skiprows= or quotechar=, or on_bad_lines="skip".'
    )


RULES = {
    "MemoryError": _memory,
    "FileNotFoundError": _no_file,
    "ModuleNotFoundError": _no_module,
    "KeyError": _key,
    "AttributeError": _attribute,
    "UnicodeDecodeError": _decode,
    "RecursionError": _recursion,
    "SyntaxError": _syntax,
    "NameError": _name,
    "ParserError": _parser,
    "gaierror": _network,
    "URLError": _network,
    "ConnectionError": _network,
    "ConnectTimeout": _network,
    "OSError": _os_error,
    "ValueError": _value,
    "TypeError": _value,
    "RuntimeError": _thread,
    "EOFError": lambda error, steps: (
        "Nobody can type an answer: input() has nothing to read."
        if "reading a line" in str(error)
        else None
    ),
    "KeyboardInterrupt": lambda error, steps: (
        "The execution was interrupted; all names that were set are still there."
    ),
}


def for_exception(error, steps):
    """The advice of the first rule, along the classes of the exception, that has one; else ""."""
    for kind in bases_of(type(error)):
        rule = RULES.get(type.__getattribute__(kind, "__name__"))
        try:
            if rule and (text := rule(error, steps)):
                return shorten(clean(text), MOST)[0]
        except KeyboardInterrupt:
            raise
        except BaseException:  # hostile attributes, a /data that is gone
            continue
    return ""


VERDICTS = {
    "out_of_memory": "Read fewer columns (usecols) or rows, use smaller types, work in chunks or "
    "with duckdb.",
    "wall_timeout": "Do less in one execution: sample rows, use vectorised operations, avoid loops "
    "over rows.",
    "cpu_timeout": "Do less in one execution: sample rows, use vectorised operations, avoid loops "
    "over rows.",
    "output_limit": "Print only a summary, such as head(20), and write the rest to a file "
    "in /work.",
    "disk_limit": "Write less to /work and /tmp, or delete what is not needed.",
    "pids_limit": "Use fewer processes and threads (n_jobs=1).",
    "policy_violation": "System calls of that kind are forbidden here: use Python's libraries.",
    "signalled": "The interpreter crashed: try another function or library.",
    "cancelled": "It was stopped from outside.",
}


def for_verdict(facts):
    """Advice for an execution that ended by a verdict. `limit`, `while`: what is known of it."""
    text = VERDICTS.get(facts.get("verdict"), "")
    if not text:
        return ""
    hit = facts.get("limit")
    doing = f" while {facts['while']}" if facts.get("while") else ""
    found = f"{facts['verdict'].replace('_', ' ')}: the limit {hit} was hit{doing}. " if hit else ""
    return shorten(clean(found + text), MOST)[0]
