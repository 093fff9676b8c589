// Guests that misuse what they were given, and the deaths of those who made them.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/integration/warm/in_world.h"
#include "tests/support/live.h"

namespace jailrun {
namespace {

class BadDay : public InWorld {
 protected:
  // Runs it, and after it an honest one: no guest spoils what others get.
  static test::WarmRun run(const std::string& script) {
    const auto jail = test::park(*world_), next = test::park(*world_);
    if (!jail || !next) return {};
    test::WarmRun said = test::run_in(*world_, **jail, script);
    const test::WarmRun honest = test::run_in(*world_, **next, "print('honest')");
    EXPECT_EQ(honest.out, "honest\n");
    EXPECT_TRUE(honest.answer.has_value());
    EXPECT_EQ(honest.result.verdict, Verdict::Ok);
    return said;
  }
};

pid_t parent(pid_t pid) { return std::atoi(test::status_field(pid, "PPid").c_str()); }

// The interpreter in the keeper's own pid namespace.
pid_t zygote_of(pid_t keeper) {
  for (const pid_t pid : test::children(keeper)) {
    if (test::proc_link(pid, "exe").find("python3") != std::string::npos &&
        test::proc_link(pid, "ns/pid") == test::proc_link(keeper, "ns/pid"))
      return pid;
  }
  return -1;
}

TEST_F(BadDay, AGuestWithoutItsAnswerPipeGivesNoAnswerAndHasItsVerdict) {
  const test::WarmRun said = run("import os; os.close(4); print('closed')");
  EXPECT_EQ(said.out, "closed\n");
  EXPECT_FALSE(said.answer.has_value());
  EXPECT_EQ(said.result.verdict, Verdict::Ok);
}

TEST_F(BadDay, RubbishInTheAnswerPipeIsNoAnswer) {
  const test::WarmRun said = run("import os; os.write(4, b'jra1' + bytes(range(200)))");
  EXPECT_FALSE(said.answer.has_value());
  EXPECT_EQ(said.result.verdict, Verdict::Ok);
}

TEST_F(BadDay, AForgedAnswerChangesNoVerdict) {
  const test::WarmRun said =
      run("import os, struct\n"
          "os.write(4, struct.pack('<IIiI5q', 0x3161726a, 0, 0, 0, 1, 1, 1, 0, 0))\n"
          "os._exit(3)\n");
  EXPECT_EQ(said.result.verdict, Verdict::NonzeroExit);
  EXPECT_EQ(said.result.status, 3);
}

TEST_F(BadDay, AFloodOfAnswersEndsWithTheGuest) {
  const test::WarmRun said =
      run("import os\n"
          "for _ in range(200): os.write(4, bytes(65536))\n");
  EXPECT_FALSE(said.answer.has_value());
  EXPECT_EQ(said.result.verdict, Verdict::Ok);
}

TEST_F(BadDay, TheRequestPipeIsGoneBeforeTheScriptBegins) {
  const test::WarmRun said =
      run("import os\n"
          "try: os.read(3, 1)\n"
          "except OSError as error: print(error.errno)\n");
  EXPECT_EQ(said.out, "9\n");
}

TEST_F(BadDay, AGrandchildThatKeepsStdoutOpenDiesWithItsJail) {
  const auto jail = test::park(*world_);
  ASSERT_TRUE(jail.has_value());
  const WarmJail::Ends ends = (*jail)->take_ends();
  const std::string request = encode(Request{{"script.py"},
                                             "import os, time\n"
                                             "if os.fork() == 0:\n"
                                             "    os.setsid()\n"
                                             "    time.sleep(600)\n"});
  ASSERT_EQ(write_all(ends.request.get(), request.data(), request.size()), 0);
  while (!(*jail)->gone()) {
    pollfd entry{world_->keeper_fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&entry, 1, 5000), 1);
    const auto ended = world_->next_ended();
    ASSERT_TRUE(ended.has_value());
    if (*ended) (*jail)->note(**ended);
    if ((*jail)->guest_ended() && !(*jail)->gone()) (*jail)->kill();
  }
  Evidence evidence;
  EXPECT_EQ((*jail)->settle(world_->plan(), evidence).verdict, Verdict::Ok);
  char byte = 0;
  EXPECT_EQ(::read(ends.out.get(), &byte, 1), 0);  // its end: nobody holds it any more
}

TEST_F(BadDay, SignalsFromAGuestDoNotReachItsInit) {
  const test::WarmRun said =
      run("import os, signal\n"
          "for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):\n"
          "    try: os.kill(1, number)\n"
          "    except OSError as error: print(type(error).__name__)\n"
          "print('alive', os.getppid())\n");
  EXPECT_NE(said.out.find("alive"), std::string::npos);
  EXPECT_EQ(said.result.verdict, Verdict::Ok);
}

TEST(BadDayOfAWorld, AZygoteWithAThreadNeverGetsReadyAndSaysWhichItIs) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto plan = test::plan_of("python");
  ASSERT_TRUE(plan);
  namespace fs = std::filesystem;
  std::string dir = "/tmp/jailrun-test-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  fs::permissions(dir, fs::perms(0755));
  fs::create_directories(dir + "/bin");
  fs::create_directories(dir + "/lib");
  const std::string built = JAILRUN_BIN_DIR;
  fs::copy(built + "/jailrun-spawner", dir + "/bin/jailrun-spawner");
  fs::copy(built + "/../lib/jailrun", dir + "/lib/jailrun");
  std::ofstream(dir + "/lib/jailrun/preload.txt", std::ios::app) << "busy\n";
  std::ofstream(dir + "/lib/jailrun/busy.py")
      << "import threading, time\n"
         "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n";
  const Fd log(::memfd_create("log", MFD_CLOEXEC));
  const auto world = World::start(*plan, log.get(), dir + "/bin");
  ASSERT_TRUE(world.has_value()) << world.error().line();
  std::string report;
  Expected<bool> ready = false;
  for (pollfd entry{(*world)->zygote_fd(), POLLIN, 0}; ready && !*ready;) {
    ASSERT_EQ(::poll(&entry, 1, 20'000), 1);
    ready = (*world)->zygote_ready(report);
  }
  EXPECT_FALSE(ready.has_value());
  char text[4096];
  const ssize_t n = ::pread(log.get(), text, sizeof text, 0);
  const std::string said(text, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  EXPECT_NE(said.find("zygote: 2 threads after the imports"), std::string::npos) << said;
  EXPECT_NE(said.find("preload.txt"), std::string::npos) << said;
  fs::remove_all(dir);
}

// Each of these ends its world, which is its alone.
TEST(BadDayOfAWorld, JailsOutliveTheirZygoteAndTheNextOneIsRefusedByName) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto plan = test::plan_of("python");
  ASSERT_TRUE(plan);
  const std::unique_ptr<World> world = test::start_world(*plan);
  ASSERT_NE(world, nullptr);
  const auto jail = test::park(*world);
  ASSERT_TRUE(jail.has_value());
  const pid_t zygote = zygote_of(parent((*jail)->guest_host_pid()));
  ASSERT_GT(zygote, 0);
  const Fd pidfd = test::open_pidfd(zygote);
  ASSERT_EQ(::kill(zygote, SIGKILL), 0);
  ASSERT_TRUE(test::ends_within(pidfd, 5000));

  const test::WarmRun run = test::run_in(*world, **jail, "import pandas; print('still here')");
  EXPECT_EQ(run.out, "still here\n");
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(run.result.verdict, Verdict::Ok);
  const auto refused = test::park(*world);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().line().find("zygote"), std::string::npos) << refused.error().line();
}

TEST(BadDayOfAWorld, WithTheKeeperDiesEverything) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto plan = test::plan_of("python");
  ASSERT_TRUE(plan);
  const std::unique_ptr<World> world = test::start_world(*plan);
  ASSERT_NE(world, nullptr);
  const auto jail = test::park(*world);
  ASSERT_TRUE(jail.has_value());
  const pid_t guest = (*jail)->guest_host_pid(), keeper = parent(guest);
  std::vector<Fd> ends;
  for (const pid_t pid : test::children(keeper)) ends.push_back(test::open_pidfd(pid));
  EXPECT_GE(ends.size(), 3U);  // zygote, init, guest
  ASSERT_EQ(::kill(keeper, SIGKILL), 0);
  for (const Fd& pidfd : ends) EXPECT_TRUE(test::ends_within(pidfd, 1000));
  pollfd entry{world->keeper_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&entry, 1, 1000), 1);
  Expected<std::optional<Ended>> ended = world->next_ended();
  while (ended && *ended) ended = world->next_ended();
  EXPECT_FALSE(ended.has_value()) << "the owner is not told";
}

}  // namespace
}  // namespace jailrun
