"""Displays of a session: what a value or a figure looks like where more than text can be shown.

    bundle(value)   one value as MIME bodies, by the rules of Jupyter
    figures()       what matplotlib has open
    typed(value)    the value as data             (jailrun_typed)
    declared(res)   a script's variable `result`  (jailrun_typed)
    arrow(table)    a whole table                 (jailrun_tables)
    error(exc)      an exception, trimmed         (jailrun_faults)
    teach(error)    what to try                   (jailrun_faults)

Everything here runs the guest's own code (its __repr__, its _repr_html_) in the guest's process:
it guards against accidents, and the reader of the channel guards against the rest.
"""

import base64
import io
import json
import re
import sys

from jailrun_faults import error, teach
from jailrun_tables import arrow
from jailrun_text import ATOMS, DEFAULT, Caps, bases_of, clean, describe, name_of, plain, size
from jailrun_typed import declared, typed, vega_mime
from jailrun_values import plain_json

__all__ = ["Caps", "arrow", "bundle", "declared", "error", "figures", "teach", "typed"]

PIXELS = 20_000_000  # of one picture: 80 MB while it is drawn
MIMES = 20  # in one bundle
BINARY = re.compile(r"(image/(?!svg)|audio/|video/|font/|application/(pdf|zip|octet-stream)\b)")
JSON = re.compile(r"application/(.*\+)?json\b")
MIME = re.compile(r"[a-z]+/[A-Za-z0-9][A-Za-z0-9.+_-]{0,100}(;[ -~]{0,60})?")
METHODS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "text/latex": "_repr_latex_",
    "application/json": "_repr_json_",
}
# These have no picture of themselves, and are the most frequent ones.
SIMPLE = ATOMS | {str, bytes, bytearray, list, tuple, dict, set, frozenset, range}


def bundle(value, caps=DEFAULT):
    """{MIME type: str, or bytes where it is binary}, and a list of what was cut."""
    notes = []
    rich = {}
    if type(value) not in SIMPLE and not issubclass(type(value), type):
        _collect(value, rich, notes)
    bodies = {"text/plain": plain(value, min(caps.text, caps.bytes), notes)}
    room = caps.bytes - len(bodies["text/plain"].encode()) if rich else 0
    for mime, body in rich.items():
        length = len(body) if isinstance(body, bytes) else len(body.encode())
        if length <= room:
            room -= length
            bodies[mime] = body
        else:  # half of a picture or of a JSON text is nothing
            notes.append(
                f"{mime}: left out, its {size(length)} are over the cap of {size(caps.bytes)}"
            )
    return bodies, notes


def figures(close=True, caps=DEFAULT, notes=None, shown=()):
    """PNGs of the figures that pyplot has open, as a notebook shows them at the end of a cell.

    Those in `shown` have been displayed already. Figures are closed even if drawing them fails;
    `notes` gets what was cut, or could not be drawn.
    """
    notes = [] if notes is None else notes
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not pyplot.get_fignums():
        return []
    images, room = [], caps.bytes
    managers = [manager for _, manager in sorted(pyplot._pylab_helpers.Gcf.figs.items())]
    try:
        for manager in managers:
            figure = manager.canvas.figure
            if any(figure is other for other in shown):
                continue
            what = f"figure {manager.num}"
            if len(images) >= caps.displays:
                notes.append(f"{what} and those after it: left out, over {caps.displays} displays")
                break
            try:
                image = _figure_png(figure, notes)
            except KeyboardInterrupt:
                raise
            except BaseException as fault:
                notes.append(f"{what}: not drawn, {describe(fault)}")
                continue
            if len(image) > room:
                notes.append(f"{what}: left out, its {size(len(image))} are over the cap")
                continue
            room -= len(image)
            images.append(image)
    finally:
        if close:
            pyplot.close("all")
    return images


def _figure_png(figure, notes):
    """Drawn as bbox_inches="tight" does, but with the number of pixels known beforehand."""
    buffer = io.BytesIO()
    dpi = figure.dpi
    try:
        # Measuring it has a canvas made of the figure's own size.
        figure.dpi = _bearable(dpi, figure.get_figwidth() * figure.get_figheight())
        figure.draw_without_rendering()
        box = figure.get_tightbbox().padded(0.1)
        inches = box.width * box.height
        if 0 < inches < float("inf"):
            drawn = _bearable(figure.dpi, inches)
        else:  # nothing visible, or an artist at infinity
            box, drawn = None, figure.dpi
        if drawn < dpi:
            notes.append(f"image/png: drawn with {drawn:.3g} instead of {dpi:g} dots per inch")
        figure.savefig(buffer, format="png", dpi=drawn, bbox_inches=box)
    finally:
        figure.dpi = dpi
    return buffer.getvalue()


