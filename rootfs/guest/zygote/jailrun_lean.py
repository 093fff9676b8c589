"""What makes the imported interpreter lean to fork: a child copies each page that it writes.

Called by the zygote, before its first fork.
"""

import atexit
import gc
import logging
import random
import sys
import threading
import types

import jailrun_zygote


def drop_exit_functions():
    """Takes back what imports have registered only to free memory or windows: a child has none."""
    from matplotlib._pylab_helpers import Gcf
    from PIL import Image

    atexit.unregister(Gcf.destroy_all)
    atexit.unregister(Image.core.clear_cache)
    for thing in gc.get_objects():  # of nanobind, in DuckDB: clears the caches of `typing`
        if type(thing) is types.FunctionType and thing.__name__ == "cleanup":
            if thing.__code__.co_filename == "<internal>":
                atexit.unregister(thing)


def drop_fonts():
    """matplotlib has each child take this cache apart, for FreeType outlives no fork."""
    from matplotlib import font_manager

    font_manager._get_font.cache_clear()


def numpy_key():
    """The key of the generator behind numpy.random.*, to be written: 624 random words are what its
    seed() makes, at a hundred pages less. None where its state lies otherwise (_mt19937.pxd)."""
    import ctypes

    import numpy

    numpy.random.seed()  # drops a kept gauss, too
    generator = numpy.random.get_bit_generator()
    if type(generator).__name__ != "MT19937":  # the policy's preload chose another
        return None
    key = generator.state["state"]["key"].tobytes()
    there = (ctypes.c_ubyte * len(key)).from_address(generator.ctypes.state_address)
    return memoryview(there).cast("B") if bytes(there) == key else None


def after_fork():
    """What PyOS_AfterFork_Child has modules do. Once it was done, their code is specialised and
    the caches of their types are filled, and a child that does it writes neither."""
    random.seed()
    threading._after_fork()
    logging._prepareFork()
    logging._after_at_fork_child_reinit_locks()


def immortalize():
    """Makes every object that the imports have made immortal.

    A child that merely looks at such an object would write its reference count, and so copy its
    page. CPython 3.12 and 3.13 leave the count alone where it is the largest 32-bit number, as
    they mark None and True themselves; nothing is lost, for none of these objects would die
    before its process does.
    """
    if not (3, 12) <= sys.version_info[:2] <= (3, 13) or sys.maxsize < 1 << 32:
        return 0
    seen = {}
    todo = gc.get_objects()
    mine = {id(seen), id(todo), id(sys._getframe())}
    while todo:
        found = []
        for thing in todo:
            if id(thing) in seen or id(thing) in mine:
                continue
            seen[id(thing)] = thing
            found.append(thing)
        todo = gc.get_referents(*found)
        for thing in found:
            if type(thing) is types.CodeType:  # holds what no collector sees
                todo += (thing.co_consts, thing.co_names, thing.co_code, thing.co_name)
                todo += (thing.co_filename, thing.co_qualname, thing.co_linetable)
                todo += (thing.co_exceptiontable, thing.co_varnames)
                todo += (thing.co_freevars, thing.co_cellvars)
            elif isinstance(thing, type):  # nor does it look into static types
                todo += (thing.__dict__, thing.__mro__, thing.__bases__, thing.__doc__)
        mine |= {id(todo), id(found)}
    things = list(seen.values())
    seen.clear()
    return jailrun_zygote.immortalize(things)


def trim():
    """Gives back what the imports have freed: the image would hold it for ever."""
    import ctypes

    ctypes.CDLL(None).malloc_trim(0)
