// Guests that want to harm: for each the right verdict in bounded time and memory, nothing left,
// and a neighbour that lives through it and answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/confinement/jailed.h"
#include "tests/support/census.h"
#include "tests/support/start.h"

namespace jailrun::test {
namespace {

constexpr std::uint64_t kMemoryBytes = 128ull << 20;
constexpr int kPatienceMs = 45'000;  // of a slow host, for a guest that has 30 seconds

struct Attack {
  const char* name;
  std::vector<const char*> verdicts;  // any of these
  const char* script;
};

void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }

constexpr const char* kTime = "wall_timeout";
constexpr const char* kMemory = "out_of_memory";
constexpr const char* kOk = "ok";
constexpr const char* kFailed = "nonzero_exit";

const std::vector<Attack> kProcesses = {
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
    {"AProcessThatIsNeverTheSame", {kTime}, R"(
import os, time
if os.fork() == 0:
    while True:
        if os.fork() != 0: os._exit(0)
time.sleep(1000)
)"},
};

const std::vector<Attack> kMemories = {
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

const std::vector<Attack> kTables = {
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
    {"AHundredThousandTimers", {kOk}, R"(
import ctypes
libc = ctypes.CDLL(None)
timer = ctypes.c_void_p()
made = 0
while made < 100000 and libc.timer_create(1, None, ctypes.byref(timer)) == 0: made += 1
raise SystemExit(0 if made < 100000 else 1)
)"},
};

class Hostile : public testing::TestWithParam<Attack> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

// A guest that has to be stopped gets a second; one that ends by itself has as long as a busy host
// needs.
std::vector<std::string> run_hostile(bool stopped, const std::vector<std::string>& options = {}) {
  std::vector<std::string> words = {"run",       "--policy",
                                    "python",    "--json",
                                    "--set",     "limits.memory=128MiB",
                                    "--timeout", stopped ? "1s" : "30s"};
  if (is_warm_start()) {
    const char* start = std::getenv("JAILRUN_TEST_START");
    ::setenv("JAILRUN_SOCKET", ("/run/jailrun-test/" + std::string(start)).c_str(), 1);
    words.emplace_back("--warm");
  } else {
    words.emplace_back("--cold");
  }
  words.insert(words.end(), options.begin(), options.end());
  words.emplace_back("-");
  return words;
}

// Beside a neighbour that waits.
void expect_harmless(const std::function<Outcome()>& attack,
                     const std::vector<const char*>& verdicts) {
  const auto before = take_census();
  const auto neighbour = waiting_jail();
  ASSERT_NE(neighbour, nullptr);
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome = attack();
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  EXPECT_LT(took.count(), kPatienceMs);

  const auto result = nlohmann::json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(result.is_object() && result.contains("verdict")) << outcome.out << outcome.err;
  EXPECT_THAT(verdicts, testing::Contains(result["verdict"].get<std::string>())) << outcome.out;
  const auto& peak = result["usage"]["memory_peak_bytes"];
  if (peak.is_number()) {
    EXPECT_LE(peak.get<std::uint64_t>(), kMemoryBytes);
  }

  neighbour->write("\n");
  EXPECT_EQ(neighbour->finish().status, 0) << "the neighbour did not live through it";
  // A daemon makes a new jail for each that is used.
  if (!is_warm_start()) {
    EXPECT_EQ(left_for_good(before), "");
  }
}

TEST_P(Hostile, GuestIsJudgedRightlyAndHarmsNobody) {
  const bool stopped = GetParam().verdicts.front() == std::string_view(kTime);
  expect_harmless([&] { return jailrun(run_hostile(stopped), GetParam().script); },
                  GetParam().verdicts);
}

// The same without an interpreter around it: a static program of the guest's own.
TEST(HostileProgram, OfTheGuestsOwnIsJudgedRightlyAndHarmsNobody) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  // A machine without hardware help fills 64 MiB within the second.
  const std::vector<std::string> options = {"--json", "--timeout", "1s", "--set",
                                            "limits.memory=64MiB"};
  const std::pair<const char*, const char*> attacks[] = {
      {"fork-bomb", kTime}, {"memory-bomb", kMemory}, {"deaf-loop", kTime}, {"daemonize", kOk}};
  for (const auto& [attack, verdict] : attacks) {
    SCOPED_TRACE(attack);
    expect_harmless([&] { return probe_jailed({attack}, options); }, {verdict});
  }
}

std::string name_of(const testing::TestParamInfo<Attack>& attack) { return attack.param.name; }

INSTANTIATE_TEST_SUITE_P(Processes, Hostile, testing::ValuesIn(kProcesses), name_of);
INSTANTIATE_TEST_SUITE_P(Memory, Hostile, testing::ValuesIn(kMemories), name_of);
INSTANTIATE_TEST_SUITE_P(Tables, Hostile, testing::ValuesIn(kTables), name_of);

// A lock on a file that the guest may only read is a known gap (DESIGN.md): it ends with the guest.
TEST(HostileLocks, OnAnInputEndWithTheGuest) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Scratch scratch;
  const std::string path = scratch.file("shared", "x");
  const Outcome outcome = jailrun(run_hostile(true, {"--file", path}), R"(
import fcntl, os, time
file = open("/data/shared")
fcntl.flock(file, fcntl.LOCK_EX)
for _ in range(3):
    if os.fork() == 0: os.setsid()
time.sleep(1000)
)");
  EXPECT_THAT(outcome.out, testing::HasSubstr(kTime)) << outcome.err;
  const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(::flock(file.get(), LOCK_EX | LOCK_NB), 0) << "somebody of the jail still holds it";
}

}  // namespace
}  // namespace jailrun::test
