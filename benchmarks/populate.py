# A part of zygote.py in a variant of benchmarks/ladder: the pages that a child dirties until it is parked are copied
# by one system call for each run of them, not by a fault for each page.
import ctypes

MADV_POPULATE_WRITE, PAGE = 23, 4096
LIBC = ctypes.PyDLL(None)
dirtied = []  # (address, size)


def dirtied_pages():
    """Of the heap image, by this process: what is present and no longer the image's."""
    pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
    with open("/proc/self/maps") as maps:
        lines = [line.split()[0].split("-") for line in maps if " rw-p " in line and "jailrun-heap" in line]
    for begin, end in ((int(begin, 16), int(end, 16)) for begin, end in lines):
        words = os.pread(pagemap, (end - begin) // PAGE * 8, begin // PAGE * 8)
        for number, word in enumerate(struct.unpack(f"{len(words) // 8}Q", words)):
            if word >> 63 and not word >> 61 & 1:
                yield begin + number * PAGE


def learn_pages():
    ours, theirs = os.pipe()
    if os.fork() == 0:
        touch(TOUCH)
        with open(theirs, "w") as out:
            out.write(" ".join(map(str, dirtied_pages())))
        os._exit(0)
    os.close(theirs)
    with open(ours) as told:
        pages = sorted(map(int, told.read().split()))
    os.wait()
    for page in pages:
        if dirtied and sum(dirtied[-1]) == page:
            dirtied[-1] = (dirtied[-1][0], dirtied[-1][1] + PAGE)
        else:
            dirtied.append((page, PAGE))
    return f"; {len(pages)} pages in {len(dirtied)} runs are populated"


def populate():
    for address, size in dirtied:
        LIBC.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), MADV_POPULATE_WRITE)


