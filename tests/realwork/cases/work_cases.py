"""What programs do with threads, processes, files, time and signals."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest


def square(x):
    return x * x


class Processes(unittest.TestCase):
    def test_pools_by_each_start_method(self):
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method), multiprocessing.get_context(method).Pool(2) as pool:
                self.assertEqual(pool.map(square, range(10)), [x * x for x in range(10)])

    def test_shared_memory(self):
        from multiprocessing import shared_memory

        block = shared_memory.SharedMemory(create=True, size=4096)
        try:
            block.buf[:5] = b"hello"
            other = shared_memory.SharedMemory(block.name)
            self.assertEqual(bytes(other.buf[:5]), b"hello")
            other.close()
        finally:
            block.close()
            block.unlink()

    def test_queues_and_managers(self):
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=queue.put, args=(42,))
        child.start()
        self.assertEqual(queue.get(timeout=30), 42)
        child.join()
        with context.Manager() as manager:
            self.assertEqual(dict(manager.dict(a=1)), {"a": 1})

    def test_executors(self):
        for kind in (concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor):
            with self.subTest(kind.__name__), kind(2) as pool:
                self.assertEqual(sum(pool.map(square, range(5))), 30)

    def test_joblib(self):
        from joblib import Memory, Parallel, delayed

        for backend in ("threading", "multiprocessing", "loky"):
            with self.subTest(backend):
                self.assertEqual(
                    Parallel(n_jobs=2, backend=backend)(delayed(square)(i) for i in range(5)),
                    [0, 1, 4, 9, 16],
                )
        with tempfile.TemporaryDirectory() as place:
            self.assertEqual(Memory(place, verbose=0).cache(square)(5), 25)

    def test_subprocesses(self):
        self.assertEqual(
            subprocess.run(["sh", "-c", "echo a | tr a b"], capture_output=True, text=True).stdout,
            "b\n",
        )
        self.assertEqual(subprocess.check_output([sys.executable, "-c", "print(6 * 7)"]), b"42\n")
        with self.assertRaises(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "60"], timeout=0.1)
        with self.assertRaises(FileNotFoundError):
            subprocess.run(["no-such-program"])


class Threads(unittest.TestCase):
    def test_many(self):
        threads = [threading.Thread(target=time.sleep, args=(0.1,)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def test_asyncio(self):
        async def both():
            process = await asyncio.create_subprocess_exec(
                "echo", "hi", stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
            return await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.to_thread(square, 3)), out

        self.assertEqual(asyncio.run(both()), ([1, 9], b"hi\n"))

    def test_signals(self):
        heard = []
        signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        begun = time.monotonic()
        while not heard and time.monotonic() - begun < 30:
            time.sleep(0.01)
        self.assertEqual(heard, [1])


class Files(unittest.TestCase):
    def test_trees(self):
        with tempfile.TemporaryDirectory() as place:
            for i in range(300):
                os.makedirs(f"{place}/{i % 10}/{i}")
                with open(f"{place}/{i % 10}/{i}/f", "w") as file:
                    file.write(str(i))
            shutil.make_archive(place + "/all", "gztar", place, "1")
            shutil.copytree(place + "/1", place + "/copy", symlinks=True)
            os.symlink("f", place + "/1/1/link")
            os.link(place + "/1/1/f", place + "/1/1/hard")
            self.assertEqual(sum(len(files) for _, _, files in os.walk(place + "/copy")), 30)

    def test_locks_and_maps(self):
        import fcntl
        import mmap

        with tempfile.TemporaryFile() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(8192)
            with mmap.mmap(file.fileno(), 8192) as area:
                area[:3] = b"abc"
            self.assertEqual(file.read(3), b"abc")

    def test_sqlite_of_two_connections(self):
        with tempfile.TemporaryDirectory() as place:
            a, b = (sqlite3.connect(place + "/base", timeout=10) for _ in range(2))
            a.execute("pragma journal_mode=wal")
            a.execute("create table t (x)")
            a.commit()
            b.execute("insert into t values (1)")
            b.commit()
            self.assertEqual(a.execute("select * from t").fetchall(), [(1,)])
            a.close()
            b.close()

    def test_disk_usage(self):
        self.assertGreater(shutil.disk_usage("/tmp").free, 1 << 20)


class System(unittest.TestCase):
    def test_pairs_of_sockets(self):
        a, b = socket.socketpair()
        with a, b:
            a.sendall(b"x")
            self.assertEqual(b.recv(1), b"x")

    def test_loopback(self):
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), 5) as line,
        ):
            there, _ = server.accept()
            with there:
                there.sendall(b"x")
                self.assertEqual(line.recv(1), b"x")

    def test_cpus_and_memory(self):
        self.assertGreater(os.cpu_count(), 0)
        self.assertGreater(len(os.sched_getaffinity(0)), 0)
        import resource

        self.assertGreater(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0)

    def test_time_zones_and_locale(self):
        import locale
        import zoneinfo

        self.assertGreater(len(zoneinfo.available_timezones()), 400)
        locale.setlocale(locale.LC_ALL, "C.UTF-8")

    def test_ctypes(self):
        import ctypes

        double = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: 2 * x)
        self.assertEqual(double(21), 42)
        self.assertEqual(ctypes.CDLL(None).abs(-3), 3)

    def test_user(self):
        import getpass
        import pwd

        self.assertEqual(pwd.getpwuid(os.getuid()).pw_name, getpass.getuser())
