"""Values as MIME bodies, in a jail: rich_displays.py [Displays|Hostile|Figures]"""

import collections
import io
import json
import math
import sys
import time
import types
import unittest
import unittest.mock

import numpy as np
import pandas as pd
from matplotlib.transforms import Bbox

sys.path.insert(0, "/data")
from rich_common import NAN, Point, Text, frame, rich, shown, told


class Shown:
    """Each display method, told what to give."""

    def __init__(self, **given):
        self.given = given

    def _give(self, name):
        given = self.given.get(name)
        if isinstance(given, BaseException):
            raise given
        return given

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self._give("bundle")

    def _repr_html_(self):
        return self._give("html")

    def _repr_png_(self):
        return self._give("png")

    def _repr_json_(self):
        return self._give("json")

    def _repr_svg_(self):
        return self._give("svg")

    def _repr_latex_(self):
        return self._give("latex")

    def _repr_markdown_(self):
        return self._give("markdown")

    def _repr_jpeg_(self):
        return self._give("jpeg")

    def __repr__(self):
        return self.given.get("text", "Shown()")


class Displays(unittest.TestCase):
    def test_every_method_gives_its_body(self):
        bodies, cut = shown(
            Shown(
                html="<b>",
                png=b"\x89PNG",
                json={"a": [1, NAN, np.int64(2)]},
                svg="<svg/>",
                latex="$x$",
                markdown="*x*",
                jpeg=(b"\xff\xd8", {"width": 1}),
            )
        )
        self.assertEqual(
            bodies,
            {
                "text/plain": "Shown()",
                "text/html": "<b>",
                "image/png": b"\x89PNG",
                "application/json": '{"a": [1, null, 2]}',
                "image/svg+xml": "<svg/>",
                "text/latex": "$x$",
                "text/markdown": "*x*",
                "image/jpeg": b"\xff\xd8",
            },
        )
        self.assertEqual(cut, [])

    def test_a_bundle_goes_first_and_its_binaries_are_bytes(self):
        bundle = {
            "text/html": "<i>",
            "image/png": "iVBORw==",
            "application/vnd.vegalite.v5+json": {"a": 1},
            "application/geo+json": '{"b": NaN}',
        }
        bodies, _ = shown(Shown(bundle=(bundle, {}), html="<b>"))
        self.assertEqual(bodies["text/html"], "<i>")
        self.assertEqual(bodies["image/png"], b"\x89PNG")
        self.assertEqual(bodies["application/vnd.vegalite.v5+json"], '{"a": 1}')
        self.assertEqual(bodies["application/geo+json"], '{"b": null}')

    def test_a_method_that_fails_costs_only_its_body(self):
        bodies, cut = shown(Shown(html=ValueError("no"), png="%%%", svg="<svg/>", json={1, 2}))
        self.assertEqual(
            set(bodies) - {"application/json", "image/png"}, {"text/plain", "image/svg+xml"}
        )
        self.assertIn("_repr_html_ raised ValueError: no", cut)
        bodies, cut = shown(Shown(html=5, bundle={"no type": "x", 3: "y", "image/gif": 10**9}))
        self.assertEqual(set(bodies), {"text/plain"})
        self.assertEqual(len(cut), 4)
        _, cut = shown(Shown(html=SystemExit(3)))
        self.assertIn("SystemExit", cut[0])
        with self.assertRaises(KeyboardInterrupt):
            shown(Shown(html=KeyboardInterrupt()))

    def test_who_answers_to_any_name_has_no_displays(self):
        self.assertEqual(set(shown(unittest.mock.MagicMock())[0]), {"text/plain"})
        self.assertEqual(set(shown(Shown)[0]), {"text/plain"})
        off = type("Off", (), {"_repr_png_": None, "_repr_html_": lambda self: None})()
        self.assertEqual((set(shown(off)[0]), shown(off)[1]), ({"text/plain"}, []))
        own = types.SimpleNamespace(_repr_html_=lambda: "<b>")
        self.assertEqual(shown(own)[0]["text/html"], "<b>")

    def test_a_body_over_the_cap_is_left_out_whole_and_named(self):
        bodies, cut = shown(Shown(html="x" * 1000, svg="<svg/>"), bytes=500)
        self.assertEqual(set(bodies), {"text/plain", "image/svg+xml"})
        self.assertIn("text/html: left out", cut[0])
        bodies, cut = shown(Shown(text="ä" * 1000), text=101)
        self.assertEqual(len(bodies["text/plain"].encode()), 100)
        self.assertEqual(len(cut), 1)
        many = {f"text/x{i}": "" for i in range(1000)}
        self.assertLess(len(shown(Shown(bundle=many))[0]), 30)

    def test_containers_are_laid_out_for_readers(self):
        for value, text in [
            (3, "3"),
            ("a\nb", r"'a\nb'"),
            ([], "[]"),
            ((1,), "(1,)"),
            (set(), "set()"),
            (frozenset(), "frozenset()"),
            ({"a": [1, 2]}, "{'a': [1, 2]}"),
            (collections.deque([1]), "deque([1])"),
            (collections.defaultdict(int, {"a": 1}), "defaultdict(<class 'int'>, {'a': 1})"),
            (collections.OrderedDict(a=1), "OrderedDict({'a': 1})"),
            (Point(1, 2), "Point(x=1, y=2)"),
            ({"a": "x" * 80, "b": 1}, "{'a': '" + "x" * 80 + "',\n 'b': 1}"),
            (list(range(40)), None),
        ]:
            with self.subTest(repr(value)):
                got = shown(value)[0]["text/plain"]
                if text is not None:
                    self.assertEqual(got, text)
                self.assertEqual(
                    eval(got, {**globals(), **vars(collections), "int": int})
                    if "<" not in got
                    else value,
                    value,
                )
        loop = []
        loop.append(loop)
        self.assertEqual(shown(loop)[0]["text/plain"], "[[...]]")

    def test_a_long_container_shows_its_first_thousand(self):
        for value in (list(range(10**6)), {i: 0 for i in range(10**4)}, set(range(10**4))):
            bodies, cut = shown(value)
            self.assertEqual(cut, [f"text/plain: the first 1000 of {len(value)} elements"])
            self.assertTrue(bodies["text/plain"].rstrip("])}").endswith("..."))

    def test_frames_arrays_and_pictures(self):
        from PIL import Image

        self.assertIn("<table", shown(frame())[0]["text/html"])
        self.assertEqual(shown(np.arange(3))[0], {"text/plain": "array([0, 1, 2])"})
        for mode in ("RGB", "L", "CMYK", "F"):
            self.assertTrue(shown(Image.new(mode, (4, 4)))[0]["image/png"].startswith(b"\x89PNG"))
        huge, cut = shown(Image.new("1", (30_000, 3_000)))
        self.assertIn("reduced", cut[0])

    def test_plotly_and_altair_give_their_json(self):
        import altair as alt
        import plotly.graph_objects as go

        chart = go.Figure(go.Scatter(x=[1, 2], y=[NAN, 3]))
        body = json.loads(shown(chart)[0]["application/vnd.plotly.v1+json"])
        self.assertEqual(body["data"][0]["type"], "scatter")
        self.assertEqual(told(chart)["value"], "application/vnd.plotly.v1+json")
        chart = alt.Chart(pd.DataFrame({"a": [1, 2]})).mark_bar().encode(x="a")
        bodies = shown(chart)[0]
        mime = next(mime for mime in bodies if "vegalite" in mime)
        self.assertEqual(json.loads(bodies[mime])["mark"]["type"], "bar")
        self.assertEqual((told(chart)["type"], told(chart)["value"]), ("plot", mime))


