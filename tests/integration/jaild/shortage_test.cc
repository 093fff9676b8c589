// The host runs out of something: requests are refused by name, jaild lives on, and the first
// request after it is served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "tests/integration/jaild/daemon.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

constexpr std::uint64_t kSecondNs = 1'000'000'000;

// A lease that is granted is used. Gives the name of the refusal.
std::string ask(Client& client, std::uint64_t queue_ns = 10 * kSecondNs) {
  auto reply = client.lease({.queue_ns = queue_ns});
  if (!reply) return reply.error().line();
  if (const Refusal* refused = std::get_if<Refusal>(&*reply)) return refused->name;
  Leased& leased = std::get<Leased>(*reply);
  send_script(leased, "print(6 * 7)");
  const Ran ran = finish(client, leased);
  EXPECT_EQ(ran.out, "42\n");
  EXPECT_EQ(ran.ended.result.verdict, Verdict::Ok) << ran.ended.result.reason;
  return "";
}

// The interpreter is ready, no jail lives, and no other connections but these are open.
bool begins(Client& client, int connections = 1) {
  return ask(client, 60 * kSecondNs).empty() && soon([&] {
           return metric(client, "jaild_leased") == 0 &&
                  metric(client, "jaild_connections") == connections;
         });
}

// --- descriptors --------------------------------------------------------------------------------

// From here on it gets `more` descriptors and no other, whatever it closes meanwhile.
void let_open(const Daemon& daemon, std::size_t more) {
  const std::vector<int> open = daemon.descriptors();
  rlimit limit{};
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
  limit.rlim_cur = 0;
  for (std::size_t free = 0;; ++limit.rlim_cur) {
    if (std::ranges::binary_search(open, static_cast<int>(limit.rlim_cur))) continue;
    if (free++ == more) break;
  }
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
}

void let_open_all(const Daemon& daemon) {
  rlimit limit{};
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
}

void take_descriptors_away_one_by_one() {
  Daemon daemon({"--warm", "python", "--on-demand"});
  Client client = daemon.connect();
  ASSERT_TRUE(begins(client));
  const std::size_t before = daemon.descriptors().size();
  int refused = 0, served = 0;
  for (std::size_t more = 0; more < 64 && served < 3; ++more) {
    let_open(daemon, more);
    const std::string name = ask(client);
    EXPECT_THAT(name, AnyOf("", "BuildFailed", "DeadlineExceeded")) << more;
    ++(name.empty() ? served : refused);
    let_open_all(daemon);
    EXPECT_EQ(ask(client), "") << more;
  }
  EXPECT_EQ(served, 3);
  EXPECT_GT(refused, 10);
  EXPECT_TRUE(soon([&] { return daemon.descriptors().size() <= before; }))
      << daemon.descriptors().size() << " descriptors, before " << before;
}

TEST(Shortage, OfDescriptorsMayStrikeAtAnyOfThem) {
  EXPECT_NOTHING_LEFT_BY(take_descriptors_away_one_by_one());
}

void no_descriptors_for_a_while() {
  Daemon daemon({"--warm", "python", "--on-demand"});
  Client client = daemon.connect();
  ASSERT_TRUE(begins(client));
  let_open(daemon, 0);
  auto late = Client::connect(daemon.socket());  // waits in the socket's own queue
  ASSERT_TRUE(late);
  ASSERT_TRUE(late->ask({.queue_ns = 60 * kSecondNs}));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(client), "BuildFailed");
  EXPECT_THAT(daemon.log(), HasSubstr("EMFILE"));
  let_open_all(daemon);
  EXPECT_EQ(ask(client), "");
  const auto answer = late->receive(true);
  ASSERT_TRUE(answer) << answer.error().line();
  EXPECT_TRUE(std::holds_alternative<Leased>(**answer));
  EXPECT_EQ(metric(client, "jaild_worlds_started_total"), 1);  // the interpreter is not at fault
  // It may also meet one that dies.
  let_open(daemon, 3);
  ::kill(daemon.zygote(), SIGKILL);
  EXPECT_THAT(ask(client, kSecondNs), AnyOf("WarmupFailed", "BuildFailed", "DeadlineExceeded"));
  let_open_all(daemon);
  EXPECT_TRUE(soon([&] { return ask(client).empty(); }));
}

TEST(Shortage, OfDescriptorsLetsClientsWaitUntilItIsOver) {
  EXPECT_NOTHING_LEFT_BY(no_descriptors_for_a_while());
}

