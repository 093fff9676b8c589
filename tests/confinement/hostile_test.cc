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

#include "tests/confinement/hostile_attacks.h"
#include "tests/confinement/jailed.h"
#include "tests/support/census.h"
#include "tests/support/start.h"

namespace jailrun::test {
namespace {

constexpr std::uint64_t kMemoryBytes = 128ull << 20;
constexpr int kPatienceMs = 45'000;  // of a slow host, for a guest that has 30 seconds

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

// The kernel writes a line for a process that crashes and for one that its filter kills: a few, and
// not one for each.
TEST(HostileCrashes, DoNotFloodTheKernelsLog) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Fd log(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!log.valid()) GTEST_SKIP() << "this host shows no log of its kernel";
  ::lseek(log.get(), 0, SEEK_END);
  constexpr int kCrashes = 2000, kMostLines = 200;
  const Outcome outcome = probe_jailed({"crash", std::to_string(kCrashes)});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, std::to_string(kCrashes) + " crashed\n") << "the twin: they crash";
  int lines = 0;
  char line[8192];
  for (ssize_t n; (n = ::read(log.get(), line, sizeof line)) > 0 || (n < 0 && errno == EPIPE);)
    lines += n > 0 && std::string_view(line, static_cast<std::size_t>(n)).contains("probe") ? 1 : 0;
  EXPECT_LT(lines, kMostLines);
}

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

// The same on every file of the image that a guest can hold open: no other jail waits for any.
TEST(HostileLocks, OnFilesOfTheImageHoldNobodyUp) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Scratch scratch;
  const std::string script = scratch.file("hold.py", R"(
import fcntl, os, sys
kept = []
for directory, _, names in os.walk("/usr"):
    for name in names:
        try:
            kept.append(open(os.path.join(directory, name), "rb"))
            fcntl.flock(kept[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(kept[-1], fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError: pass
    if len(kept) > 1000: break
print("ready", len(kept) > 900, flush=True)
sys.stdin.readline()
)");
  Live holder({jailrun_program(), "run", "--cold", script});
  ASSERT_EQ(holder.read_line(), "ready True");
  const Outcome other = jailrun({"run", "--cold", "--json", "--timeout", "30s", "-"},
                                "import json, sqlite3, ssl\nprint('done')");
  EXPECT_EQ(other.status, 0) << other.out << other.err;
  holder.write("\n");
  EXPECT_EQ(holder.finish().status, 0);
}

}  // namespace
}  // namespace jailrun::test
