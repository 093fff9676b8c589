// Cells that mean harm: whatever was done, jaild and the client have not grown by it, nothing of it
// is left, and the next session is fine.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <utility>

#include "tests/integration/jaild/cells.h"

namespace jailrun::test {

inline constexpr std::uint64_t kMillisecond = 1'000'000;

inline double seconds_since(std::int64_t begun) {
  return static_cast<double>(monotonic_ns() - begun) / 1e9;
}

// The most memory that a process has had since the last call of start().
class Peak {
 public:
  explicit Peak(pid_t pid) : proc_("/proc/" + std::to_string(pid)) { start(); }
  void start() { std::ofstream(proc_ + "/clear_refs") << 5; }
  std::uint64_t mib() const {
    std::ifstream status(proc_ + "/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) >> 10;
    return ~0ull;
  }

 private:
  std::string proc_;
};

class HostileCells : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    daemon_ = new Daemon({"--warm", "python", "--sessions-per-user", "40"});
  }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  void TearDown() override {
    EXPECT_LT(jaild_.mib(), 64u);
    EXPECT_LT(own_.mib(), 400u);
    Session next = make_session(client_);
    EXPECT_EQ(value_of(next, "import os\n(1 + 1, os.listdir('/work'))"), "(2, [])");
    EXPECT_TRUE(next.close());
    EXPECT_TRUE(soon([] { return daemon_->metric("jaild_leased") == 0; }));
  }

  static inline Daemon* daemon_ = nullptr;
  Client client_ = daemon_->connect();
  Peak jaild_{daemon_->pid()}, own_{::getpid()};
};

}  // namespace jailrun::test
