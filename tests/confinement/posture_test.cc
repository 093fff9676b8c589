// How a jail stands while its guest waits, read in the host's /proc. Nothing here asks the guest.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "jail/confine/ids.h"
#include "jail/plan/plan.h"
#include "tests/confinement/jailed.h"
#include "tests/support/start.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines_of(const std::string& text, char separator = '\n') {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line, separator);) lines.push_back(line);
  return lines;
}

class Posture : public testing::Test {
 protected:
  void SetUp() override {
    jail_ = waiting_jail({"stay-with-children"});
    ASSERT_NE(jail_, nullptr) << "the jail did not come up";
    init_ = jail_->init();
    guest_ = jail_->guest();
    ASSERT_GT(guest_, 0);
    members_ = {init_, guest_};
    for (const pid_t child : children(guest_)) members_.push_back(child);
    ASSERT_EQ(members_.size(), 5u) << "init, the guest and its three children";
  }

  std::unique_ptr<Live> jail_;
  pid_t init_ = -1, guest_ = -1;
  std::vector<pid_t> members_;
};

TEST_F(Posture, EveryProcessHasOneHostUidOfTheRangeAndNoGroup) {
  const std::string uid = lines_of(status_field(guest_, "Uid"), '\t').front();
  const unsigned long number = std::stoul(uid);
  const GuestIds ids = guest_ids();
  EXPECT_GE(number, ids.first);
  EXPECT_LT(number, ids.first + ids.count);
  for (const pid_t pid : members_) {
    EXPECT_EQ(status_field(pid, "Uid"), uid + "\t" + uid + "\t" + uid + "\t" + uid) << pid;
    EXPECT_EQ(status_field(pid, "Gid"), uid + "\t" + uid + "\t" + uid + "\t" + uid) << pid;
    EXPECT_EQ(status_field(pid, "Groups"), ids.groups) << pid;
  }
  std::istringstream map(proc_file(guest_, "uid_map"));
  unsigned long inside = 0, outside = 0, count = 0, more = 0;
  map >> inside >> outside >> count;
  EXPECT_EQ(inside, kGuestUid);
  EXPECT_EQ(outside, number);
  EXPECT_EQ(count, 1u);
  EXPECT_FALSE(map >> more) << "a second line";
  // The twin: this process is somebody else.
  EXPECT_NE(status_field(::getpid(), "Uid"), status_field(guest_, "Uid"));
}

TEST_F(Posture, EveryProcessHasFiveEmptyCapabilitySets) {
  for (const pid_t pid : members_) {
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
      EXPECT_EQ(status_field(pid, set), "0000000000000000") << set << " of " << pid;
    }
    // libcap as the second reader.
    cap_t all = ::cap_get_pid(pid);
    cap_t none = ::cap_init();
    ASSERT_NE(all, nullptr);
    EXPECT_EQ(::cap_compare(all, none), 0) << pid;
    ::cap_free(all);
    ::cap_free(none);
  }
  EXPECT_NE(status_field(::getpid(), "CapBnd"), "0000000000000000") << "the twin has some";
}

TEST_F(Posture, EveryGuestProcessIsFilteredAndNoneCanGainPrivileges) {
  EXPECT_EQ(status_field(init_, "NoNewPrivs"), "1");
  for (const pid_t pid : members_) {
    EXPECT_EQ(status_field(pid, "NoNewPrivs"), "1") << pid;
    if (pid == init_) continue;
    EXPECT_EQ(status_field(pid, "Seccomp"), "2") << pid;
    EXPECT_GE(std::stoi(status_field(pid, "Seccomp_filters")), 1) << pid;
  }
  // The twin: the same program as a plain child.
  const auto twin = waiting_program();
  ASSERT_NE(twin, nullptr);
  EXPECT_EQ(status_field(twin->pid(), "NoNewPrivs"), status_field(::getpid(), "NoNewPrivs"));
  EXPECT_EQ(status_field(twin->pid(), "Seccomp"), status_field(::getpid(), "Seccomp"));
}

TEST_F(Posture, EveryNamespaceIsNoneOfTheHost) {
  const auto twin = waiting_program();
  ASSERT_NE(twin, nullptr);
  for (const char* name : {"user", "pid", "mnt", "ipc", "uts", "cgroup", "net"}) {
    const std::string link = std::string("ns/") + name, host = proc_link(::getpid(), link);
    EXPECT_EQ(proc_link(twin->pid(), link), host) << "the twin shares " << name;
    for (const pid_t pid : members_) {
      EXPECT_NE(proc_link(pid, link), host) << name << " of " << pid;
      EXPECT_NE(proc_link(pid, link), "") << name << " of " << pid;
    }
  }
}

