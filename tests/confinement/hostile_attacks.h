// Guests that want to harm, and how each may be judged.
#pragma once

#include <ostream>
#include <vector>

namespace jailrun::test {

struct Attack {
  const char* name;
  std::vector<const char*> verdicts;  // any of these
  const char* script;
};

inline void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }

inline constexpr const char* kTime = "wall_timeout";
inline constexpr const char* kMemory = "out_of_memory";
inline constexpr const char* kOk = "ok";
inline constexpr const char* kFailed = "nonzero_exit";
inline constexpr const char* kOutput = "output_limit";

inline const std::vector<Attack> kProcesses = {
    {"AForkBomb", {kTime}, R"(
import os
while True:
    try: os.fork()
    except OSError: pass
)"},
    {"AThreadBomb", {kTime, kFailed, kMemory}, R"(
import threading, time
while True:
    try: threading.Thread(target=time.sleep, args=(100,)).start()
    except RuntimeError: pass
)"},
    {"ALoopThatNoSignalEnds", {kTime}, R"(
import os, signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for _ in range(4): os.fork()
while True: pass
)"},
    {"DaemonsOfASessionOfTheirOwn", {kOk}, R"(
import os, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(3): os.close(fd)
            while True: time.sleep(1000)
        os._exit(0)
)"},
    {"SleepersThatHoldThePipes", {kOk}, R"(
import os, time
for _ in range(5):
    if os.fork() == 0: time.sleep(1000)
print("said")
)"},
    {"StoppedChildren", {kOk}, R"(
import os, signal
for _ in range(5):
    if os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)
)"},
    {"AStormOfSignals", {kTime}, R"(
import os, signal
for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGUSR1): signal.signal(number, lambda *_: None)
for _ in range(5): os.fork()
signal.setitimer(signal.ITIMER_PROF, 1e-6, 1e-6)
signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
while True:
    try: os.killpg(0, signal.SIGUSR1)
    except OSError: pass
)"},
    {"BombsForTheCompiler", {kOk, kMemory}, R"py(
import os
bombs = ("compile('(' * 10**6, 'x', 'eval')", "compile('-' * 10**6 + '1', 'x', 'eval')",
         "compile('x = 1\\n' * 10**5, 'x', 'exec')", "compile('[' * 90 + ']' * 90, 'x', 'eval')",
         "import marshal; marshal.loads(b'(\\x01\\x00\\x00\\x00' * 10**6)",
         "import sys; sys.setrecursionlimit(10**9); f = lambda: f(); f()",
         "import ctypes; ctypes.string_at(8)")
for bomb in bombs:
    child = os.fork()
    if child == 0:
        try: exec(bomb)
        except BaseException: pass
        os._exit(0)
    os.waitpid(child, 0)
)py"},
    {"WritesOfOneByte", {kTime, kOutput}, R"(
import os
while True: os.write(1, b"x")
)"},
    {"AProcessThatIsNeverTheSame", {kTime}, R"(
import os, time
if os.fork() == 0:
    while True:
        if os.fork() != 0: os._exit(0)
time.sleep(1000)
)"},
};