def _bearable(dpi, square_inches):
    return min(dpi, (PIXELS / max(square_inches, 1e-9)) ** 0.5)


def _picture_png(picture, notes):
    pixels = picture.width * picture.height
    if pixels > PIXELS:
        picture = picture.copy()
        factor = (PIXELS / pixels) ** 0.5
        picture.thumbnail((int(picture.width * factor) or 1, int(picture.height * factor) or 1))
        notes.append(f"image/png: reduced to {picture.width} x {picture.height} pixels")
    if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _native(value, notes):
    """(MIME type, body) of what needs no notebook to be shown, though its own methods want one."""

    def is_a(module, name):
        kind = getattr(sys.modules.get(module), name, None)
        return isinstance(kind, type) and isinstance(value, kind)

    if is_a("matplotlib.figure", "Figure"):
        return "image/png", _figure_png(value, notes)
    if is_a("PIL.Image", "Image"):
        return "image/png", _picture_png(value, notes)
    if is_a("plotly.basedatatypes", "BaseFigure"):
        return "application/vnd.plotly.v1+json", value.to_json()
    if is_a("altair", "TopLevelMixin"):
        return vega_mime(), value.to_dict()
    return None


def _collect(value, bodies, notes):
    """All bodies that the value gives of itself. Each of its faults costs only that body."""
    try:
        if native := _native(value, notes):
            _add(bodies, *native, notes)
            return  # what else it has is for a notebook: scripts from the network
    except KeyboardInterrupt:
        raise
    except BaseException as fault:
        notes.append(f"{name_of(type(value))}: not drawn, {describe(fault)}")
        return
    given = _ask(value, "_repr_mimebundle_", notes, include=None, exclude=None)
    if isinstance(given, dict):
        for mime, body in list(given.items())[:MIMES]:
            if mime != "text/plain":
                _add(bodies, mime, body, notes)
        if len(given) > MIMES:
            notes.append(f"_repr_mimebundle_: the first {MIMES} of {len(given)} types")
    for mime, method in METHODS.items():
        if mime not in bodies:
            _add(bodies, mime, _ask(value, method, notes), notes)


def _ask(value, method, notes, **options):
    """What a display method gives, without its metadata; None if there is none or it fails."""
    try:
        # Not hasattr: an object that answers to any name, such as a Mock, has no display method.
        for base in bases_of(type(value)):
            if method in base.__dict__:
                break
        else:
            if method not in object.__getattribute__(value, "__dict__"):
                return None
    except Exception:
        return None  # it has no __dict__
    try:
        asked = getattr(value, method)
        given = asked(**options) if callable(asked) else None  # None: switched off, as sympy does
    except KeyboardInterrupt:
        raise
    except BaseException as fault:
        notes.append(f"{method} raised {describe(fault)}")
        return None
    return given[0] if isinstance(given, tuple) and len(given) == 2 else given


def _add(bodies, mime, body, notes):
    """Puts one body into the bundle in the form that its type asks for."""
    if body is None:
        return
    if not (isinstance(mime, str) and MIME.fullmatch(mime)):
        notes.append("_repr_mimebundle_: left out a name that is no MIME type")
        return
    try:
        if BINARY.match(mime):
            body = base64.b64decode(body) if isinstance(body, str) else bytes(memoryview(body))
        elif JSON.fullmatch(mime):
            body = _json_text(body)
        elif isinstance(body, (bytes, bytearray)):
            body = bytes(body).decode("utf-8", "replace")
        elif isinstance(body, str):
            body = clean(body)
        else:
            raise TypeError(f"{name_of(type(body))} where text is due")
    except KeyboardInterrupt:
        raise
    except BaseException as fault:
        notes.append(f"{mime}: left out, {describe(fault)}")
        return
    bodies[str.__str__(mime)] = body


def _json_text(body):
    if isinstance(body, str):
        try:
            json.loads(body, parse_constant=float)  # text of JSON is taken as that
        except ValueError:
            return json.dumps(clean(body), ensure_ascii=False)
        if "NaN" not in body and "Infinity" not in body:
            return clean(body)
        body = json.loads(body)
    try:
        return clean(json.dumps(body, ensure_ascii=False, allow_nan=False))
    except (ValueError, TypeError, RecursionError):  # NaN, numpy, a cycle
        return json.dumps(plain_json(body), ensure_ascii=False, allow_nan=False)
