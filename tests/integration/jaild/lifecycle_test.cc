// jaild begins, changes and ends: no jail is left behind, none is lost that need not be.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/integration/jaild/daemon.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;

Leased sleeper(Client& client) {
  Leased leased = lease(client);
  send_script(leased, "import time; print('up', flush=True); time.sleep(60)");
  char text[3];
  EXPECT_GT(::read(leased.out.get(), text, sizeof text), 0);
  return leased;
}

void end_under_load() {
  Daemon daemon;
  Client client = daemon.connect();
  Leased leased = sleeper(client);
  daemon.end(SIGTERM);
  auto ended = client.wait_ended(leased.id);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->result.verdict, Verdict::Cancelled);
  EXPECT_THAT(ended->result.reason, HasSubstr("jaild is ending"));
}

// Clients that take jails and give them back all the time, until jaild is gone.
class Coming {
 public:
  explicit Coming(const Daemon& daemon) {
    for (int i = 0; i < 3; ++i) threads_.emplace_back([&] { come(daemon.connect()); });
  }
  Coming(const Coming&) = delete;
  Coming& operator=(const Coming&) = delete;
  ~Coming() {
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  static void come(Client client) {
    for (;;) {
      const auto reply = client.lease({.queue_ns = 60'000'000'000});
      if (!reply) return;
      const Leased* leased = std::get_if<Leased>(&*reply);
      if (leased != nullptr && !client.cancel(leased->id, "seen")) return;
    }
  }
  std::vector<std::thread> threads_;
};

void kill_under_load() {
  using std::chrono::steady_clock;
  Daemon daemon({"--warm", "python"});
  Client client = daemon.connect();
  std::vector<Leased> leased;
  for (int i = 0; i < 8; ++i) leased.push_back(sleeper(client));
  std::chrono::duration<double> imports{};
  {
    const Coming others(daemon);
    ASSERT_TRUE(soon([&] { return daemon.metric("jaild_built_total") > 30; }));
    imports = std::chrono::duration<double>(daemon.metric("jaild_import_seconds"));
    daemon.end(SIGKILL);
    const auto deadline = steady_clock::now() + std::chrono::seconds(1);
    for (const Leased& each : leased) {
      const auto left = deadline - steady_clock::now();
      pollfd gone{each.from_answer.get(), POLLIN, 0};
      EXPECT_EQ(::poll(&gone, 1, static_cast<int>(left / std::chrono::milliseconds(1))), 1);
    }
    EXPECT_FALSE(client.wait_ended(leased.front().id));
  }
  const auto begun = steady_clock::now();
  daemon.start();
  EXPECT_THAT(daemon.log(), HasSubstr("swept the leftover cgroup"));
  Client next = daemon.connect();
  EXPECT_EQ(run(next, "print(1)").out, "1\n");
  // Three seconds, or on a busy host half as long again as it took when nothing was amiss.
  EXPECT_LT(steady_clock::now() - begun,
            std::max<std::chrono::duration<double>>(std::chrono::seconds(3), 1.5 * imports));
}

TEST(Daemon, EndsAndLeavesNothing) { EXPECT_NOTHING_LEFT_BY(end_under_load()); }

TEST(Daemon, KilledTakesEveryJailWithItAndTheNextOneSweeps) {
  EXPECT_NOTHING_LEFT_BY(kill_under_load());
}

TEST(Daemon, IsOnlyOneOnItsSocket) {
  Daemon daemon;
  const Outcome second =
      run_command({.argv = {JAILRUN_BIN_DIR "/jaild", "--socket", daemon.socket()}});
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.err, HasSubstr("another jaild has"));
  EXPECT_TRUE(Client::connect(daemon.socket()));
}

// Of this process's children, one that sleeps and has that file open.
bool is_waited_for(const std::string& path) {
  namespace fs = std::filesystem;
  return std::ranges::any_of(children(::getpid()), [&](pid_t child) {
    const std::string process = "/proc/" + std::to_string(child);
    std::ifstream status(process + "/stat");
    std::string line;
    std::getline(status, line);
    if (!line.contains(") S ")) return false;
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator(process + "/fd", gone))
      if (fs::read_symlink(entry.path(), gone) == path) return true;
    return false;
  });
}

// Whom a killed jaild leaves behind dies a little later, and has its lock until then.
TEST(Daemon, WaitsForTheLockOfOneThatWasKilled) {
  Daemon daemon;
  daemon.end(SIGKILL);
  const std::string path = daemon.socket() + ".lock";
  Fd lock(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
  std::thread last([&] {
    EXPECT_TRUE(soon([&] { return is_waited_for(path); }));
    lock = Fd();
  });
  daemon.start();
  last.join();
  EXPECT_TRUE(Client::connect(daemon.socket())) << daemon.log();
}

TEST(Daemon, ReplacesAZygoteThatDiedAndEndsNoJailForIt) {
  Daemon daemon;
  Client client = daemon.connect();
  Leased leased = lease(client);
  const pid_t zygote = daemon.zygote();
  ASSERT_GT(zygote, 0);
  ASSERT_EQ(::kill(zygote, SIGKILL), 0);
  ASSERT_TRUE(soon([&] { return daemon.metric("jaild_worlds_failed_total") > 0; }));
  send_script(leased, "print('still here')");
  EXPECT_EQ(finish(client, leased).out, "still here\n");
  EXPECT_EQ(run(client, "print(1)").out, "1\n");
  ASSERT_TRUE(soon([&] { return daemon.zygote() != 0 && daemon.zygote() != zygote; }));
  EXPECT_EQ(run(client, "print(2)").out, "2\n");
}

TEST(Daemon, RemovesAParkedJailThatDied) {
  Daemon daemon;
  Client client = daemon.connect();
  EXPECT_EQ(run(client, "print(1)").out, "1\n");
  ASSERT_TRUE(soon([&] { return daemon.metric("jaild_parked") >= 4; }));
  const JailList list = client.ps().value();
  int killed = 0;  // four, or more where one came late
  for (const JailInfo& jail : list.jails) {
    if (jail.state != "parked") continue;
    ::kill(jail.pid, SIGKILL);
    ++killed;
  }
  ASSERT_GE(killed, 4);
  ASSERT_TRUE(soon([&] { return daemon.metric("jaild_parked_deaths_total") >= killed; }));
  EXPECT_EQ(run(client, "print(2)").out, "2\n");
}

bool is_dead(pid_t pid) {
  const std::string stat = proc_file(pid, "stat");
  return stat.empty() || stat[stat.rfind(')') + 2] == 'Z';
}

TEST(Daemon, LendsNoParkedJailThatDiedBeforeItWasToldSo) {
  Daemon daemon;
  Client client = daemon.connect();
  EXPECT_EQ(run(client, "print(1)").out, "1\n");
  ASSERT_TRUE(soon([&] { return daemon.metric("jaild_parked") >= 4; }));
  // Who tells it of deaths is silent.
  const pid_t keeper = daemon.keeper();
  ASSERT_EQ(::kill(keeper, SIGSTOP), 0);
  const JailList list = client.ps().value();
  std::vector<pid_t> parked;
  for (const JailInfo& jail : list.jails)
    if (jail.state == "parked") parked.push_back(jail.pid);
  ASSERT_GE(parked.size(), 4u);
  parked.pop_back();  // the last in line stays
  for (const pid_t each : parked) ::kill(each, SIGKILL);
  for (const pid_t each : parked) ASSERT_TRUE(soon([&] { return is_dead(each); }));
  Leased leased = lease(client);
  ASSERT_EQ(::kill(keeper, SIGCONT), 0);
  send_script(leased, "print(2)");
  EXPECT_EQ(finish(client, leased).out, "2\n");
  EXPECT_EQ(daemon.metric("jaild_parked_deaths_total"), parked.size());
}

PolicyDir::Changes wall(const std::string& time) { return {{"\"60s\"", "\"" + time + "\""}}; }

std::uint64_t wall_of_mine(Client& client) { return lease(client, {.policy = "mine"}).wall_ns; }

TEST(Policies, AreReadAgainWhenTheyChangeAndKeptWhenTheyAreBroken) {
  const PolicyDir policies;
  Daemon daemon({"--warm", "mine"}, {policies.variable()});
  Client client = daemon.connect();
  EXPECT_EQ(wall_of_mine(client), 60'000'000'000u);
  policies.write(wall("30s"));
  ::kill(daemon.pid(), SIGHUP);
  ASSERT_TRUE(soon([&] { return daemon.metric("jaild_policy_reloads_total") > 0; }));
  EXPECT_EQ(wall_of_mine(client), 30'000'000'000u);
  policies.write(wall("nonsense"));
  ::kill(daemon.pid(), SIGHUP);
  ASSERT_TRUE(soon([&] { return daemon.log().find("goes on as it was") != std::string::npos; }));
  EXPECT_EQ(wall_of_mine(client), 30'000'000'000u);
}

TEST(Policies, ThatOthersCanWriteAreNotUsed) {
  const PolicyDir policies;
  std::filesystem::permissions(policies.file(), std::filesystem::perms(0666));
  Daemon daemon({"--warm", "python"}, {policies.variable()});
  Client client = daemon.connect();
  EXPECT_EQ(refusal(client, {.policy = "mine"}), "BadPolicy");
}

TEST(Policies, WhoseImageIsMissingFailByName) {
  const PolicyDir policies(PolicyDir::Changes{{"image: \"python\"", "image: \"absent\""}});
  Daemon daemon({"--warm", "mine"}, {policies.variable()});
  Client client = daemon.connect();
  EXPECT_EQ(refusal(client, {.policy = "mine"}), "WarmupFailed");
}

}  // namespace
}  // namespace jailrun::test