class Hostile(unittest.TestCase):
    def kind(self, answer):
        return type("Hostile", (), {"__repr__": answer})

    def test_a_repr_that_fails_says_so(self):
        def recursive(self):
            return repr(self)

        def refuses(self):
            raise ValueError("no \ud800")

        def silent(self):
            raise type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})

        for answer, text in [
            (refuses, "ValueError: no \ufffd"),
            (lambda self: 3, "TypeError: __repr__ returned non-string"),
            (recursive, "RecursionError"),
            (silent, "its message cannot be shown"),
            (lambda self: sys.exit(3), "SystemExit: 3"),
        ]:
            thing = self.kind(answer)()
            with self.subTest(text):
                for value in (thing, [thing], {"a": thing}):
                    self.assertIn(text, shown(value)[0]["text/plain"])
                self.assertIn(text, told(thing)["value"])
                self.assertIn(text, told([thing])["value"][0])

    def test_an_interrupt_gets_out_of_a_repr_without_end(self):
        def interrupted(self):
            raise KeyboardInterrupt

        for show in (shown, told, lambda value: shown([value]), lambda value: told([value])):
            with self.assertRaises(KeyboardInterrupt):
                show(self.kind(interrupted)())

    def test_a_huge_repr_is_cut(self):
        thing = self.kind(lambda self: "x" * 10**7)()
        self.assertEqual(len(shown(thing)[0]["text/plain"]), 64 << 10)
        self.assertEqual(len(told(thing)["value"]), 64 << 10)
        self.assertLessEqual(len(shown([thing] * 1000)[0]["text/plain"]), 64 << 10)

    def test_text_is_always_utf8(self):
        thing = self.kind(lambda self: "\udcff")()
        for value in (thing, "\udcff", ["\udcff"], {"\udcff": "\udcff"}, Text("\udcff")):
            shown(value)
            told(value)
        shown(Shown(html="\udcff", svg=Text("\udcff"), json={"\udcff": "\udcff"}))
        told(pd.DataFrame({"\udcff": ["\udcff"]}, index=["\udcff"]))

    def test_classes_that_lie_about_themselves(self):
        class Meta(type):
            def __getattribute__(cls, name):
                raise RuntimeError("meta")

        class Liar(metaclass=Meta):
            pass

        class Faker:
            __class__ = property(lambda self: 1 / 0)

        class Changing(dict):
            def items(self):
                raise RuntimeError("items")

            def __len__(self):
                return -1

            __iter__ = keys = values = items

        class Grows:
            def __repr__(self):
                grown.append(Grows())
                return "grows"

        class Frame(pd.DataFrame):
            @property
            def iloc(self):
                raise RuntimeError("iloc")

        grown = [Grows()]
        for value in (Liar(), Faker(), Changing(a=1), grown, Frame({"a": [1]})):
            shown(value)
            told(value)
        self.assertEqual(told(Changing(a=1))["value"], {"a": 1})
        self.assertIn("iloc", told(Frame({"a": [1]}))["cut"][0])

    def test_a_million_elements_take_less_than_50_ms(self):
        million = list(range(10**6))
        for value in [
            million,
            tuple(million),
            set(million),
            dict.fromkeys(million),
            collections.deque(million),
            collections.Counter(million),
            {i: str(i) for i in million}.values(),
            [[1] * 1000] * 1000,
            ["x" * 1000] * 10**6,
            np.zeros((1000, 1000)),
            pd.Series(million),
            "x" * 10**6,
            b"x" * 10**6,
        ]:
            best = [math.inf, math.inf]
            for _ in range(3):
                for i, work in enumerate((rich.bundle, rich.typed)):
                    start = time.perf_counter()
                    work(value)
                    best[i] = min(best[i], time.perf_counter() - start)
            with self.subTest(type(value).__name__):
                self.assertLess(max(best), 0.050)

    def test_a_number_costs_less_than_20_us(self):
        for name, work in (("typed", rich.typed), ("bundle", rich.bundle)):
            for value in (3, "abc", None, [1, 2, 3]):
                best = math.inf
                for _ in range(20):
                    start = time.perf_counter()
                    for _ in range(100):
                        work(value)
                    best = min(best, time.perf_counter() - start)
                print(f"{name}({value!r}): {best * 1e4:.2f} us")
                self.assertLess(best / 100, 20e-6)


