import os
import tempfile
import threading
import unittest

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal


class Numpy(unittest.TestCase):
    def setUp(self):
        self.random = np.random.default_rng(1)

    def test_linear_algebra(self):
        a = self.random.normal(size=(300, 300))
        assert_allclose(np.linalg.inv(a) @ a, np.eye(300), atol=1e-6)
        u, s, v = np.linalg.svd(a)
        assert_allclose(u * s @ v, a, atol=1e-9)

    def test_fft(self):
        a = self.random.normal(size=1 << 14)
        assert_allclose(np.fft.irfft(np.fft.rfft(a)), a, atol=1e-12)

    def test_memmap(self):
        with tempfile.NamedTemporaryFile() as file:
            written = np.memmap(file.name, dtype="f8", mode="w+", shape=(1000, 10))
            written[:] = np.arange(10)
            written.flush()
            assert_array_equal(
                np.memmap(file.name, dtype="f8", mode="r", shape=(1000, 10))[7], np.arange(10)
            )

    def test_files(self):
        with tempfile.TemporaryDirectory() as place:
            a = self.random.normal(size=(100, 3))
            for name, save, load in (
                ("a.npy", np.save, np.load),
                ("a.txt", np.savetxt, np.loadtxt),
            ):
                save(os.path.join(place, name), a)
                assert_allclose(load(os.path.join(place, name)), a)
            np.savez_compressed(os.path.join(place, "a.npz"), a=a)
            assert_array_equal(np.load(os.path.join(place, "a.npz"))["a"], a)

    def test_threads(self):
        sums = {}

        def work(i):
            sums[i] = float(np.linalg.eigvalsh(np.eye(100) * i).sum())

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sums, {i: 100.0 * i for i in range(8)})

    def test_large_array(self):
        self.assertEqual(int(np.ones(20_000_000, dtype="u1").sum()), 20_000_000)

    def test_text_of_configuration(self):
        np.show_config(mode="dicts")
