"""matplotlib, seaborn, pillow, plotly, altair: pictures without a display."""

import io
import unittest

import numpy as np


class Plots(unittest.TestCase):
    def test_matplotlib_formats(self):
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(2, 2)
        axes[0, 0].plot(np.arange(10))
        axes[0, 1].imshow(np.eye(10))
        axes[1, 0].hist(np.arange(100), label="ü 日本 $x^2$")
        axes[1, 1].scatter(*np.random.default_rng(1).normal(size=(2, 100)))
        for kind, magic in (
            ("png", b"\x89PNG"),
            ("pdf", b"%PDF"),
            ("svg", b"<?xml"),
            ("jpg", b"\xff\xd8"),
        ):
            with self.subTest(kind):
                file = io.BytesIO()
                figure.savefig(file, format=kind)
                self.assertTrue(file.getvalue().startswith(magic))
        plt.close("all")

    def test_animation(self):
        import matplotlib.animation as animation
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        (line,) = axes.plot([0, 1])
        made = animation.FuncAnimation(figure, lambda i: line.set_data([0, 1], [0, i]), frames=3)
        made.save("three.gif", writer="pillow")
        plt.close("all")

    def test_seaborn(self):
        import matplotlib.pyplot as plt
        import seaborn

        table = seaborn.load_dataset("iris")
        seaborn.pairplot(table, hue="species")
        plt.close("all")

    def test_pillow(self):
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (100, 100), "white")
        ImageDraw.Draw(image).ellipse((10, 10, 90, 90), fill="red")
        for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF"):
            with self.subTest(kind):
                file = io.BytesIO()
                image.save(file, kind)
                self.assertEqual(Image.open(io.BytesIO(file.getvalue())).size, (100, 100))

    def test_html(self):
        import altair
        import pandas as pd
        import plotly.express as px

        table = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
        self.assertIn("plotly", px.line(table, x="x", y="y").to_html(include_plotlyjs=False))
        self.assertIn("vega", altair.Chart(table).mark_line().encode(x="x", y="y").to_html())