class Figures(unittest.TestCase):
    def setUp(self):
        import matplotlib.pyplot

        self.plt = matplotlib.pyplot
        self.addCleanup(self.plt.close, "all")

    def pixels(self, png):
        from PIL import Image

        return Image.open(io.BytesIO(png)).size

    def test_each_open_figure_comes_once_and_is_closed(self):
        self.plt.plot([1, 2])
        self.plt.figure()
        images = rich.figures()
        self.assertEqual([image[:4] for image in images], [b"\x89PNG"] * 2)
        self.assertEqual(self.plt.get_fignums(), [])
        self.assertEqual(rich.figures(), [])

    def test_a_figure_that_was_shown_does_not_come_again(self):
        figure = self.plt.figure()
        self.plt.figure()
        self.assertTrue(shown(figure)[0]["image/png"].startswith(b"\x89PNG"))
        self.assertEqual(told(figure)["type"], "plot")
        self.assertEqual(told(figure.subplots())["type"], "plot")
        self.assertEqual(len(rich.figures(close=False, shown=[figure])), 1)
        self.assertEqual(len(rich.figures()), 2)

    def test_one_that_cannot_be_drawn_costs_only_itself(self):
        self.plt.figure().text(0, 0, "$\\broken{$")
        self.plt.figure()
        notes = []
        self.assertEqual(len(rich.figures(notes=notes)), 1)
        self.assertIn("figure 1: not drawn", notes[0])
        self.assertEqual(self.plt.get_fignums(), [])

    def test_count_bytes_and_pixels_are_capped(self):
        for _ in range(3):
            self.plt.figure()
        notes = []
        self.assertEqual(len(rich.figures(caps=rich.Caps(displays=2), notes=notes)), 2)
        self.assertIn("over 2 displays", notes[0])
        self.plt.figure()
        self.assertEqual(rich.figures(caps=rich.Caps(bytes=10)), [])
        self.plt.figure(figsize=(300, 300))
        width, height = self.pixels(rich.figures(notes=notes)[0])
        self.assertLess(width * height, 21_000_000)
        self.assertIn("dots per inch", notes[-1])
        self.plt.figure().subplots().text(1e6, 1e6, "far away")
        width, height = self.pixels(rich.figures()[0])
        self.assertLess(width * height, 21_000_000)

    def test_artists_at_infinity_and_figures_of_nothing_are_drawn(self):
        self.plt.figure().text(math.inf, 0, "nowhere")
        self.plt.figure().set_visible(False)
        figure = self.plt.figure()
        figure.get_tightbbox = lambda: Bbox([[0, 0], [math.inf, 1]])
        self.assertEqual(len(rich.figures()), 3)

    def test_without_pyplot_there_are_none(self):
        with unittest.mock.patch.dict(sys.modules, {"matplotlib.pyplot": None}):
            self.assertEqual(rich.figures(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
