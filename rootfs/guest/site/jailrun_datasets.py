"""seaborn.load_dataset without a network: the data sets that installed packages ship.

The build writes them to DIRECTORY as CSV under the names by which seaborn knows them, see bake/datasets.py.
"""

import functools
import os

DIRECTORY = "/usr/share/jailrun/datasets"


def names():
    """The data sets that load_dataset can load here."""
    return sorted(name[:-4] for name in os.listdir(DIRECTORY) if name.endswith(".csv"))


def offline(load_dataset):
    """seaborn's load_dataset (which orders categories and parses dates), fed from DIRECTORY."""

    @functools.wraps(load_dataset)
    def load(name, cache=True, data_home=None, **kws):
        own = data_home or os.environ.get("SEABORN_DATA")
        if not isinstance(name, str) or (own and os.path.exists(os.path.join(own, name + ".csv"))):
            return load_dataset(name, cache, data_home, **kws)
        if name not in names():
            raise ValueError(
                f"data set {name!r} is not in this image, and there is no network to fetch it; "
                f"available: {', '.join(names())}"
            )
        return load_dataset(name, True, DIRECTORY, **kws)

    return load
