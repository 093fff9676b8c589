#include "jail/confine/cgroup.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "jail/confine/cgroup_files.h"
#include "jail/plan/plan.h"

namespace jailrun {
namespace {

constexpr CgroupLimits kLimits{64u << 20, 8, 500, 0};

class CgroupLeaf : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    name_ = "jailrun-test-" + std::to_string(::getpid());
  }
  // A process in the v2 leaf that waits to be killed.
  static pid_t put_process(const Cgroup& group) {
    int closed[2];
    EXPECT_EQ(::pipe(closed), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::syscall(SYS_close_range, 3, ~0U, 0);  // as a guest: no descriptor of the owner's
      for (;;) ::pause();
    }
    // End of file: its copies of the owner's descriptors, and with them of its locks, are closed.
    ::close(closed[1]);
    char byte = 0;
    EXPECT_EQ(::read(closed[0], &byte, 1), 0);
    ::close(closed[0]);
    EXPECT_EQ(write_file_at(group.v2_fd(), "cgroup.procs", std::to_string(child)), 0);
    return child;
  }
  std::string name_;
};

TEST_F(CgroupLeaf, HasItsLimitsBeforeAnythingRunsInIt) {
  auto group = Cgroup::create(name_, kLimits);
  ASSERT_TRUE(group.has_value()) << group.error().line();
  EXPECT_EQ(group->check_limits(), "");
  EXPECT_THAT(group->members(), testing::IsEmpty());
  EXPECT_NE(group->enforcement().memory, "");
  EXPECT_NE(group->enforcement().pids, "");
  EXPECT_NE(group->enforcement().cpu, "");
}

TEST_F(CgroupLeaf, SeesALimitThatSomebodyChanged) {
  auto group = Cgroup::create(name_, kLimits);
  ASSERT_TRUE(group.has_value()) << group.error().line();
  const std::string pids =
      group->enforcement().pids.starts_with("cgroup v2") ? "" : "/sys/fs/cgroup/pids";
  if (pids.empty()) {
    ASSERT_EQ(write_file_at(group->v2_fd(), "pids.max", "99"), 0);
  } else {
    // The own group's path is the membership without the hierarchy; the pids one is among them.
    bool changed = false;
    for (const std::string& path : group->membership()) {
      changed = changed || write_file_at(AT_FDCWD, (pids + path + "/pids.max").c_str(), "99") == 0;
    }
    ASSERT_TRUE(changed);
  }
  EXPECT_THAT(group->check_limits(), testing::HasSubstr("pids.max is 99"));
}

TEST_F(CgroupLeaf, KillsItsMembersAndGoesAway) {
  pid_t child = 0;
  {
    auto group = Cgroup::create(name_, kLimits);
    ASSERT_TRUE(group.has_value()) << group.error().line();
    child = put_process(*group);
    EXPECT_THAT(group->members(), testing::ElementsAre(child));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_NE(::access(("/sys/fs/cgroup/unified/" + name_).c_str(), F_OK), 0);
}

// Else what has used up its share of the CPU outlives its own death by a period or two.
std::ptrdiff_t open_files_of(const std::string& group) {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return std::ranges::count_if(fds, [&](const auto& fd) {
    std::error_code gone;
    return std::filesystem::read_symlink(fd.path(), gone).string().contains(group);
  });
}

// What is open of it then would stay in the kernel's caches, inodes and all.
TEST_F(CgroupLeaf, ThatIsRemovedHasNoFileOpen) {
  auto group = Cgroup::create(name_, kLimits);
  ASSERT_TRUE(group.has_value()) << group.error().line();
  EXPECT_GT(open_files_of(name_), 0);
  ASSERT_TRUE(group->remove());
  EXPECT_EQ(open_files_of(name_), 0);
}

TEST_F(CgroupLeaf, ThatIsKilledHasNoCpuLimitAnyMore) {
  auto group = Cgroup::create(name_, kLimits);
  ASSERT_TRUE(group.has_value()) << group.error().line();
  ASSERT_EQ(group->check_limits(), "");
  group->kill();
  EXPECT_THAT(group->check_limits(),
              testing::AnyOf("cpu.cfs_quota_us is -1\n", testing::StartsWith("cpu.max is max ")));
}

// Else a fork storm, whose processes all stand on the CPU of its limit, takes the longer to die.
// Its processes take a while for that; these wait in their exit, as their tracer wants it.
TEST_F(CgroupLeaf, ThatIsKilledDiesOnAllCpusOfTheCaller) {
  cpu_set_t all, one, used;
  ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  auto group = Cgroup::create(name_, kLimits);
  ASSERT_TRUE(group.has_value()) << group.error().line();
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(put_process(*group));
    ASSERT_EQ(::sched_setaffinity(children.back(), sizeof one, &one), 0);
    ASSERT_EQ(::ptrace(PTRACE_SEIZE, children.back(), nullptr, PTRACE_O_TRACEEXIT), 0);
  }
  group->kill();
  CPU_ZERO(&used);
  for (const pid_t child : children) {
    cpu_set_t its;
    ASSERT_EQ(::waitpid(child, nullptr, __WALL), child);
    ASSERT_EQ(::sched_getaffinity(child, sizeof its, &its), 0);
    CPU_OR(&used, &used, &its);
    ASSERT_EQ(::ptrace(PTRACE_CONT, child, nullptr, nullptr), 0);
    ASSERT_EQ(::waitpid(child, nullptr, __WALL), child);
  }
  EXPECT_EQ(CPU_COUNT(&used), std::min(CPU_COUNT(&all), 4));
}

