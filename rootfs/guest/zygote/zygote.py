"""The warm interpreter: imports once, then forks children that wait in their jails for one script.

    zygote   preload, warm up, freeze ──▶ ready() ──▶ next_child() … until it is retired
    child    next_child() returns in it, confined ──▶ refresh, touch ──▶ park() ──▶ request ──▶
             script as __main__ ──▶ finish ──▶ answer ──▶ _exit

Nothing here decides anything about confinement: jailrun_zygote (native) has done it all when
next_child() returns. Descriptors of a child: 0, 1, 2 streams, 3 request, 4 answer.
"""

import atexit
import builtins
import functools
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import linecache
import logging
import os
import signal
import struct
import sys
import threading
import time
import types

import jailrun_early
import jailrun_lean
import jailrun_policy

HERE = os.path.dirname(os.path.abspath(__file__))
REQUEST_FD, ANSWER_FD = 3, 4

# jail/run/frames.h
REQUEST_MAGIC = 0x3171726A
SESSION_MAGIC = 0x3173726A
ANSWER = struct.Struct("<IIiI5q")
ANSWER_MAGIC = 0x3161726A
DONE, EXCEPTION, EXIT = 0, 1, 2

# While the zygote imports: no library may start threads, they would not exist in a child.
SINGLE = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
        "ARROW_IO_THREADS",
    )
}
SINGLE["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # pyarrow's jemalloc


given = {}  # names that the policy gives to every __main__


# --- the zygote -----------------------------------------------------------------------------


def preload():
    """Imports what preload.txt lists. Gives the milliseconds of the dearest ones."""
    costs = []
    with open(os.path.join(HERE, "preload.txt"), encoding="utf-8") as lines:
        names = [line.split("#")[0].split() for line in lines]
    for name in (words[0] for words in names if words):
        start = time.monotonic_ns()
        importlib.import_module(name)
        costs.append(((time.monotonic_ns() - start) // 1_000_000, name))
    start = time.monotonic_ns()
    given.update(jailrun_policy.preload())
    costs.append(((time.monotonic_ns() - start) // 1_000_000, "what the policy names"))
    return sorted(costs, reverse=True)[:3]


WARM_UP = """
import io
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg

frame = pd.DataFrame({"name": list("abcabc"), "x": [1, 2, 3, 4, 5, 6], "y": np.linspace(0, 1, 6)})
frame["when"] = pd.to_datetime(["2024-01-01"] * 6)
frame = pd.read_csv(io.StringIO(frame.to_csv(index=False)), parse_dates=["when"])
frame.groupby("name").agg({"x": "sum", "y": "mean"}).sort_values("x").reset_index()
frame.groupby("name")["x"].sum()
frame.merge(frame, on="name").head().to_string()
frame[frame.x > 2].describe()
frame.pivot_table(index="name", values="y", aggfunc="mean")
frame.value_counts("name"), frame.dtypes, frame.info(buf=io.StringIO())
repr(frame), str(frame["x"]), frame.to_dict("records")
frame.isna().sum(), frame.x.rolling(2).mean()
square = np.array([[2.0, 1.0], [1.0, 3.0]])
np.linalg.inv(square), np.linalg.solve(square, square)
np.linalg.eigh(square), np.linalg.svd(square)
figure = Figure()
FigureCanvasAgg(figure)
axes = figure.subplots()
axes.plot(frame["x"], frame["y"], label="y")
axes.bar(["a", "b"], [1, 2])
axes.set_title("title")
axes.legend()
figure.savefig(io.BytesIO(), format="png")
"""


def check_single_thread():
    tasks = os.listdir("/proc/self/task")
    if len(tasks) == 1:
        return
    names = []
    for task in tasks:
        with open(f"/proc/self/task/{task}/comm") as comm:
            names.append(comm.read().strip())
    sys.exit(
        f"zygote: {len(tasks)} threads after the imports ({', '.join(sorted(names))}); only one "
        "survives a fork: take the module that starts them out of preload.txt"
    )


def fresh_streams():
    """sys.stdin, stdout, stderr as a Python that was started on three pipes would have them.

    The stream objects remember whether their descriptor can seek, so they are made here over a
    pipe: in a child they are right without a page being touched.
    """
    unbuffered = isinstance(sys.stdout.buffer, io.FileIO)  # PYTHONUNBUFFERED of the policy
    ends = os.pipe()
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old, kept = getattr(sys, name), os.dup(number)
        os.dup2(ends[0 if number == 0 else 1], number)
        raw_only = unbuffered and number > 0
        buffer = open(number, mode + "b", 0 if raw_only else -1, closefd=False)
        (buffer if raw_only else buffer.raw).name = f"<{name}>"
        stream = io.TextIOWrapper(
            buffer,
            encoding=old.encoding,
            errors=old.errors,
            newline="\n",
            line_buffering=number == 2,
            write_through=raw_only,
        )
        stream.mode = mode
        os.dup2(kept, number)
        os.close(kept)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.close(ends[0])
    os.close(ends[1])


def blas_setters():
    """Calls that raise the threads of a loaded OpenBLAS, where the policy gives more than one."""
    wanted = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or "1"
    if not wanted.isdigit() or int(wanted) <= 1:
        return []
    import ctypes

    setters = []
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "openblas" in line}
    for path in sorted(paths):
        library = ctypes.CDLL(path)
        for prefix in ("scipy_", ""):
            for suffix in ("64_", ""):
                setter = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
                if setter:
                    setters.append((setter, int(wanted)))
    return setters


def start():
    """Everything before the first fork. Gives the account for ready()."""
    began = time.monotonic_ns()
    policy = {name: os.environ.pop(name, None) for name in (*SINGLE, *jailrun_early.HELD)}
    os.environ.update(SINGLE)
    dearest = preload()
    exec(compile(WARM_UP, "<warm-up>", "exec"), {"__name__": "warm_up"})
    for name, value in policy.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    jailrun_early.start()
    check_single_thread()
    jailrun_lean.drop_exit_functions()
    jailrun_lean.drop_fonts()
    global raise_blas, numpy_key
    raise_blas, numpy_key = blas_setters(), jailrun_lean.numpy_key()
    for _ in range(20):  # specialised bytecode, filled caches: nothing of it is left to a child
        touch_fork()
        touch(TOUCH)
        touch(BRIEF)
        touch_session()
    fresh_streams()
    sys.path[0] = "/run"
    linecache.clearcache()
    gc.collect()
    gc.disable()  # the zygote makes no garbage, and a collection would dirty pages
    jailrun_lean.immortalize()
    jailrun_lean.trim()
    gc.freeze()  # no collection in a child walks, and so dirties, what was imported
    heap = jailrun_zygote.freeze_heap()
    took = (time.monotonic_ns() - began) // 1_000_000
    costs = ", ".join(f"{name} {ms} ms" for ms, name in dearest)
    return f"{took} ms ({costs}), {len(sys.modules)} modules; {heap}"


# --- a child, before its request ------------------------------------------------------------


def refresh():
    """What must differ from child to child. PyOS_AfterFork_Child has seeded `random`."""
    if numpy_key is None:
        sys.modules["numpy"].random.seed()
    else:
        numpy_key[:] = os.urandom(len(numpy_key))
    if tempfile := sys.modules.get("tempfile"):
        tempfile._name_sequence = None  # it compares pids, and they are alike in every jail
    if uuid := sys.modules.get("uuid"):
        uuid._node = uuid._last_timestamp = None
    if process := sys.modules.get("multiprocessing.process"):
        process.current_process().authkey = os.urandom(32)


def frame(script):
    """A request, as in jail/run/frames.h."""
    name, script = b"main.py", script.encode()
    rest = struct.pack("<II", 1, len(name)) + name + script
    return struct.pack("<II", REQUEST_MAGIC, len(rest)) + rest


# Light on purpose: each page that is touched here is paid by every child and held by every parked
# one. A first groupby would touch 800 pages more than this, which is twice the cost of the fork.
TOUCH = frame("""
import sys
import pandas as pd
def text(value, width=8):
    return f"{value:>{width}} {value!r}"
class Thing:
    def __init__(self, value):
        self.value = value
try:
    total = sum(Thing(i).value for i in range(4))
    {}["none"]
except KeyError as error:
    text(str(error), 4)
text(1.5), [i * 2 for i in range(3)], sorted({"b": 1, "a": 2}.items())
print(end="")
""")
BRIEF = frame("import sys; print(end='')")  # short: a request may come meanwhile


def touch(request):
    """Serves a request of our own, so that what serving touches is there before the real one."""
    ours, theirs = os.pipe()
    os.write(theirs, request)
    kept = os.dup(ours)  # serve() closes its request, and an answer needs a reader
    serve(main_module(), ours, theirs, os.getpid(), rehearsal=True)
    os.close(theirs)
    os.close(kept)
    linecache.cache.clear()


CELL = b'{"id":1,"op":"execute","code":"x = 6 * 7\\nx"}'


def touch_fork():
    """The same of what happens in a child before it is asked, in the zygote alone."""
    jailrun_lean.after_fork()
    refresh()
    main_module()


def touch_session():
    """The same of a session's cell, in the zygote alone: in each child it would take a quarter more
    CPU, also of those that serve a script. The answer goes where descriptor 4 leads: nowhere."""
    if jailrun_policy.SQL:
        return  # its cells open databases
    heard = signal.getsignal(signal.SIGINT)
    session = jailrun_session.Session(main_module(), lambda: None)
    session.serve(struct.pack("<II", SESSION_MAGIC, len(CELL)) + CELL)
    signal.signal(signal.SIGINT, heard)
    linecache.cache.clear()


# --- a child, with its request --------------------------------------------------------------


def main_module():
    """A fresh __main__, as `python3 PATH` makes it; serve() tells it its path."""
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins
    module.__file__ = module.__cached__ = None
    module.__annotations__ = {}
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", "")
    module.__dict__.update(given)
    return module


def remember_source(path, script):
    """Lines of the script for tracebacks and inspect, decoded only when somebody asks."""
    # The form that linecache.lazycache() leaves. The script is no file here.
    linecache.cache[path] = (functools.partial(importlib.util.decode_source, script),)


def show(error):
    """Prints an exception as CPython does at top level, without our own frames."""
    try:
        sys.last_exc = sys.last_value = error
        sys.last_type, sys.last_traceback = type(error), error.__traceback__
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as leave:
        return exit_status(leave)
    except BaseException as second:
        second.__traceback__ = second.__traceback__.tb_next
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(second), second, second.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, error.__traceback__)
    return 1


def exit_status(error):
    """The status of a SystemExit: None is 0, a number itself, anything else is printed."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
    try:
        sys.stdout.flush()
        print(code, file=sys.stderr)
    except Exception:
        pass
    return 1


def compiled(script, path, rehearsal):
    """Code of a script, once it has kept to the rules of its policy; ours keeps to none."""
    if rehearsal or not (jailrun_policy.CODE or jailrun_policy.SQL):
        return compile(script, path, "exec", dont_inherit=True)
    return jailrun_policy.compiled(script, path)


def run(module, script, argv, rehearsal):
    """Outcome, status, time of the first bytecode, and whether a KeyboardInterrupt ended it."""
    first = 0
    try:
        code = compiled(script, argv[0], rehearsal)
        first = time.monotonic_ns()
        exec(code, module.__dict__)
        return DONE, 0, first, False
    except BaseException as caught:
        error = caught
        # Without a first bytecode all frames are ours.
        error.__traceback__ = error.__traceback__.tb_next if first else None
    # Outside of the handler, so that an excepthook sees no exception in flight.
    if isinstance(error, SystemExit):
        return EXIT, exit_status(error), first, False
    return EXCEPTION, show(error), first, isinstance(error, KeyboardInterrupt)


def close_main(module):
    """Drops the script's variables, so that files it left open are written and __del__ runs."""
    names = module.__dict__
    for hidden in (True, False):
        for name in list(names):
            if name != "__builtins__" and name.startswith("_") == hidden:
                names[name] = None
    gc.collect()


def call_exit_functions():
    try:
        threading._shutdown()
    except KeyboardInterrupt:
        pass
    atexit._run_exitfuncs()


def finish(module, status, rehearsal):
    """What Py_FinalizeEx does before it frees memory; the kernel frees ours."""
    if rehearsal:
        logging.shutdown()  # the one exit function that every child has
    else:
        call_exit_functions()
    for flush in (False, True):
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None and not stream.closed:
                    stream.flush()
            except BrokenPipeError:
                pass
            except Exception:
                status = status or 120
        if not flush:
            close_main(module)
    return status


def serve(module, request_fd, answer_fd, pid, rehearsal=False):
    """One script, in a module that was made for it. Gives its status."""
    try:
        while (request := jailrun_zygote.receive(request_fd)) is True:
            touch(BRIEF)
    except ValueError:
        sys.exit("zygote: not a request on descriptor 3")
    if not rehearsal:
        jailrun_policy.add_packages()
    if isinstance(request, bytes):
        return jailrun_session.main(module, request, jailrun_zygote.adopt_orphans)
    if request is None:
        os._exit(0)
    received, argv, script = request
    path = argv[0] = argv[0] if "/" in argv[0] else "/run/" + argv[0]
    for setter, threads in raise_blas:
        setter(threads)
    sys.argv = argv
    sys.orig_argv = ["/usr/bin/python3", *argv]
    module.__file__ = module.__loader__.path = path
    remember_source(path, script)
    outcome, status, first, interrupted = run(module, script, argv, rehearsal)
    status = finish(module, status, rehearsal)
    if os.getpid() == pid:  # a fork of the script's own comes by here too
        done = time.monotonic_ns()
        told = 130 if interrupted else status
        try:
            answer = (ANSWER_MAGIC, outcome, told, 0, received, first, done, 0, 0)
            os.write(answer_fd, ANSWER.pack(*answer))
        except OSError:
            pass
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def child(hurry):
    gc.enable()
    refresh()
    module = sys.modules["__main__"] = main_module()
    if not hurry:  # who waits already would wait longer for it than it saves
        touch(TOUCH)
    jailrun_zygote.park()
    try:
        status = serve(module, REQUEST_FD, ANSWER_FD, os.getpid())
    except SystemExit as leave:  # ours: what the zygote has imported is not to be taken apart
        status = exit_status(leave)
    os._exit(status)


if __name__ == "__main__":
    import jailrun_zygote
    import jailrun_session

    jailrun_zygote.ready(start())
    kind = jailrun_zygote.next_child()
    if kind >= 0:
        child(hurry=kind == 1)
    os._exit(0)
