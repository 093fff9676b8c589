"""Exceptions as data: type, message, and a traceback of the user's own frames only.

What lies between them (libraries, and the frames of ours that ran the cell) says nothing to whom
the code belongs to; what it may try instead is said by jailrun_advice.
"""

import linecache
import os
import traceback
import types

import jailrun_advice
from jailrun_text import DEFAULT, clean, describe, name_of, shorten

OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jailrun_")
LINKS = 10  # of a chain of causes
FIRST, LAST = 10, 40  # frames that are shown of one traceback
NOTES = 10  # and exceptions of a group

CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def is_users(filename, source_name):
    if filename.startswith(OURS):
        return False
    return filename == source_name or filename.startswith(("<cell ", "/work/", "/data/"))


def users_steps(error, source_name):
    """The steps of its traceback that are in the user's code, outermost first."""
    steps, step = [], error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if is_users(name, source_name):
            steps.append(step)
        elif name == "<string>" and steps and step.tb_frame.f_code.co_name == "<module>":
            steps.append(step)  # exec() of a text by the user's code
        step = step.tb_next
    return steps


def _stack(steps):
    """These steps as CPython prints them: what repeats is counted, what is too much left out."""
    runs = []
    for step in steps:
        where = (step.tb_frame.f_code, step.tb_lineno)
        if runs and runs[-1][0] == where:
            runs[-1][2] += 1
        else:
            runs.append([where, step, 1])
    left_out = len(runs) - FIRST - LAST
    lines = []
    for place, (_, step, count) in enumerate(runs):
        if left_out > 0 and FIRST <= place < FIRST + left_out:
            if place == FIRST:
                lines.append(f"  ... {left_out} more frames\n")
            continue
        alone = types.TracebackType(None, step.tb_frame, step.tb_lasti, step.tb_lineno)
        lines += traceback.format_tb(alone) * min(count, 3)
        if count > 3:
            lines.append(f"  [Previous line repeated {count - 3} more times]\n")
    return "".join(["Traceback (most recent call last):\n", *lines]) if lines else ""


def _last_lines(error, steps):
    """Type, message, notes of one exception; for a SyntaxError also where it is."""
    try:
        # A set for _seen: without it all causes are read here, however many there are.
        step = steps[-1] if steps else None
        told = traceback.TracebackException(type(error), error, step, _seen=set())
        told.exceptions = told.__cause__ = told.__context__ = None
        text = "".join(told.format_exception_only())
    except KeyboardInterrupt:
        raise
    except BaseException:  # its attributes are not what the traceback module expects
        text = describe(error) + "\n"
    if isinstance(error, BaseExceptionGroup):
        inner = error.exceptions
        text += "".join(f"  + {describe(one)}\n" for one in inner[:NOTES])
        text += f"  + {len(inner) - NOTES} more\n" if len(inner) > NOTES else ""
    return clean(text)


def _chain(error):
    """The exception and those it came of, each with the words that join it to the one before."""
    chain, seen = [], set()
    while error is not None and id(error) not in seen and len(chain) < LINKS:
        seen.add(id(error))
        if error.__cause__ is not None:
            chain.append((error, CAUSE))
            error = error.__cause__
        elif error.__context__ is not None and not error.__suppress_context__:
            chain.append((error, CONTEXT))
            error = error.__context__
        else:
            chain.append((error, ""))
            error = None
    return chain, error is not None and id(error) not in seen


def _message(error):
    try:
        return clean(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return "<its message cannot be shown: its __str__ raised an exception>"


def _frame(step):
    code = step.tb_frame.f_code
    line = linecache.getline(code.co_filename, step.tb_lineno or 0, step.tb_frame.f_globals)
    return {
        "file": shorten(clean(code.co_filename), 500)[0],
        "line": step.tb_lineno or 0,
        "function": shorten(clean(code.co_qualname), 200)[0],
        "source": shorten(clean(line.strip()), 500)[0],
    }


def _notes(error):
    try:
        notes = error.__notes__
        return [shorten(clean(note), 1000)[0] for note in notes[:NOTES] if isinstance(note, str)]
    except Exception:
        return []


def _syntax_frame(error):
    """Where a SyntaxError is: no frame has been there."""
    if isinstance(error, SyntaxError) and isinstance(error.lineno, int):
        source = error.text.strip() if isinstance(error.text, str) else ""
        name = error.filename if isinstance(error.filename, str) else ""
        frame = {"line": error.lineno, "function": "<module>", "file": clean(name)[:500]}
        return [{**frame, "source": shorten(clean(source), 500)[0]}]
    return []


def error(exc, source_name, caps=DEFAULT):
    """{type, message, traceback, frames: [{file, line, function, source}], notes, advice}.

    Causes are in the traceback, frames are those of the exception itself. "cut" names what was
    left out, if anything was. An exception whose methods raise is told as far as it goes.
    """
    chain, more = _chain(exc)
    cut = [f"traceback: causes beyond the {LINKS}th"] if more else []
    steps = users_steps(exc, source_name)
    frames = [_frame(step) for step in steps[-LAST:]] or _syntax_frame(exc)
    if len(steps) > LAST:
        cut.append(f"frames: the last {LAST} of {len(steps)}")
    text = last = _last_lines(exc, steps)
    text, joint = clean(_stack(steps)) + text, chain[0][1]
    for link, next_joint in chain[1:]:
        within = users_steps(link, source_name)
        lines = _last_lines(link, within)
        if within or lines != last:  # else a library has raised the same once more
            text = clean(_stack(within)) + lines + joint + text
            last = lines
        joint = next_joint
    if more:
        text = "..." + joint + text
    text, was_cut = _ends(text, caps.text)
    if was_cut:
        cut.append(f"traceback: cut to {caps.text} bytes")
    message, was_cut = shorten(_message(exc), min(caps.text, 16 << 10))
    if was_cut:
        cut.append(f"message: cut to {len(message.encode())} bytes")
    told = {
        "type": name_of(type(exc)),
        "message": message,
        "traceback": text,
        "frames": frames,
        "notes": _notes(exc),
    }
    if cut:
        told["cut"] = cut
    told["advice"] = jailrun_advice.for_exception(exc, steps)
    return told


def _ends(text, limit):
    """A long traceback's beginning and its end: the end says what went wrong."""
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return text, False
    half = max(limit // 2 - 16, 0)
    tail = text.encode()[-half:].decode("utf-8", "ignore") if half else ""
    return shorten(text, half)[0] + "\n  ...\n" + tail, True


def teach(facts):
    """A short text of what to try: for what error() has told, or for a verdict's facts.

    Facts of a verdict: {"verdict": its name, "limit", "what"} as far as known. "" where there is
    nothing to say that the error itself does not say.
    """
    try:
        if "advice" in facts:
            return facts["advice"]
        return jailrun_advice.for_verdict(facts)
    except Exception:
        return ""
