"""scipy, scikit-learn, statsmodels, sympy, networkx."""

import unittest

import numpy as np


class Scipy(unittest.TestCase):
    def test_optimize_integrate_interpolate(self):
        from scipy import integrate, interpolate, optimize

        np.testing.assert_allclose(
            optimize.minimize(optimize.rosen, [1.3, 0.7, 0.8], method="BFGS").x, 1, atol=1e-3
        )
        self.assertAlmostEqual(integrate.quad(np.sin, 0, np.pi)[0], 2)
        x = np.linspace(0, 10, 50)
        np.testing.assert_allclose(
            interpolate.CubicSpline(x, np.sin(x))(5.05), np.sin(5.05), atol=1e-4
        )

    def test_sparse_signal_stats(self):
        from scipy import signal, sparse, stats

        a = sparse.eye(1000, format="csr") * 3
        np.testing.assert_allclose(sparse.linalg.spsolve(a, np.ones(1000)), 1 / 3)
        self.assertEqual(signal.fftconvolve(np.ones(100), np.ones(10)).shape, (109,))
        self.assertGreater(stats.ttest_ind(np.arange(100), np.arange(100)).pvalue, 0.99)

    def test_workers(self):
        from scipy import fft, optimize, spatial

        a = np.random.default_rng(1).normal(size=(64, 4096))
        np.testing.assert_allclose(fft.fft(a, workers=4), fft.fft(a))
        tree = spatial.cKDTree(a[:, :3])
        self.assertEqual(tree.query(a[:, :3], workers=4)[1].tolist(), list(range(64)))
        found = optimize.differential_evolution(optimize.rosen, [(-2, 2)] * 2, seed=1, maxiter=30)
        self.assertLess(found.fun, 1e-3)

    def test_files(self):
        import io

        from scipy import io as formats

        file = io.BytesIO()
        formats.savemat(file, {"a": np.eye(3)})
        np.testing.assert_array_equal(formats.loadmat(io.BytesIO(file.getvalue()))["a"], np.eye(3))


class Sklearn(unittest.TestCase):
    def setUp(self):
        from sklearn.datasets import make_classification

        self.x, self.y = make_classification(600, 20, random_state=1)

    def test_pipelines(self):
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        scores = cross_val_score(
            make_pipeline(StandardScaler(), LogisticRegression()), self.x, self.y, cv=3
        )
        self.assertGreater(scores.mean(), 0.7)

    def test_threads(self):
        from sklearn.ensemble import (
            HistGradientBoostingClassifier,
            RandomForestClassifier,
        )

        self.assertGreater(
            RandomForestClassifier(50, n_jobs=4, random_state=1)
            .fit(self.x, self.y)
            .score(self.x, self.y),
            0.95,
        )
        HistGradientBoostingClassifier(max_iter=20).fit(self.x, self.y)

    def test_processes(self):
        from joblib import parallel_backend
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV

        search = GridSearchCV(Ridge(), {"alpha": [0.1, 1, 10]}, n_jobs=2)
        for backend in ("loky", "multiprocessing", "threading"):
            with self.subTest(backend), parallel_backend(backend):
                self.assertIn("alpha", search.fit(self.x, self.y).best_params_)

    def test_bundled_data(self):
        from sklearn.datasets import load_digits, load_iris

        self.assertEqual((load_iris().data.shape, load_digits().data.shape), ((150, 4), (1797, 64)))

    def test_clusters(self):
        from sklearn.cluster import DBSCAN, KMeans

        self.assertEqual(len(set(KMeans(3, n_init=2, random_state=1).fit(self.x).labels_)), 3)
        DBSCAN().fit(self.x)


class Statsmodels(unittest.TestCase):
    def test_models(self):
        import pandas as pd
        import statsmodels.api as sm
        import statsmodels.formula.api as formulas

        random = np.random.default_rng(1)
        x = random.normal(size=200)
        table = pd.DataFrame({"x": x, "y": 2 * x + random.normal(size=200) / 10})
        fit = formulas.ols("y ~ x", table).fit()
        self.assertAlmostEqual(fit.params["x"], 2, places=1)
        self.assertIn("R-squared", str(fit.summary()))
        sm.GLM(
            (x > 0).astype(int),
            sm.add_constant(random.normal(size=200)),
            family=sm.families.Binomial(),
        ).fit()

    def test_time_series(self):
        from statsmodels.tsa.arima.model import ARIMA

        self.assertEqual(
            len(
                ARIMA(np.cumsum(np.random.default_rng(1).normal(size=100)), order=(1, 1, 1))
                .fit()
                .forecast(5)
            ),
            5,
        )

    def test_bundled_data(self):
        import statsmodels.api as sm

        self.assertGreater(len(sm.datasets.longley.load_pandas().data), 10)


class Others(unittest.TestCase):
    def test_sympy(self):
        import sympy

        x = sympy.symbols("x")
        self.assertEqual(sympy.integrate(sympy.sin(x), (x, 0, sympy.pi)), 2)
        self.assertEqual(sympy.lambdify(x, x**2, "numpy")(3), 9)

    def test_networkx(self):
        import networkx

        graph = networkx.karate_club_graph()
        self.assertEqual(len(networkx.shortest_path(graph, 0, 33)), 3)
        self.assertAlmostEqual(sum(networkx.pagerank(graph).values()), 1)
