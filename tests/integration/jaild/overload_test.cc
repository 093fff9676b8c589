// More than jaild can serve, and changes of policy and interpreter while it serves: nobody is left
// without an answer, and afterwards it is as it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "tests/integration/jaild/daemon.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

using testing::ElementsAre;
using testing::Key;

constexpr std::uint64_t kSecondNs = 1'000'000'000;

// --- a flood ------------------------------------------------------------------------------------

class Answers {
 public:
  void add(const std::string& name) {
    const std::lock_guard lock(mutex_);
    ++counts_[name];
  }
  const std::map<std::string, int>& counts() const { return counts_; }

 private:
  std::mutex mutex_;
  std::map<std::string, int> counts_;
};

// Asks for all of them before it reads an answer; gives back what it is lent, and waits for its
// end.
void ask_for_many(const Daemon& daemon, int requests, Answers& answers) {
  Client client = daemon.connect();
  const timeval patience{60, 0};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  std::set<std::uint64_t> open, lent;
  for (int i = 0; i < requests; ++i) {
    const auto number = client.ask({.policy = "mine", .queue_ns = 30 * kSecondNs});
    ASSERT_TRUE(number) << number.error().line();
    open.insert(*number);
  }
  while (!open.empty() || !lent.empty()) {
    auto message = client.receive(true);
    ASSERT_TRUE(message) << message.error().line();
    ASSERT_TRUE(*message) << open.size() << " requests have no answer";
    if (const Refusal* refused = std::get_if<Refusal>(&**message)) {
      EXPECT_EQ(open.erase(refused->request), 1u) << refused->line();
      answers.add(refused->name);
    } else if (const Leased* leased = std::get_if<Leased>(&**message)) {
      EXPECT_EQ(open.erase(leased->request), 1u);
      lent.insert(leased->id);
      answers.add("leased");
      ASSERT_TRUE(client.cancel(leased->id, "seen"));
    } else if (const LeaseEnded* ended = std::get_if<LeaseEnded>(&**message)) {
      EXPECT_EQ(lent.erase(ended->id), 1u);
    }
  }
}

// Of 10 000 requests of 40 connections.
std::map<std::string, int> flood(const Daemon& daemon) {
  constexpr int kClients = 40, kRequestsOfEach = 250;
  Answers answers;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i)
    clients.emplace_back([&] { ask_for_many(daemon, kRequestsOfEach, answers); });
  for (std::thread& client : clients) client.join();
  return answers.counts();
}

long resident_kib(const Daemon& daemon) { return std::stol(status_field(daemon.pid(), "VmRSS")); }

