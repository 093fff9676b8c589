// What a jail must not take over from whoever starts it. Each hostile inheritance is first seen to
// work.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/confinement/jailed.h"

namespace jailrun::test {
namespace {

// Every byte of a process that its maps name as readable, searched for `text`.
bool memory_contains(pid_t pid, const std::string& text) {
  std::istringstream maps(proc_file(pid, "maps"));
  const Fd memory(::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(memory.valid());
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    char rights[8] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %7s", &begin, &end, rights) != 3 || rights[0] != 'r')
      continue;
    std::string bytes(end - begin, '\0');
    const ssize_t n = ::pread(memory.get(), bytes.data(), bytes.size(), static_cast<off_t>(begin));
    if (n > 0 && bytes.find(text) != std::string::npos) return true;
  }
  return false;
}

TEST(Inheritance, NoVariableOfTheCallerIsInAnyProcessOfTheJail) {
  const std::string secret = canary();
  const auto leave_it = [&] { ::setenv("JAILRUN_TEST_SECRET", secret.c_str(), 1); };
  const auto jail = waiting_jail({"wait"}, {}, leave_it);
  ASSERT_NE(jail, nullptr);
  EXPECT_FALSE(memory_contains(jail->guest(), secret));
  EXPECT_FALSE(memory_contains(jail->init(), secret))
      << "pid 1 of the jail still has the caller's environment";
  EXPECT_TRUE(memory_contains(jail->pid(), secret)) << "the twin: the search finds it where it is";
}

TEST(Inheritance, NoDescriptorOfTheCallerIsOpenInTheJail) {
  const auto leave_them = [] {
    for (const char* path : {"/", "/etc/passwd", "/proc"}) (void)!::open(path, O_RDONLY);
    ::dup2(1, 100);
    ::dup2(1, 1000);
  };
  EXPECT_EQ(probe_unjailed({"extra-descriptor"}, leave_them).status, 0) << "the twin has them";
  EXPECT_EQ(Live(jailed({"extra-descriptor"}), leave_them).finish().status, EBADF);
}

TEST(Inheritance, IgnoredAndBlockedSignalsAndUmaskAreReset) {
  const auto leave_them = [] {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGUSR1, SIGCHLD, 40})
      ::signal(signal, SIG_IGN);
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    ::umask(0);
  };
  const auto twin = waiting_program({"wait"}, leave_them);
  ASSERT_NE(twin, nullptr);
  EXPECT_NE(status_field(twin->pid(), "SigIgn"), "0000000000000000");
  EXPECT_NE(status_field(twin->pid(), "SigBlk"), "0000000000000000");
  EXPECT_EQ(status_field(twin->pid(), "Umask"), "0000");
  const auto jail = waiting_jail({"wait"}, {}, leave_them);
  ASSERT_NE(jail, nullptr);
  EXPECT_EQ(status_field(jail->guest(), "SigIgn"), "0000000000000000");
  EXPECT_EQ(status_field(jail->guest(), "SigBlk"), "0000000000000000");
  EXPECT_EQ(status_field(jail->guest(), "Umask"), "0022");
}

TEST(Inheritance, NoGroupOfTheCallerIsTheGuests) {
  const auto join_them = [] {
    const gid_t groups[] = {4, 24, 27};
    if (::setgroups(3, groups) != 0) ::_exit(255);
  };
  const auto twin = waiting_program({"wait"}, join_them);
  ASSERT_NE(twin, nullptr);
  EXPECT_EQ(status_field(twin->pid(), "Groups"), "4 24 27");
  const auto jail = waiting_jail({"wait"}, {}, join_them);
  ASSERT_NE(jail, nullptr);
  EXPECT_EQ(status_field(jail->guest(), "Groups"), "");
  EXPECT_EQ(status_field(jail->init(), "Groups"), "");
}

// With SIGCHLD ignored the kernel reaps by itself and no wait says how a child ended.
TEST(Inheritance, TheExitStatusIsTheGuestsEvenIfTheCallerIgnoresItsChildren) {
  const auto ignore = [] { ::signal(SIGCHLD, SIG_IGN); };
  const Outcome outcome =
      Live({jailrun_program(), "exec", "--", "/bin/sh", "-c", "exit 7"}, ignore).finish();
  EXPECT_EQ(outcome.status, 7) << outcome.err;
}

TEST(Inheritance, AddressesAreRandomEvenIfTheCallersAreNot) {
  const auto switch_off = [] { ::personality(ADDR_NO_RANDOMIZE); };
  const auto twin = waiting_program({"wait"}, switch_off);
  ASSERT_NE(twin, nullptr);
  EXPECT_EQ(proc_file(twin->pid(), "personality"), "00040000\n");
  const auto jail = waiting_jail({"wait"}, {}, switch_off);
  ASSERT_NE(jail, nullptr);
  EXPECT_EQ(proc_file(jail->guest(), "personality"), "00000000\n");
}

TEST(Inheritance, TheWorkingDirectoryIsTheJailsOwn) {
  const Scratch scratch;
  const auto stay = [&] { (void)!::chdir(scratch.path().c_str()); };
  const auto jail = waiting_jail({"wait"}, {}, stay);
  ASSERT_NE(jail, nullptr);
  struct stat cwd{}, scratch_stat{}, root{}, host_root{};
  ASSERT_EQ(::stat(("/proc/" + std::to_string(jail->guest()) + "/cwd").c_str(), &cwd), 0);
  ASSERT_EQ(::stat(("/proc/" + std::to_string(jail->guest()) + "/root").c_str(), &root), 0);
  ASSERT_EQ(::stat(scratch.path().c_str(), &scratch_stat), 0);
  ASSERT_EQ(::stat("/", &host_root), 0);
  EXPECT_NE(cwd.st_dev, scratch_stat.st_dev) << "its directory is a tmpfs of its own";
  EXPECT_FALSE(root.st_ino == host_root.st_ino && root.st_dev == host_root.st_dev);
}

// A terminal of the caller: a guest that reaches it can type commands into the caller's shell.
class Terminal : public testing::Test {
 protected:
  void SetUp() override {
    int ours = -1, theirs = -1;
    ASSERT_EQ(::openpty(&ours, &theirs, nullptr, nullptr, nullptr), 0);
    ours_ = Fd(ours);
    theirs_ = Fd(theirs);
    ::fcntl(ours, F_SETFD, FD_CLOEXEC);
  }
  // In the child: the terminal becomes its controlling one.
  std::function<void()> control() const {
    return [fd = theirs_.get()] {
      ::setsid();
      ::ioctl(fd, TIOCSCTTY, 0);
      ::dup2(fd, 0);
    };
  }
  Fd ours_, theirs_;
};

TEST_F(Terminal, CannotBeOpened) {
  EXPECT_EQ(probe_unjailed({"open-terminal"}, control()).status, 0);
  EXPECT_THAT(Live(jailed({"open-terminal"}), control()).finish().status,
              testing::AnyOf(ENOENT, ENXIO, EACCES));
}

TEST_F(Terminal, CannotBeTypedInto) {
  EXPECT_EQ(probe_unjailed({"inject-terminal"}, control()).status, 0);
  EXPECT_THAT(Live(jailed({"inject-terminal"}), control()).finish().status,
              testing::AnyOf(ENOTTY, EPERM, EINVAL, EIO));
}

}  // namespace
}  // namespace jailrun::test
