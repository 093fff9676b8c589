// Guests and clients that do not do their part: the lease ends all the same, with the right
// verdict, and the next one is as good as any.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <filesystem>
#include <map>

#include "tests/integration/jaild/daemon.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

const LeaseRequest kShort{.overrides = {"limits.wall=400ms"}};

class BadGuest : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = new Daemon({"--warm", "python"}); }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  // Whatever the test did: nothing of it is left, and the next request is fine.
  void TearDown() override {
    EXPECT_EQ(run(client_, "print('honest')").out, "honest\n");
    EXPECT_TRUE(soon([] { return daemon_->metric("jaild_leased") == 0; }));
  }
  // Of a lease of which nothing is read but its end.
  Verdict verdict(const Leased& leased) {
    const auto ended = client_.wait_ended(leased.id);
    EXPECT_TRUE(ended) << ended.error().line();
    return ended ? ended->result.verdict : Verdict::Ok;
  }
  static Daemon* daemon_;
  Client client_ = daemon_->connect();
};
Daemon* BadGuest::daemon_ = nullptr;

TEST_F(BadGuest, ThatHangsInNativeCodeWithTheInterpretersLockIsEndedInTime) {
  for (const char* script : {"import ctypes; ctypes.PyDLL(None).sleep(3600)",
                             "import re; re.match('(a+)+$', 'a' * 64 + 'b')"}) {
    const Ran ran = run(client_, script, kShort);
    EXPECT_EQ(ran.ended.result.verdict, Verdict::WallTimeout) << script;
    EXPECT_FALSE(ran.answer);
  }
}

TEST_F(BadGuest, ThatIgnoresEverySignalIsEndedInTime) {
  const Ran ran = run(client_,
                      "import signal, time\n"
                      "for number in signal.valid_signals():\n"
                      "    try: signal.signal(number, signal.SIG_IGN)\n"
                      "    except OSError: pass\n"
                      "time.sleep(3600)\n",
                      kShort);
  EXPECT_EQ(ran.ended.result.verdict, Verdict::WallTimeout);
}

TEST_F(BadGuest, ThatStopsItselfIsEndedInTimeAndNobodyHangsOnItsInput) {
  Leased leased = lease(client_, kShort);
  Fd in = std::move(leased.in);
  send_script(leased, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)");
  ::fcntl(in.get(), F_SETFL, O_NONBLOCK);
  const std::string flood(1 << 20, 'x');
  ssize_t n = 0;
  while ((n = ::write(in.get(), flood.data(), flood.size())) > 0) {
  }
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(finish(client_, leased).ended.result.verdict, Verdict::WallTimeout);
  EXPECT_LT(::write(in.get(), "x", 1), 0);
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(BadGuest, WhoseOutputNobodyReadsIsEndedInTime) {
  Leased leased = lease(client_, kShort);
  send_script(leased, "while True: print('x' * 100_000)");
  EXPECT_EQ(verdict(leased), Verdict::WallTimeout);
}

TEST_F(BadGuest, ThatFloodsItsAnswerIsEndedInTime) {
  Leased leased = lease(client_, kShort);
  send_script(leased, "import os\nwhile True: os.write(4, bytes(65536))");
  EXPECT_EQ(verdict(leased), Verdict::WallTimeout);
}

TEST_F(BadGuest, WhoseGrandchildKeepsItsOutputOpenEndsForAll) {
  const Ran ran = run(client_,
                      "import os, time\n"
                      "if os.fork() == 0:\n"
                      "    os.setsid()\n"
                      "    time.sleep(3600)\n"
                      "print('parent')\n");
  EXPECT_EQ(ran.out, "parent\n");
  EXPECT_EQ(ran.ended.result.verdict, Verdict::Ok);
  EXPECT_LT(ran.ended.result.wall_ns, 20'000'000'000u);
}

// --- clients ------------------------------------------------------------------------------------

TEST_F(BadGuest, ThatIsNeverAskedIsEndedInTime) {
  Leased leased = lease(client_, kShort);
  EXPECT_EQ(verdict(leased), Verdict::WallTimeout);
}

TEST_F(BadGuest, ThatGetsHalfARequestIsEndedInTime) {
  const std::string frame = encode(Request{{"/run/test.py"}, std::string(4 << 20, '#')});
  Leased leased = lease(client_, kShort);
  // More than the pipe takes at once: the guest reads, and the rest never comes.
  ASSERT_EQ(write_all(leased.to_request.get(), frame.data(), frame.size() / 2), 0);
  EXPECT_EQ(verdict(leased), Verdict::WallTimeout);
}

TEST_F(BadGuest, WhoseRequestEndsInTheMiddleEndsWithoutAnAnswer) {
  const std::string frame = encode(Request{{"/run/test.py"}, std::string(4 << 20, '#')});
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{3}, frame.size() / 2}) {
    Leased leased = lease(client_);
    ASSERT_EQ(write_all(leased.to_request.get(), frame.data(), bytes), 0);
    leased.to_request.reset();
    const Ran ran = finish(client_, leased);
    EXPECT_FALSE(ran.answer);
    EXPECT_LT(ran.ended.result.wall_ns, 20'000'000'000u) << bytes;
  }
}

TEST_F(BadGuest, WhoseRequestIsTooLongRefusesIt) {
  Leased leased = lease(client_);
  const std::uint32_t head[] = {kRequestMagic, kMaxRequestBytes + 1, 1};
  ASSERT_EQ(write_all(leased.to_request.get(), reinterpret_cast<const char*>(head), sizeof head),
            0);
  const Ran ran = finish(client_, leased);
  EXPECT_FALSE(ran.answer);
  EXPECT_EQ(ran.ended.result.verdict, Verdict::NonzeroExit);
  EXPECT_THAT(ran.err, testing::HasSubstr("not a request"));
}

void leave_in_the_middle(const Daemon& daemon) {
  Client here = daemon.connect();
  ASSERT_TRUE(soon([&] { return daemon.metric("jaild_parked") == 4; }));
  const std::size_t before = daemon.descriptors().size();
  for (int i = 0; i < 8; ++i) {
    Client client = daemon.connect();
    Leased leased = lease(client);
    send_script(leased, "import time; print('up', flush=True); time.sleep(3600)");
    char text[3];
    ASSERT_GT(::read(leased.out.get(), text, sizeof text), 0);
    // With requests that have no answer yet.
    for (int n = 0; n < i; ++n) ASSERT_TRUE(client.ask({.queue_ns = 60'000'000'000}));
  }
  EXPECT_EQ(run(here, "print(1)").out, "1\n");
  EXPECT_TRUE(soon(
      [&] { return daemon.metric("jaild_leased") == 0 && daemon.metric("jaild_waiting") == 0; }));
  EXPECT_TRUE(soon([&] { return daemon.descriptors().size() <= before + 64; }));
}

TEST_F(BadGuest, WhoseClientIsGoneIsGoneToo) { leave_in_the_middle(*daemon_); }

}  // namespace
}  // namespace jailrun::test