void flood_and_look() {
  const PolicyDir policies(
      PolicyDir::Changes{{"max: 64", "max: 4"}});  // as many wait after it as before
  Daemon daemon({"--warm", "mine"}, {policies.variable()});
  Client client = daemon.connect();
  EXPECT_EQ(run(client, "print(1)", {.policy = "mine"}).out, "1\n");
  const auto quiet = [&] {
    return daemon.metric("jaild_parked") == 4 && daemon.metric("jaild_connections") == 2;
  };
  (void)flood(daemon);  // buffers grow to what they need
  ASSERT_TRUE(soon(quiet));
  const std::size_t descriptors = daemon.descriptors().size();
  const long resident = resident_kib(daemon);
  const std::map<std::string, int> answers = flood(daemon);
  EXPECT_THAT(answers, ElementsAre(Key("QueueFull"), Key("leased")));
  EXPECT_EQ(answers.at("QueueFull") + answers.at("leased"), 10'000);
  EXPECT_GE(answers.at("leased"), 64);
  EXPECT_EQ(run(client, "print(2)", {.policy = "mine"}).out, "2\n");
  EXPECT_TRUE(soon([&] { return quiet() && daemon.descriptors().size() == descriptors; }))
      << daemon.descriptors().size() << " descriptors, before " << descriptors;
  EXPECT_LT(resident_kib(daemon), resident + 2048);
  EXPECT_EQ(daemon.metric("jaild_broken_connections_total"), 0);
}

TEST(Overload, OfTenThousandRequestsEachHasAnAnswerAndNothingStays) {
  EXPECT_NOTHING_LEFT_BY(flood_and_look());
}

// --- changes while clients come all the time ----------------------------------------------------

// Clients that run one script after the other.
class Load {
 public:
  Load(const Daemon& daemon, int clients) {
    for (int i = 0; i < clients; ++i) threads_.emplace_back([&] { work(daemon); });
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load() { stop(); }

  int runs() const { return runs_; }
  // What was not as it should be, by name.
  const std::map<std::string, int>& stop() {
    stopping_ = true;
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
    return faults_.counts();
  }

 private:
  void work(const Daemon& daemon) {
    Client client = daemon.connect();
    for (int i = 0; !stopping_; ++i) {
      auto reply = client.lease({.policy = "mine", .queue_ns = 60 * kSecondNs});
      if (!reply) return faults_.add(reply.error().line());
      if (const Refusal* refused = std::get_if<Refusal>(&*reply)) {
        faults_.add(refused->line());
        continue;
      }
      Leased& leased = std::get<Leased>(*reply);
      send_script(leased, "print(" + std::to_string(i) + ")");
      const Ran ran = finish(client, leased);
      if (ran.out != std::to_string(i) + "\n" || !ran.answer) faults_.add("out: " + ran.out);
      if (ran.ended.result.verdict != Verdict::Ok) faults_.add(ran.ended.result.reason);
      ++runs_;
    }
  }

  std::atomic<bool> stopping_ = false;
  std::atomic<int> runs_ = 0;
  Answers faults_;
  std::vector<std::thread> threads_;
};

void replace_under_load() {
  const PolicyDir policies(PolicyDir::Changes{{"max: 64", "max: 64\n  children: 20"}});
  Daemon daemon({"--warm", "mine"}, {policies.variable()});
  Load load(daemon, 3);
  ASSERT_TRUE(soon([&] { return load.runs() > 0; }));
  const std::vector<pid_t> first = children(daemon.pid());
  ASSERT_FALSE(first.empty());
  const Fd keeper = open_pidfd(first.front());
  EXPECT_TRUE(soon([&] { return daemon.metric("jaild_worlds_started_total") >= 3; }));
  EXPECT_THAT(load.stop(), testing::IsEmpty());
  EXPECT_GT(load.runs(), 20);
  EXPECT_TRUE(ends_within(keeper, 10'000));
  EXPECT_EQ(daemon.metric("jaild_worlds_failed_total"), 0);
}

TEST(Overload, NoRequestIsLostWhenAnInterpreterHasHadItsChildren) {
  EXPECT_NOTHING_LEFT_BY(replace_under_load());
}

void reload_under_load() {
  const auto wall = [](int seconds) {
    return PolicyDir::Changes{{"\"60s\"", "\"" + std::to_string(seconds) + "s\""}};
  };
  const PolicyDir policies;
  Daemon daemon({"--warm", "mine"}, {policies.variable()});
  Client client = daemon.connect();
  Leased early = lease(client, {.policy = "mine"});
  Load load(daemon, 3);
  constexpr int kChanges = 6;
  for (int i = 1; i <= kChanges; ++i) {
    policies.write(wall(10 + i));
    ::kill(daemon.pid(), SIGHUP);
    ASSERT_TRUE(soon([&] { return daemon.metric("jaild_policy_reloads_total") >= i; }));
    // Now and then its interpreter gets so far that it serves; else the next change meets it.
    const int before = load.runs();
    const int more = i % 3 == 0 ? 10 : 0;
    ASSERT_TRUE(soon([&] { return load.runs() >= before + more; }));
  }
  EXPECT_THAT(load.stop(), testing::IsEmpty());
  EXPECT_EQ(lease(client, {.policy = "mine"}).wall_ns, (10 + kChanges) * kSecondNs);
  EXPECT_GE(children(daemon.pid()).size(), 2u);  // the early jail's world lives as long as it does
  send_script(early, "print('early')");
  EXPECT_EQ(finish(client, early).out, "early\n");
  EXPECT_TRUE(soon([&] { return children(daemon.pid()).size() == 1; }));
}

TEST(Overload, PoliciesMayChangeUnderLoad) { EXPECT_NOTHING_LEFT_BY(reload_under_load()); }

}  // namespace
}  // namespace jailrun::test
