"""Text of results: always UTF-8, never longer than its cap, and from objects whose repr is hostile.

The modules jailrun_* beside this one are imported once, in the zygote. Nothing is done at import
and no library is: what a result is made of is in sys.modules already.
"""

import collections
import dataclasses
import itertools
import types


@dataclasses.dataclass(frozen=True, slots=True)
class Caps:
    """How much one execution may show. What is over a cap is named, never dropped in silence."""

    bytes: int = 10 << 20  # of all bodies of one bundle; of one typed value
    displays: int = 100
    rows: int = 50
    columns: int = 50
    text: int = 64 << 10  # bytes of text/plain, and of a traceback


DEFAULT = Caps()
ELEMENTS = 1000  # of one container in text/plain
DEPTH = 16
WIDTH = 88
ATOMS = frozenset({int, float, bool, complex, type(None), type(...), type(NotImplemented)})


def clean(text):
    """An exact str that UTF-8 can carry. A subclass of str has no say in it."""
    if type(text) is not str:
        text = str.__str__(text)
    if text.isascii():
        return text
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        # Two halves that belong together become their character, a lone one becomes U+FFFD.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def shorten(text, limit):
    """What of a clean text fits into `limit` bytes, and whether that is less than all."""
    if len(text) <= limit >> 2:
        return text, False
    raw = text[: max(limit, 0)].encode()
    if len(raw) <= limit and len(text) <= limit:
        return text, False
    return raw[: max(limit, 0)].decode("utf-8", "ignore"), True


def size(count):
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return ""


def name_of(kind):
    """A class's name with its module, whatever its metaclass says."""
    module = type.__getattribute__(kind, "__module__")
    name = type.__getattribute__(kind, "__qualname__")
    if isinstance(module, str) and module not in ("builtins", "__main__"):
        name = f"{module}.{name}"
    return shorten(clean(name), 200)[0]


def bases_of(kind):
    """Its __mro__, whatever its metaclass says."""
    return type.__getattribute__(kind, "__mro__")


def describe(error):
    """An exception in one short line, even if its __str__ raises."""
    try:
        text = shorten(clean(str(error)), 300)[0]
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = "its message cannot be shown"
    name = name_of(type(error))
    return f"{name}: {text}" if text else name


def say(value):
    """repr, or why there is none. Only an interrupt gets out: the execution's limit may be hit."""
    try:
        return clean(repr(value))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"<{name_of(type(value))}: its repr raised {describe(error)}>"


def _ends(opening, closing):
    return lambda value: (opening, closing)


def _named(opening, closing):
    """Ends with the class's name, as repr has them for subclasses too."""
    return lambda value: (type(value).__name__ + opening, closing)


# By the __repr__ that a type has: a subclass without one of its own looks as its base does.
# Each: the two ends, an iterator, a length. Their methods, as repr asks nobody else either.
CONTAINERS = {
    list.__repr__: (_ends("[", "]"), list.__iter__, list.__len__),
    tuple.__repr__: (_ends("(", ")"), tuple.__iter__, tuple.__len__),
    dict.__repr__: (_ends("{", "}"), dict.items, dict.__len__),
    types.MappingProxyType.__repr__: (_ends("mappingproxy({", "})"), lambda m: m.items(), len),
    collections.OrderedDict.__repr__: (_named("({", "})"), dict.items, dict.__len__),
    collections.Counter.__repr__: (_named("({", "})"), dict.items, dict.__len__),
    collections.defaultdict.__repr__: (
        lambda value: (f"{type(value).__name__}({say(value.default_factory)}, {{", "})"),
        dict.items,
        dict.__len__,
    ),
    set.__repr__: (_ends("{", "}"), set.__iter__, set.__len__),
    frozenset.__repr__: (_named("({", "})"), frozenset.__iter__, frozenset.__len__),
    collections.deque.__repr__: (
        _named("([", "])"),
        collections.deque.__iter__,
        collections.deque.__len__,
    ),
    type({}.keys()).__repr__: (_named("([", "])"), iter, len),
    type({}.values()).__repr__: (_named("([", "])"), iter, len),
    type({}.items()).__repr__: (_named("([", "])"), iter, len),
}
MAPS = frozenset(
    kind.__repr__
    for kind in (
        dict,
        types.MappingProxyType,
        collections.OrderedDict,
        collections.Counter,
        collections.defaultdict,
    )
)