// How a lease ended, where it did within ten seconds.
std::optional<Result> end_of(Client& client, const Leased& leased) {
  pollfd said{client.fd(), POLLIN, 0};
  if (::poll(&said, 1, 10'000) != 1) return std::nullopt;
  auto ended = client.wait_ended(leased.id);
  return ended ? std::optional(ended->result) : std::nullopt;
}

void end_jails_without_descriptors() {
  Daemon daemon({"--warm", "python", "--on-demand"});
  Client spins = daemon.connect(), ends = daemon.connect(), fails = daemon.connect();
  ASSERT_TRUE(begins(spins, 3));
  Leased spinning = lease(spins, {.overrides = {"limits.wall=500ms"}});
  Leased ending = lease(ends), failing = lease(fails);
  let_open(daemon, 0);
  send_script(spinning, "while True: pass");
  send_script(ending, "import os, signal\nif os.fork() == 0: signal.pause()");
  send_script(failing, "raise SystemExit(3)");
  const std::optional<Result> spun = end_of(spins, spinning), ended = end_of(ends, ending),
                              failed = end_of(fails, failing);
  let_open_all(daemon);
  ASSERT_TRUE(spun && ended && failed);
  EXPECT_EQ(spun->verdict, Verdict::WallTimeout) << spun->reason;
  EXPECT_EQ(ended->verdict, Verdict::Ok) << ended->reason;
  EXPECT_EQ(failed->verdict, Verdict::NonzeroExit) << failed->reason;
  EXPECT_EQ(ask(spins), "");
}

TEST(Shortage, OfDescriptorsStopsNoDeadlineAndNoEnd) {
  EXPECT_NOTHING_LEFT_BY(end_jails_without_descriptors());
}

// --- processes ----------------------------------------------------------------------------------

// A cgroup for a daemon, with a limit of processes for it and everything below it.
class ProcessGroup {
 public:
  ProcessGroup() {
    std::string dir = "/sys/fs/cgroup/pids/test-XXXXXX";
    if (::mkdtemp(dir.data()) != nullptr) dir_ = dir;
  }
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;
  ~ProcessGroup() {
    // Whoever was in it has been waited for; the kernel's own account follows a little later.
    if (!dir_.empty()) soon([this] { return ::rmdir(dir_.c_str()) == 0; });
  }
  bool exists() const { return !dir_.empty() && std::filesystem::exists(dir_ + "/pids.max"); }
  void enter() const { std::ofstream(dir_ + "/cgroup.procs") << "0"; }
  void allow_more(int processes) const {
    int now = 0;
    std::ifstream(dir_ + "/pids.current") >> now;
    std::ofstream(dir_ + "/pids.max") << now + processes;
  }
  void allow_all() const { std::ofstream(dir_ + "/pids.max") << "max"; }

 private:
  std::string dir_;
};

void run_out_of_processes(const ProcessGroup& group) {
  Daemon daemon({"--warm", "python", "--on-demand"}, {}, JAILRUN_BIN_DIR, [&] { group.enter(); });
  Client client = daemon.connect();
  ASSERT_TRUE(begins(client));
  for (const int more : {0, 1}) {  // neither an init; an init without its guest
    group.allow_more(more);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(client), "BuildFailed") << more;
    group.allow_all();
    EXPECT_EQ(ask(client), "") << more;
  }
  EXPECT_EQ(metric(client, "jaild_worlds_started_total"), 1);  // the interpreter is not at fault
  group.allow_more(0);
  ::kill(daemon.zygote(), SIGKILL);
  EXPECT_THAT(ask(client, kSecondNs), AnyOf("WarmupFailed", "BuildFailed", "DeadlineExceeded"));
  group.allow_all();
  EXPECT_TRUE(soon([&] { return ask(client).empty(); }));
}

TEST(Shortage, OfProcessesRefusesByName) {
  const ProcessGroup group;
  if (!group.exists()) GTEST_SKIP() << "needs the pids controller of cgroup v1";
  EXPECT_NOTHING_LEFT_BY(run_out_of_processes(group));
}

// --- memory -------------------------------------------------------------------------------------

// What jaild reads as /proc/meminfo. It has a mount namespace of its own, so nobody else sees it.
class Meminfo {
 public:
  Meminfo() {
    char name[] = "/tmp/jaild-meminfo-XXXXXX";
    ::close(::mkstemp(name));
    path_ = name;
    available(16 << 20);
  }
  Meminfo(const Meminfo&) = delete;
  Meminfo& operator=(const Meminfo&) = delete;
  ~Meminfo() { ::unlink(path_.c_str()); }
  void available(long kib) const {
    std::ofstream(path_) << "MemTotal: " << (16 << 20) << " kB\nMemAvailable: " << kib << " kB\n";
  }
  // Before the daemon is executed.
  static void separate() {
    ::unshare(CLONE_NEWNS);
    ::mount(nullptr, "/proc", nullptr, MS_PRIVATE, nullptr);
  }
  // Once its interpreter runs: a world is refused a /proc of its own where this one is covered.
  void show_to(const Daemon& daemon) const {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string space = "/proc/" + std::to_string(daemon.pid()) + "/ns/mnt";
      const Fd mounts(::open(space.c_str(), O_RDONLY | O_CLOEXEC));
      const bool shown = ::setns(mounts.get(), CLONE_NEWNS) == 0 &&
                         ::mount(path_.c_str(), "/proc/meminfo", nullptr, MS_BIND, nullptr) == 0;
      ::_exit(shown ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0);
  }

 private:
  std::string path_;
};

void run_out_of_memory() {
  const Meminfo memory;
  Daemon daemon({"--warm", "python", "--on-demand"}, {}, JAILRUN_BIN_DIR, Meminfo::separate);
  Client client = daemon.connect();
  ASSERT_TRUE(begins(client));
  memory.show_to(daemon);
  memory.available(1 << 10);
  Refusal refused;  // it does not look at each request
  const auto is_refused = [&] {
    auto reply = client.lease({.queue_ns = kSecondNs / 5});
    if (reply && std::holds_alternative<Refusal>(*reply)) refused = std::get<Refusal>(*reply);
    return !refused.name.empty();
  };
  ASSERT_TRUE(soon(is_refused));
  EXPECT_EQ(refused.name, "DeadlineExceeded");
  EXPECT_THAT(refused.message, HasSubstr("the host is short of memory"));
  Client patient = daemon.connect();
  ASSERT_TRUE(patient.ask({.queue_ns = 60 * kSecondNs}));
  memory.available(8 << 20);
  const auto answer = patient.receive(true);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(std::holds_alternative<Leased>(**answer));
  EXPECT_EQ(ask(client), "");
}

TEST(Shortage, OfMemoryMakesNoJailUntilItIsOver) { EXPECT_NOTHING_LEFT_BY(run_out_of_memory()); }

}  // namespace
}  // namespace jailrun::test
