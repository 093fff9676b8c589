#!/usr/bin/env python3
"""Writes registry.json: the data sets that the image's packages ship, as rootfs/guest/bake/datasets.py lays them out.

    register.py BIN_DIR     after a change of the image's wheels; BIN_DIR holds jailrun
"""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = "image:/usr/share/jailrun/datasets/"
SETS = [
    ("iris", "Iris", "150 flowers of three species, four measures each; by way of plotly.",
     ["average petal_length by species", "plot petal_width over petal_length"]),
    ("tips", "Tips", "244 bills of a restaurant with tip, day, time and size; by way of plotly.",
     ["average tip by day", "correlation between total_bill and tip"]),
    ("gapminder", "Gapminder", "Life expectancy, population and GDP per head of 142 countries, 1952 to 2007; by way of plotly.",
     ["average lifeExp by continent", "top 5 rows by gdpPercap"]),
    ("stocks", "Stocks", "Six shares, weekly, 2018 and 2019, relative to their beginning; by way of plotly.",
     ["plot average GOOG over date"]),
    ("penguins", "Palmer penguins", "344 penguins of three species on three islands; by way of scikit-learn (OpenML 42585).",
     ["average body_mass_g by species", "missing values"]),
    ("titanic", "Titanic", "1309 passengers and whether they lived; by way of scikit-learn (OpenML 40945).",
     ["average survived by class", "how many rows by sex"]),
    ("wine", "Wine", "178 wines of three growers, thirteen measures; by way of scikit-learn.",
     ["average alcohol by target", "correlations"]),
    ("breast_cancer", "Breast cancer Wisconsin", "569 tumours, thirty measures, benign or not; by way of scikit-learn.",
     ["how many rows by target"]),
    ("diabetes", "Diabetes", "442 patients, ten measures, progress after a year; by way of scikit-learn.",
     ["correlation between bmi and target"]),
    ("sunspots", "Sunspots", "Yearly number of sunspots, 1700 to 2008; by way of statsmodels.",
     ["plot SUNACTIVITY over YEAR", "average SUNACTIVITY"]),
    ("macrodata", "US macroeconomic data", "Quarterly, 1959 to 2009: GDP, consumption, inflation, unemployment; by way of statsmodels.",
     ["average unemp by year", "plot infl over year"]),
    ("co2", "Mauna Loa CO2", "Weekly CO2 in the air, 1958 to 2001, with gaps; by way of statsmodels.",
     ["plot average co2 over date", "missing values"]),
]


def main():
    jailrun = os.path.join(sys.argv[1], "jailrun")
    registry = os.path.join(HERE, "registry.json")
    if os.path.exists(registry):
        os.remove(registry)
    for name, title, description, prompts in SETS:
        words = [jailrun, "datasets", "add", name, f"{FOLDER}{name}.csv", "--dir", HERE,
                 "--name", title, "--description", description]
        for prompt in prompts:
            words += ["--prompt", prompt]
        subprocess.run(words, check=True)


main()
