// jailrun killed by SIGKILL at any instant: no process outlives it by a second, and what it could
// not remove itself, the cgroups named jailrun-N, the next run with its uid sweeps.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "jail/sys/fd.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

extern char** environ;

namespace jailrun {
namespace {

using test::jailrun_program;

constexpr int kKills = 100;  // of each guest

std::int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// Starts it with no terminal, no output.
pid_t start(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd)
    ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  pid_t child = -1;
  if (::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ) != 0) child = -1;
  ::posix_spawn_file_actions_destroy(&actions);
  return child;
}

// SIGKILL after `delay_ns`, unless it has ended by then.
void kill_after(pid_t child, std::int64_t delay_ns) {
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  pollfd entry{process.get(), POLLIN, 0};
  const timespec delay{delay_ns / 1'000'000'000, delay_ns % 1'000'000'000};
  ::ppoll(&entry, 1, &delay, nullptr);
  ::kill(child, SIGKILL);
}

// Orphans come to this process: it is a subreaper. True if all have ended in time.
bool all_children_end_within(std::int64_t limit_ns) {
  const std::int64_t deadline = now_ns() + limit_ns;
  for (;;) {
    const pid_t pid = ::waitpid(-1, nullptr, WNOHANG | __WALL);
    if (pid < 0 && errno == ECHILD) return true;
    if (pid != 0) continue;
    if (now_ns() >= deadline) return false;
    ::poll(nullptr, 0, 1);
  }
}

class KilledAtAnyInstant : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    dir_ = std::filesystem::temp_directory_path() / ("jailrun-kill-" + std::to_string(::getpid()));
    std::filesystem::create_directory(dir_);
    std::ofstream(dir_ / "private") << "x";
    std::filesystem::permissions(dir_ / "private", std::filesystem::perms::owner_read);
    (void)test::run_command({.argv = {jailrun_program(), "exec", "--", "/bin/true"}});
  }
  void TearDown() override {
    std::filesystem::remove_all(dir_);
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  }

  void kill_often(const std::vector<std::string>& guest, std::int64_t last_ns) {
    std::vector<std::string> words = {jailrun_program(), "exec", "--json"};
    // Each of them takes a short-lived process that maps its owner to the guest.
    for (const char name : {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}) {
      words.insert(words.end(), {"-f", (dir_ / "private").string() + ":" + name});
    }
    words.emplace_back("--");
    words.insert(words.end(), guest.begin(), guest.end());
    const auto before = test::take_census();
    for (int i = 0; i < kKills; ++i) {
      const pid_t child = start(words);
      ASSERT_GT(child, 0);
      kill_after(child, last_ns * i / kKills);
      ASSERT_TRUE(all_children_end_within(1'000'000'000)) << "after kill " << i;
    }
    std::string unexpected;
    for (const auto& [name, detail] : test::take_census()) {
      const bool leftover = name.starts_with("cgroup ") && name.ends_with("/jailrun-0");
      if (!before.contains(name) && !leftover) unexpected += name + " " + detail + "\n";
    }
    EXPECT_EQ(unexpected, "");
    const test::Outcome next =
        test::run_command({.argv = {jailrun_program(), "exec", "--", "/bin/echo", "works"}});
    EXPECT_EQ(next.out, "works\n") << next.err;
    EXPECT_EQ(test::left_behind(before, test::take_census()), "");
  }

  std::filesystem::path dir_;
};

TEST_F(KilledAtAnyInstant, WhileAGuestIsStartedAndSleeps) {
  kill_often({"/bin/sleep", "60"}, 12'000'000);
}

TEST_F(KilledAtAnyInstant, WhileAGuestEndsAndItsFilesAreTakenOut) {
  kill_often({"/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo $i > $i; done"}, 20'000'000);
}

TEST_F(KilledAtAnyInstant, WhileAGuestForksWithoutEnd) {
  kill_often({"/bin/sh", "-c", "while :; do sleep 1 & /bin/true; done"}, 40'000'000);
}

}  // namespace
}  // namespace jailrun
