// How a jail of each shipped policy and each life stage stands, compared line by line with
// golden/STAGE-POLICY.txt. JAILRUN_UPDATE_GOLDEN=1 writes the files anew: read the difference.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/confinement/posture_text.h"
#include "tests/confinement/session.h"
#include "tests/support/start.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;

std::string stage() {
  const char* start = std::getenv("JAILRUN_TEST_START");
  return start == nullptr ? "cold" : start;
}

void expect_golden(const std::string& policy, std::vector<std::string> lines) {
  const fs::path path =
      fs::path(JAILRUN_SOURCE_DIR "/tests/confinement/golden") / (stage() + "-" + policy + ".txt");
  if (std::getenv("JAILRUN_UPDATE_GOLDEN") != nullptr) {
    std::ofstream file(path);
    for (const std::string& line : lines) file << line << "\n";
  }
  std::vector<std::string> golden;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) golden.push_back(line);
  EXPECT_EQ(differences(golden, lines), "") << path << "\nJAILRUN_UPDATE_GOLDEN=1 writes it anew";
}

// Threads of its own too: each has to stand as the first one does.
constexpr const char* kWait = R"(
import sys, threading
for _ in range(3): threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
)";

// The first process of the jail in whose /work there is a file of that name.
pid_t guest_with(const std::string& mark) {
  pid_t guest = -1;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || !fs::exists(entry.path() / "root/work" / mark, error)) continue;
    std::istringstream numbers(status_field(pid, "NSpid"));
    pid_t innermost = 0;
    for (pid_t number; numbers >> number;) innermost = number;
    if (innermost > 1 && (guest < 0 || pid < guest)) guest = pid;
  }
  return guest;
}

class Golden : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

TEST_F(Golden, EveryJailStandsAsItsFileSays) {
  if (is_session_start()) {
    const LiveSession session({}, "python");
    const std::string mark = "golden-" + std::to_string(::getpid());
    const Outcome made = session.exec(
        "import threading\n"
        "for _ in range(3): threading.Thread(target=threading.Event()"
        ".wait, daemon=True).start()\n"
        "open('/work/" +
        mark + "', 'w').close()");
    ASSERT_EQ(made.status, 0) << made.err;
    const pid_t guest = guest_with(mark);
    ASSERT_GT(guest, 0);
    expect_golden("python", posture_text(1, warm_init(guest), guest));
    return;
  }
  if (is_warm_start()) ::setenv("JAILRUN_SOCKET", ("/run/jailrun-test/" + stage()).c_str(), 1);
  std::vector<std::string> policies;
  for (const auto& entry : fs::directory_iterator(JAILRUN_SOURCE_DIR "/policies")) {
    if (entry.path().extension() == ".textproto") policies.push_back(entry.path().stem().string());
  }
  std::ranges::sort(policies);
  ASSERT_GE(policies.size(), 11u);
  if (is_warm_start()) policies = {"python"};
  const std::string script = testing::TempDir() + "/jailrun-golden-" + std::to_string(::getpid());
  std::ofstream(script) << kWait;
  for (const std::string& policy : policies) {
    SCOPED_TRACE(policy);
    // `exec`, for some policies have a program of their own that serves `run`.
    Live jail(is_warm_start()
                  ? std::vector<std::string>{jailrun_program(), "run", "--warm", "--policy", policy,
                                             script}
                  : std::vector<std::string>{jailrun_program(), "exec", "--cold", "--policy",
                                             policy, "--", "/usr/bin/python3", "-c", kWait});
    ASSERT_EQ(jail.read_line(), "ready");
    expect_golden(policy, posture_text(jail.pid(), jail.init(), jail.guest()));
    jail.write("\n");
    EXPECT_EQ(jail.finish().status, 0);
  }
  ::unlink(script.c_str());
}

}  // namespace
}  // namespace jailrun::test