TEST_F(Posture, TheNetworkHasNoInterfaceThatIsUp) {
  const std::vector<std::string> devices = lines_of(proc_file(guest_, "net/dev"));
  ASSERT_EQ(devices.size(), 3u) << "two lines of title and lo";
  EXPECT_THAT(devices[2], testing::HasSubstr("lo:"));
  EXPECT_THAT(devices[2], testing::Not(testing::ContainsRegex("[1-9]"))) << "a packet has passed";
  EXPECT_EQ(proc_file(guest_, "net/fib_trie").find("LOCAL"), std::string::npos)
      << "an address is up";
}

TEST_F(Posture, TheTablesOfASharedNetworkAreClosed) {
  const auto others_may_read = [](pid_t pid, const char* table) {
    struct stat st{};
    EXPECT_EQ(::stat(("/proc/" + std::to_string(pid) + "/net/" + table).c_str(), &st), 0) << table;
    return (st.st_mode & 0077) != 0;
  };
  // A jail of a plain user, or on a kernel without Landlock's scopes, is alone in its network.
  struct stat null{};
  const bool shared = ::stat("/run/jailrun/net.null", &null) == 0 &&
                      proc_link(guest_, "ns/net") == "net:[" + std::to_string(null.st_ino) + "]";
  EXPECT_TRUE(shared || !is_warm_start()) << "warm jails share one";
  for (const char* table : {"unix", "tcp", "udp", "dev", "route"}) {
    EXPECT_TRUE(others_may_read(::getpid(), table)) << "the twin: " << table << " of the host";
    EXPECT_EQ(others_may_read(guest_, table), !shared) << table;
  }
}

TEST_F(Posture, ExactlyThreeMountsAreWritable) {
  std::set<std::string> writable;
  for (const std::string& line : lines_of(proc_file(guest_, "mountinfo"))) {
    const std::vector<std::string> fields = lines_of(line, ' ');
    ASSERT_GT(fields.size(), 6u) << line;
    if (!fields[5].starts_with("ro")) writable.insert(fields[4]);
    EXPECT_THAT(fields[5], testing::HasSubstr("nosuid")) << line;
    EXPECT_THAT(fields[5] + fields[4],
                testing::AnyOf(testing::HasSubstr("nodev"), testing::HasSubstr("/dev/")))
        << line;
    EXPECT_EQ(fields[6], "-") << "it propagates: " << line;
  }
  EXPECT_THAT(writable, testing::ElementsAre("/dev/shm", "/tmp", "/work"));
}

TEST_F(Posture, TheGuestHasThreePipesAndInitHasNothing) {
  std::vector<std::string> open;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(guest_) + "/fd")) {
    open.push_back(entry.path().filename().string() + " " +
                   fs::read_symlink(entry.path()).string().substr(0, 5));
  }
  EXPECT_THAT(open, testing::UnorderedElementsAre("0 pipe:", "1 pipe:", "2 pipe:"));
  EXPECT_TRUE(fs::is_empty("/proc/" + std::to_string(init_) + "/fd"));
}

TEST_F(Posture, NoneOfTheStreamsIsTheCallersOwn) {
  for (const char* fd : {"fd/0", "fd/1", "fd/2"}) {
    for (const char* other : {"fd/0", "fd/1", "fd/2"}) {
      EXPECT_NE(proc_link(guest_, fd), proc_link(jail_->pid(), other)) << fd << " " << other;
    }
  }
}