class _Printer:
    """repr with line breaks that ends after so many characters and elements, at any depth."""

    def __init__(self, limit):
        self.room = limit
        self.inside = set()
        self.left_out = []  # what each container, or long text, shows of itself

    def show(self, value, width):
        kind = type(value)
        if kind in ATOMS:
            text = say(value)
        elif kind in (str, bytes, bytearray) and len(value) > self.room:
            text = say(value[: max(self.room, 0)]) + "..."
            self.leave_out(max(self.room, 0), len(value), kind.__name__)
        elif (container := CONTAINERS.get(kind.__repr__)) is None:
            text = say(value)
            if len(text) > self.room:
                self.leave_out(max(self.room, 0), len(text), "characters")
                text = text[: max(self.room, 0)] + "..."
        else:
            return self.container(value, kind.__repr__, container, width)
        self.room -= len(text)
        return text

    def leave_out(self, shown, total, what):
        what = {"str": "characters", "bytearray": "bytes"}.get(what, what)
        self.left_out.append(f"the first {shown} of {total} {what}")

    def container(self, value, key, container, width):
        ends, iterate, length = container
        total = length(value)
        if key is set.__repr__ and type(value) is not set:
            opening, closing = f"{type(value).__name__}({{", "})"
        else:
            opening, closing = ends(value)
        if not total:
            if key in (set.__repr__, frozenset.__repr__):
                return f"{type(value).__name__}()"
            return opening + closing
        if id(value) in self.inside or len(self.inside) >= DEPTH:
            return opening + "..." + closing
        self.inside.add(id(value))
        parts = []
        inner = width - len(opening)
        for item in itertools.islice(iterate(value), ELEMENTS):
            if self.room <= 0:
                break
            self.room -= 2
            if key in MAPS:
                name = self.show(item[0], inner)
                parts.append(f"{name}: {self.show(item[1], inner - 4)}")
            else:
                parts.append(self.show(item, inner))
        self.inside.discard(id(value))
        if len(parts) < total:
            self.leave_out(len(parts), total, "elements")
            parts.append("...")
        elif key is tuple.__repr__ and total == 1:
            parts[0] += ","
        return self.lay_out(opening, parts, closing, width, key in MAPS)

    @staticmethod
    def lay_out(opening, parts, closing, width, one_a_line):
        """On one line if it fits; else short things side by side, others on lines of their own."""
        longest = max(map(len, parts))
        if len(parts) * 3 <= width and longest <= width and "\n" not in (line := ", ".join(parts)):
            if len(opening) + len(line) + len(closing) <= width:
                return opening + line + closing
        indent = " " * len(opening)
        if one_a_line or longest > 24 or any("\n" in part for part in parts):
            parts = [part.replace("\n", "\n" + indent) for part in parts]
            return opening + (",\n" + indent).join(parts) + closing
        lines, line = [], ""
        for part in parts:
            if line and len(indent) + len(line) + len(part) + 2 > width:
                lines.append(line)
                line = ""
            line += (", " if line else "") + part
        lines.append(line)
        return opening + (",\n" + indent).join(lines) + closing


def plain(value, limit, notes):
    """text/plain of anything: at most `limit` bytes. What was left out goes to notes."""
    if type(value) in ATOMS:
        text, left_out = say(value), []
    else:
        printer = _Printer(limit)
        left_out = printer.left_out
        try:
            text = printer.show(value, WIDTH)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a metaclass, or a container that changes as it is shown
            text = f"<{name_of(type(value))}: it cannot be shown: {describe(error)}>"
    if left_out:  # the outermost is noted last
        also = f", and parts of {len(left_out) - 1} within it" if len(left_out) > 1 else ""
        notes.append(f"text/plain: {left_out[-1]}{also}")
    text, cut = shorten(text, limit)
    if cut and not left_out:
        notes.append(f"text/plain: cut to {size(limit)}")
    return text