TEST_F(CgroupLeaf, OfALiveOwnerIsNotTakenAway) {
  const auto alive = Cgroup::create(name_, kLimits);
  ASSERT_TRUE(alive.has_value()) << alive.error().line();
  const auto other = Cgroup::create(name_, kLimits);
  ASSERT_FALSE(other.has_value());
  EXPECT_THAT(other.error().message, testing::HasSubstr("belongs to a live jail"));
}

// Whoever opened it before would go on by its name, and kill what another owner has in it by now.
TEST(CgroupName, ThatIsAnotherGroupsByNowIsNotTakenByAnOldDescriptor) {
  char path[] = "/tmp/jailrun-group-XXXXXX";
  ASSERT_NE(::mkdtemp(path), nullptr);
  const Fd parent(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto make = [&] {
    EXPECT_EQ(::mkdirat(parent.get(), "group", 0755), 0);
    return Fd(::openat(parent.get(), "group", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  };
  const Fd old = make();
  ASSERT_EQ(::unlinkat(parent.get(), "group", AT_REMOVEDIR), 0);
  EXPECT_FALSE(take_group(parent.get(), "group", old.get()));
  const Fd now = make();
  EXPECT_FALSE(take_group(parent.get(), "group", old.get()));
  EXPECT_TRUE(take_group(parent.get(), "group", now.get()));
  const Fd late(::openat(parent.get(), "group", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_FALSE(take_group(parent.get(), "group", late.get()));  // it is taken
  EXPECT_EQ(::unlinkat(parent.get(), "group", AT_REMOVEDIR), 0);
  EXPECT_EQ(::rmdir(path), 0);
}

// As where a jaild starts while others make jails.
TEST_F(CgroupLeaf, ThatASweepTookBeforeItHadItsLockIsMadeAgain) {
  const std::jthread daemon([](const std::stop_token& stop) {
    while (!stop.stop_requested()) sweep_cgroups();
  });
  for (int i = 0; i < 300; ++i) {
    const auto made = Cgroup::create(name_, kLimits);
    ASSERT_TRUE(made.has_value()) << made.error().line();
    ASSERT_EQ(made->check_limits(), "");
  }
}

TEST_F(CgroupLeaf, OfACrashedOwnerIsEmptiedAndUsedAgain) {
  const pid_t owner = ::fork();
  if (owner == 0) {
    auto crashed = Cgroup::create(name_, kLimits);
    if (!crashed) ::_exit(1);
    put_process(*crashed);
    ::_exit(crashed->members().size() == 1 ? 0 : 2);  // without its destructor, as by SIGKILL
  }
  int status = 0;
  ASSERT_EQ(::waitpid(owner, &status, 0), owner);
  ASSERT_EQ(status, 0);
  const auto next = Cgroup::create(name_, kLimits);
  ASSERT_TRUE(next.has_value()) << next.error().line();
  EXPECT_THAT(next->members(), testing::IsEmpty());
}

TEST_F(CgroupLeaf, ThatCannotEnforceALimitIsRefusedByItsName) {
  const auto group = Cgroup::create(name_, {64u << 20, 8, 0, 0});  // no kernel takes a quota of 0
  ASSERT_FALSE(group.has_value());
  EXPECT_EQ(group.error().stage, Stage::MakeCgroup);
  EXPECT_EQ(group.error().object, "limits.cpus");
  EXPECT_THAT(group.error().remedy, testing::HasSubstr("danger"));
}

TEST_F(CgroupLeaf, WithANameThatIsNoneIsRefusedAndLeavesNothing) {
  const auto group = Cgroup::create("no/such", kLimits);
  ASSERT_FALSE(group.has_value());
  EXPECT_EQ(group.error().stage, Stage::MakeCgroup);
}

}  // namespace
}  // namespace jailrun