TEST_F(Posture, TheEnvironmentIsThePolicysAlone) {
  std::vector<std::string> names;
  for (const std::string& variable : lines_of(proc_file(guest_, "environ"), '\0')) {
    names.push_back(variable.substr(0, variable.find('=')));
  }
  EXPECT_THAT(names, testing::IsSupersetOf({"PATH", "HOME", "LANG", "MPLBACKEND"}));
  for (const char* foreign :
       {"USER", "LOGNAME", "SHELL", "PWD_OF_HOST", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"}) {
    EXPECT_THAT(names, testing::Not(testing::Contains(foreign)));
  }
  EXPECT_EQ(proc_file(init_, "environ").find_first_not_of('\0'), std::string::npos)
      << "init keeps the caller's";
  EXPECT_EQ(proc_file(init_, "cmdline").find_first_not_of('\0'), std::string::npos);
}

TEST_F(Posture, LimitsThatNoCgroupCountsAreSetHard) {
  const std::string limits = proc_file(guest_, "limits");
  const auto hard = [&](const std::string& name) {
    const std::size_t at = limits.find(name);
    std::istringstream line(at == std::string::npos ? std::string()
                                                    : limits.substr(at + name.size()));
    std::string soft, value;
    line >> soft >> value;
    return value;
  };
  EXPECT_EQ(hard("Max core file size"), "1");  // 0 would let a piped core_pattern run on the host
  EXPECT_EQ(hard("Max locked memory"), "0");
  EXPECT_EQ(hard("Max msgqueue size"), "0");
  EXPECT_EQ(hard("Max realtime priority"), "0");
  EXPECT_EQ(hard("Max open files"), "1024");
  EXPECT_EQ(hard("Max pending signals"), "1024");
}

TEST_F(Posture, EveryProcessIsInTheJailsOwnCgroups) {
  if (is_plain_start()) GTEST_SKIP() << "nothing delegates a cgroup to this user";
  const std::string uid = lines_of(status_field(guest_, "Uid"), '\t').front();
  const std::string leaf = "/jailrun-" + std::to_string(std::stoul(uid) - kUidBase);
  for (const pid_t pid : members_) {
    const std::string table = proc_file(pid, "cgroup");
    for (const std::string& line : lines_of(table)) {
      const std::vector<std::string> fields = lines_of(line, ':');
      const bool enforcing = fields[1].empty() || fields[1] == "memory" || fields[1] == "pids" ||
                             fields[1].find("cpu,") == 0 || fields[1] == "cpu" ||
                             fields[1].ends_with(",cpu");
      if (enforcing) {
        EXPECT_TRUE(line.ends_with(leaf)) << pid << " is in " << line;
      }
    }
  }
}

TEST_F(Posture, ItHasNoTerminalAndAnOrdinarySchedule) {
  for (const pid_t pid : members_) {
    const std::string stat = proc_file(pid, "stat");
    std::istringstream fields(stat.substr(stat.rfind(')') + 2));
    std::vector<std::string> values;
    for (std::string value; fields >> value;) values.push_back(value);
    EXPECT_EQ(values[4], "0") << "tty of " << pid;
    EXPECT_EQ(values[38], "0") << "scheduling policy of " << pid;
    EXPECT_NE(values[3], std::to_string(::getsid(0))) << "session of " << pid;
  }
}

// kill(0, …) and a stop of the process group stay among the guest's own.
TEST_F(Posture, TheGuestIsInASessionOfItsOwnAndNotOfInits) {
  EXPECT_EQ(::getsid(guest_), guest_);
  EXPECT_EQ(::getpgid(guest_), guest_);
  EXPECT_EQ(::getsid(init_), init_);
  EXPECT_NE(::getsid(init_), ::getsid(jail_->pid()));
}

TEST_F(Posture, ItHasAsManyCpusAsThePolicySays) {
  for (const pid_t pid : members_) {
    const std::string mask = status_field(pid, "Cpus_allowed");
    int cpus = 0;
    for (const char digit : mask) {
      if (digit != ',')
        cpus += __builtin_popcount(
            static_cast<unsigned>(std::stoi(std::string(1, digit), nullptr, 16)));
    }
    EXPECT_EQ(cpus, 1) << pid << " has " << mask;
  }
}

TEST_F(Posture, InitCannotBeReadByTheGuestsUid) {
  const std::string guest = lines_of(status_field(guest_, "Uid"), '\t').front();
  struct stat st{};
  ASSERT_EQ(::stat(("/proc/" + std::to_string(init_) + "/maps").c_str(), &st), 0);
  EXPECT_NE(std::to_string(st.st_uid), guest)
      << "init is dumpable: its /proc files belong to the guest's uid";
  ASSERT_EQ(::stat(("/proc/" + std::to_string(guest_) + "/maps").c_str(), &st), 0);
  EXPECT_EQ(std::to_string(st.st_uid), guest) << "the twin: the guest's belong to it";
}

}  // namespace
}  // namespace jailrun::test
