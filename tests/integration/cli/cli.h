// The program as a clumsy or hostile user calls it, through a shell: $J is jailrun, the directory
// is new and empty, and whatever a test does, the census before and after it is the same.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/census.h"
#include "tests/support/command.h"

namespace jailrun::test {

class Cli : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    char name[] = "/tmp/jailrun-cli-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    std::filesystem::permissions(dir_, std::filesystem::perms(0755));
    // What stays on purpose: the lock file and the null network of the first run.
    const auto at_first = census();
    ASSERT_EQ(sh("$J exec -- /bin/true").status, 0) << "the image is missing? build it first";
    before_ = census();
    EXPECT_THAT(left_behind(at_first, before_), testing::Not(testing::HasSubstr("cgroup ")));
  }
  void TearDown() override {
    if (dir_.empty()) return;
    EXPECT_EQ(left_behind(before_, census()), "");
    std::filesystem::remove_all(dir_);
  }

  // Compiled Plans are kept; their temporary names are not.
  static std::map<std::string, std::string> census() {
    auto all = take_census();
    std::erase_if(all, [](const auto& entry) {
      return entry.first.starts_with("file /run/jailrun/plan-") &&
             entry.first.rfind('.') == std::string::npos;
    });
    return all;
  }

  Outcome sh(const std::string& script, const std::string& input = "", int signal_after_ms = 0,
             int signal = 2) const {
    return run_command({.argv = {"/bin/sh", "-c", script},
                        .input = input,
                        .environment = {"J=" + jailrun_program()},
                        .directory = dir_,
                        .kill_after_ms = signal_after_ms,
                        .kill_signal = signal});
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(dir_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  std::filesystem::path dir_;
  std::map<std::string, std::string> before_;
};

// Nothing on stdout; one line on stderr that names the thing and, after a ';', the remedy.
inline void expect_refused(const Outcome& outcome, int status,
                           const std::vector<std::string>& named) {
  EXPECT_EQ(outcome.status, status) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, testing::MatchesRegex("jailrun: [^\n]+; [^\n]+\n"));
  for (const std::string& text : named) EXPECT_THAT(outcome.err, testing::HasSubstr(text));
}

inline std::int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace jailrun::test