inline const std::vector<Attack> kMemories = {
    {"Heap", {kMemory}, "x = []\nwhile True: x.append(bytearray(1 << 20))"},
    {"HeapsOfManyProcesses", {kMemory}, R"(
import os, time
for _ in range(20):
    if os.fork() == 0:
        x = bytearray(30 << 20)
        time.sleep(1000)
time.sleep(1000)
)"},
    {"FilesInTmpfs", {kMemory, kFailed}, R"(
for place in ("/tmp", "/work", "/dev/shm"):
    try:
        with open(place + "/big", "wb") as file:
            while True: file.write(bytes(1 << 20))
    except OSError: pass
raise SystemExit(1)
)"},
    {"MemoryFiles", {kMemory}, R"(
import os
fds = []
while True:
    fds.append(os.memfd_create("x"))
    os.ftruncate(fds[-1], 8 << 20)
    os.pwrite(fds[-1], bytes(8 << 20), 0)
)"},
    {"SharedMappings", {kMemory}, R"(
import mmap
maps = []
while True:
    maps.append(mmap.mmap(-1, 8 << 20))
    maps[-1][:] = bytes(8 << 20)
)"},
    {"AddressesAlone", {kOk}, R"(
import mmap
kept, flags = [], mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_NORESERVE
try:
    while len(kept) < 256: kept.append(mmap.mmap(-1, 1 << 40, flags=flags))
except OSError: pass
)"},
    {"PageTables", {kMemory}, R"(
import mmap
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_NORESERVE
while True:
    space = mmap.mmap(-1, 1 << 40, flags=flags)
    for at in range(0, 1 << 40, 2 << 20): space[at]
)"},
    {"EveryMapping", {kOk, kMemory}, R"(
import errno, mmap
kept, kinds = [], (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE)
try:
    while True: kept.append(mmap.mmap(-1, 4096, prot=kinds[len(kept) % 2]))
except OSError as error:
    assert error.errno == errno.ENOMEM, error
)"},
    {"NamesThatAreNot", {kOk, kMemory}, R"(
import os
for number in range(100000):
    try: os.stat(f"/usr/{number:0200}")
    except OSError: pass
)"},
    {"PageCacheOfTheImage", {kOk}, R"(
import os
for directory, _, names in os.walk("/usr/lib"):
    for name in names:
        try:
            with open(os.path.join(directory, name), "rb") as file: file.read()
        except OSError: pass
)"},
    {"FullPipes", {kOk, kFailed, kMemory}, R"(
import os, fcntl
try:
    while True:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try: fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
        except OSError: pass
        try:
            while True: os.write(writer, bytes(65536))
        except BlockingIOError: pass
except OSError: pass
)"},
    {"FullSockets", {kOk, kFailed, kMemory}, R"(
import socket
pairs = []
try:
    while True:
        a, b = socket.socketpair()
        pairs.append((a, b))
        a.setblocking(False)
        try: a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
        except OSError: pass
        try:
            while True: a.send(bytes(65536))
        except BlockingIOError: pass
except OSError: pass
)"},
};

inline const std::vector<Attack> kTables = {
    {"EveryDescriptor", {kOk}, R"(
import os
fds = []
try:
    while True: fds.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    assert error.errno == 24, error
)"},
    {"DescriptorsInFlight", {kOk, kFailed, kMemory}, R"(
import array, os, socket
kept = []
for _ in range(300):
    try:
        a, b = socket.socketpair()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [b.fileno(), 1, 2] * 60))]
        a.setblocking(False)
        while True:
            try: a.sendmsg([b"x"], rights)
            except OSError: break
        kept.append(a)
        b.close()
    except OSError: break
)"},
    {"EveryInode", {kOk}, R"(
import errno
for place in ("/tmp", "/dev/shm"):
    try:
        for number in range(1 << 20): open(f"{place}/{number}", "x").close()
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    else: raise SystemExit(1)
)"},
    {"NestedEpolls", {kOk, kMemory}, R"(
import os, select
polls, refused = [select.epoll() for _ in range(200)], 0
for poll in polls:
    for other in polls:
        try: poll.register(other)
        except OSError: refused += 1
assert refused > 200 * 100, refused
reader, writer = os.pipe()
for poll in polls:
    try: poll.register(reader)
    except OSError: refused += 1
os.write(writer, b"x")
polls[0].poll(0)
)"},
    {"MuchToTakeDown", {kTime, kMemory}, R"(
import mmap, os, time
for place in ("/work", "/tmp", "/dev/shm"):
    try:
        for number in range(5000): os.symlink("x" * 200, f"{place}/{number}")
        for depth in range(2000): os.mkdir(place + "/d"); os.chdir(place := "d")
    except OSError: pass
kept = []
try:
    while len(kept) < 8000: kept.append(mmap.mmap(-1, 1 << 21, prot=1 + len(kept) % 2 * 2)); kept[-1][0]
except OSError: pass
time.sleep(1000)
)"},
    {"AHundredThousandTimers", {kOk}, R"(
import ctypes
libc = ctypes.CDLL(None)
timer = ctypes.c_void_p()
made = 0
while made < 100000 and libc.timer_create(1, None, ctypes.byref(timer)) == 0: made += 1
raise SystemExit(0 if made < 100000 else 1)
)"},
};

}  // namespace jailrun::test
