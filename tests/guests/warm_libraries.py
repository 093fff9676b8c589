"""Uses what libraries do with threads, processes, files; each says its name when its answer is right."""
import io
import multiprocessing
import os
import tempfile


def square(x):
    return x * x


def lapack():
    import numpy as np
    import scipy.linalg

    a = np.random.default_rng(1).normal(size=(200, 200))
    assert np.allclose(np.linalg.inv(a) @ a, np.eye(200), atol=1e-6)
    assert np.linalg.svd(a)[1].shape == (200,)
    assert scipy.linalg.lu(a)[0].shape == (200, 200)
    assert np.linalg.eigvalsh(a @ a.T).min() > 0


def pool():
    with multiprocessing.get_context("fork").Pool(3) as workers:
        assert workers.map(square, range(10)) == [x * x for x in range(10)]


def manager():
    with multiprocessing.get_context("fork").Manager() as host:
        shared = host.dict(a=1)
        shared["b"] = 2
        assert dict(shared) == {"a": 1, "b": 2}


def joblib():
    from joblib import Parallel, delayed

    for backend in ("threading", "multiprocessing"):
        work = (delayed(square)(i) for i in range(5))
        assert Parallel(n_jobs=2, backend=backend)(work) == [0, 1, 4, 9, 16]


def kmeans():
    import numpy as np
    from sklearn.cluster import KMeans

    points = np.concatenate([np.zeros((50, 2)), np.ones((50, 2))])
    assert len(set(KMeans(n_clusters=2, n_init=2, random_state=0).fit(points).labels_)) == 2


def duckdb():
    import duckdb

    base = duckdb.connect()
    base.execute("SET memory_limit='40MB'")
    # Larger than the memory that it may have: it spills.
    row = base.execute(
        "SELECT count(*) FROM (SELECT i, md5(i::VARCHAR) AS h FROM range(1500000) t(i) ORDER BY h)"
    ).fetchone()
    assert row == (1500000,)


def polars():
    import polars

    frame = polars.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    assert frame.group_by("k").agg(polars.col("v").sum()).sort("k")["v"].to_list() == [4, 2]


def parquet():
    import pandas as pd

    frame = pd.DataFrame({"x": range(1000)})
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "x.parquet")
        frame.to_parquet(path, engine="pyarrow")
        assert pd.read_parquet(path).equals(frame)


def matplotlib():
    import matplotlib.pyplot as plt

    plt.plot([1, 2, 3])
    image = io.BytesIO()
    plt.savefig(image)
    assert image.getvalue().startswith(b"\x89PNG")


for step in (lapack, pool, manager, joblib, kmeans, duckdb, polars, parquet, matplotlib):
    step()
    print(step.__name__)
