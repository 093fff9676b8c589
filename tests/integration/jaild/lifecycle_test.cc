// jaild begins, changes and ends: no jail is left behind, none is lost that need not be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/integration/jaild/daemon.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;

// Polls, at most ten seconds, for something that another process does.
template <typename Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    ::poll(nullptr, 0, 10);
  }
  return false;
}

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

void kill_under_load() {
  Daemon daemon;
  Client client = daemon.connect();
  Leased leased = sleeper(client);
  daemon.end(SIGKILL);
  pollfd gone{leased.from_answer.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&gone, 1, 1000), 1);
  EXPECT_FALSE(client.receive(true));
  daemon.start();
  EXPECT_THAT(daemon.log(), HasSubstr("swept the leftover cgroup"));
  Client next = daemon.connect();
  EXPECT_EQ(run(next, "print(1)").out, "1\n");
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
  for (const JailInfo& jail : list.jails)
    if (jail.state == "parked") ::kill(jail.pid, SIGKILL);
  ASSERT_TRUE(soon([&] { return daemon.metric("jaild_parked_deaths_total") >= 4; }));
  EXPECT_EQ(run(client, "print(2)").out, "2\n");
}

class Policies : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/jaild-policies-XXXXXX";
    dir_ = ::mkdtemp(name);
    std::ifstream from(JAILRUN_SOURCE_DIR "/policies/python.textproto");
    text_.assign(std::istreambuf_iterator<char>(from), {});
    text_.replace(text_.find("\"python\""), 8, "\"mine\"");
    write("60s");
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void write(const std::string& wall) {
    std::string text = text_;
    text.replace(text.find("\"60s\""), 5, "\"" + wall + "\"");
    std::ofstream(dir_ + "/new") << text;
    std::filesystem::rename(dir_ + "/new", dir_ + "/mine.textproto");
  }
  std::uint64_t wall(Client& client) { return lease(client, {.policy = "mine"}).wall_ns; }
  std::string dir_, text_;
};

TEST_F(Policies, AreReadAgainWhenTheyChangeAndKeptWhenTheyAreBroken) {
  Daemon daemon({"--warm", "mine"}, {"JAILRUN_POLICY_DIR=" + dir_});
  Client client = daemon.connect();
  EXPECT_EQ(wall(client), 60'000'000'000u);
  write("30s");
  ::kill(daemon.pid(), SIGHUP);
  ASSERT_TRUE(soon([&] { return daemon.metric("jaild_policy_reloads_total") > 0; }));
  EXPECT_EQ(wall(client), 30'000'000'000u);
  write("nonsense");
  ::kill(daemon.pid(), SIGHUP);
  ASSERT_TRUE(soon([&] { return daemon.log().find("goes on as it was") != std::string::npos; }));
  EXPECT_EQ(wall(client), 30'000'000'000u);
}

TEST_F(Policies, ThatOthersCanWriteAreNotUsed) {
  std::filesystem::permissions(dir_ + "/mine.textproto", std::filesystem::perms(0666));
  Daemon daemon({"--warm", "python"}, {"JAILRUN_POLICY_DIR=" + dir_});
  Client client = daemon.connect();
  EXPECT_EQ(refusal(client, {.policy = "mine"}), "BadPolicy");
}

TEST_F(Policies, WhoseImageIsMissingFailByName) {
  const std::size_t at = text_.find("image: \"python\"");
  text_.replace(at, 15, "image: \"absent\"");
  write("60s");
  Daemon daemon({"--warm", "mine"}, {"JAILRUN_POLICY_DIR=" + dir_});
  Client client = daemon.connect();
  EXPECT_EQ(refusal(client, {.policy = "mine"}), "WarmupFailed");
}

}  // namespace
}  // namespace jailrun::test
