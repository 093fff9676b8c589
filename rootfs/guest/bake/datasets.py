"""Runs once, in the finished tree, before tests are pruned: {name: {"csv": …, "from": …}} on stdout.

Nothing is downloaded: every set comes out of a wheel that the lock file names.
"""

import gzip
import importlib
import io
import json
import pkgutil
import sys
from pathlib import Path

import pandas as pd
import plotly
import sklearn
import statsmodels.datasets

SETS = {}


def add(name, frame, source):
    """Adds a set; the first package that ships a name wins."""
    if name not in SETS:
        SETS[name] = {"csv": frame.to_csv(index=False, lineterminator="\n"), "from": source}


def from_plotly():
    """tips, iris, gapminder and more, with the columns that seaborn's copies have."""
    for path in sorted(Path(plotly.__file__).parent.glob("package_data/datasets/*.csv.gz")):
        frame = pd.read_csv(path)
        if path.name == "iris.csv.gz":
            frame = frame.drop(columns="species_id")
        add(path.name.removesuffix(".csv.gz"), frame, "plotly")


def arff(identifier):
    """A data set of OpenML that scikit-learn ships for its own tests; '?' and '_' are missing values."""
    folder = Path(sklearn.__file__).parent / "datasets/tests/data/openml" / f"id_{identifier}"
    (path,) = folder.glob("data-v1-dl-*.arff.gz")
    head, body = [], []
    lines = iter(gzip.decompress(path.read_bytes()).decode().splitlines())
    for line in lines:
        words = line.split()
        if words and words[0].lower() == "@attribute":
            head.append(words[1].strip("'\""))
        if words and words[0].lower() == "@data":
            break
    body = [line for line in lines if line and not line.startswith("%")]
    return pd.read_csv(io.StringIO("\n".join(body)), names=head, na_values=["?", "_"], escapechar="\\")


def from_sklearn():
    """penguins and titanic brought to the columns of seaborn's copies, then the small classics."""
    penguins = arff(42585).rename(
        columns={"culmen_length_mm": "bill_length_mm", "culmen_depth_mm": "bill_depth_mm"}
    )
    add("penguins", penguins, "scikit-learn (OpenML 42585)")

    # All 1309 passengers; seaborn's own copy has the 891 of a training set.
    raw = arff(40945)
    age, sex = raw["age"], raw["sex"]
    titanic = raw[["survived", "pclass", "sex", "age", "sibsp", "parch", "fare", "embarked"]].copy()
    titanic["class"] = raw["pclass"].map({1: "First", 2: "Second", 3: "Third"})
    titanic["who"] = sex.map({"male": "man", "female": "woman"}).mask(age < 16, "child")
    titanic["adult_male"] = titanic["who"] == "man"
    titanic["deck"] = raw["cabin"].str[0].where(raw["cabin"].str[0].isin(list("ABCDEFG")))
    titanic["embark_town"] = raw["embarked"].map(
        {"C": "Cherbourg", "Q": "Queenstown", "S": "Southampton"}
    )
    titanic["alive"] = raw["survived"].map({0: "no", 1: "yes"})
    titanic["alone"] = (raw["sibsp"] + raw["parch"]) == 0
    add("titanic", titanic, "scikit-learn (OpenML 40945)")

    import sklearn.datasets

    for name in ("breast_cancer", "diabetes", "digits", "linnerud", "wine"):
        add(name, getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame, "scikit-learn")


def from_statsmodels():
    modules = {module.name for module in pkgutil.iter_modules(statsmodels.datasets.__path__)}
    for module in sorted(modules - {"template_data", "tests"}):
        package = importlib.import_module(f"statsmodels.datasets.{module}")
        if not hasattr(package, "load_pandas"):
            continue
        frame = package.load_pandas().data
        if not isinstance(frame, pd.DataFrame):
            frame = frame.to_frame()
        if not isinstance(frame.index, pd.RangeIndex):
            dated = isinstance(frame.index, pd.DatetimeIndex)
            frame = frame.rename_axis("date" if dated else frame.index.name or "index").reset_index()
        add(module, frame, "statsmodels")


from_plotly()
from_sklearn()
from_statsmodels()
json.dump(SETS, sys.stdout, sort_keys=True)
