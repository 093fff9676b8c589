// A lease from jaild: the script runs, the kernel's account comes, limits hold from outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "jail/run/collect.h"
#include "tests/integration/jaild/daemon.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;

class Lease : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = new Daemon; }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  static Daemon* daemon_;
  Client client_ = daemon_->connect();
};
Daemon* Lease::daemon_ = nullptr;

TEST_F(Lease, RunsAScriptWithPandasAndTellsHowItEnded) {
  const Ran ran = run(client_, "import pandas as pd\nprint(pd.Series([1, 2, 3]).mean())");
  EXPECT_EQ(ran.out, "2.0\n");
  EXPECT_EQ(ran.err, "");
  ASSERT_TRUE(ran.answer);
  EXPECT_EQ(ran.answer->outcome, jailrun::Outcome::Done);
  const Result& result = ran.ended.result;
  EXPECT_EQ(result.verdict, Verdict::Ok);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_GT(result.cpu_ns.value_or(0), 0u);
  EXPECT_GT(result.memory_peak_bytes.value_or(0), 0u);
  EXPECT_FALSE(result.limits.empty());
  EXPECT_FALSE(result.timeline.empty());
}

TEST_F(Lease, SaysWhetherTheJailWasReady) {
  (void)run(client_, "1");
  while (daemon_->metric("jaild_parked") < 1) std::this_thread::yield();
  const Leased ready = lease(client_);
  EXPECT_EQ(ready.start, "parked");
}

TEST_F(Lease, BringsARequestAlongAfterLimitsAndFiles) {
  const std::string script = encode(Request{{"first.py"}, "print(open('/data/in').read())"});
  const int file = ::memfd_create("in", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(write_all(file, "given", 5), 0);
  ::fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
  LeaseRequest request;
  request.files.push_back({"in", file});
  request.first = script;
  Leased lent = lease(client_, request);
  ::close(file);
  EXPECT_EQ(finish(client_, lent).out, "given\n");
}

TEST_F(Lease, BringsTheBeginningOfARequestAlong) {
  const std::string script = encode(Request{{"first.py"}, "print('whole')"});
  LeaseRequest request;
  request.first = std::string_view(script).substr(0, 11);
  Leased lent = lease(client_, request);
  const std::string_view rest = std::string_view(script).substr(11);
  ASSERT_EQ(write_all(lent.to_request.get(), rest.data(), rest.size()), 0);
  EXPECT_EQ(finish(client_, lent).out, "whole\n");
}

// A process that hangs in the kernel cannot be killed; here it hangs in its exit, as its tracer
// wants it. Whoever waits for the jail is told, and others go on.
TEST_F(Lease, OfAJailThatHangsInTheKernelEndsForItsClient) {
  Live hung({JAILRUN_BIN_DIR "/jailrun", "run", "--warm", "--json", "-t", "1s", "-"},
            [] { ::setenv("JAILRUN_SOCKET", daemon_->socket().c_str(), 1); });
  hung.write("while True: pass");
  hung.close_stdin();
  pid_t guest = 0;
  ASSERT_TRUE(soon([&] {
    const JailList list = client_.ps().value();
    for (const JailInfo& jail : list.jails)
      if (jail.state == "leased") guest = jail.pid;
    return guest != 0;
  }));
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, guest, nullptr, PTRACE_O_TRACEEXIT), 0);
  ASSERT_EQ(::waitpid(guest, nullptr, __WALL), guest) << "its limit has killed it, and it hangs";
  EXPECT_EQ(run(client_, "print(1)").out, "1\n");
  const Outcome outcome = hung.finish();
  EXPECT_EQ(outcome.status, 124) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("wall_timeout"));
  EXPECT_THAT(outcome.out, HasSubstr("hangs in the kernel"));
  EXPECT_THAT(daemon_->log(), HasSubstr("the jail does not die"));
  EXPECT_EQ(::kill(guest, 0), 0) << "it was not there any more";

  ASSERT_EQ(::ptrace(PTRACE_CONT, guest, nullptr, nullptr), 0);
  while (::waitpid(guest, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  ASSERT_TRUE(soon([&] { return ::kill(guest, 0) != 0; }));
  EXPECT_EQ(run(client_, "print(2)").out, "2\n");
}

TEST_F(Lease, KeepsManyJailsOfManyClientsApart) {
  std::vector<std::thread> clients;
  for (int each = 0; each < 6; ++each) {
    clients.emplace_back([each] {
      Client client = daemon_->connect();
      for (int i = 0; i < 20; ++i) {
        const std::string word = std::to_string(each) + "-" + std::to_string(i);
        const Ran ran = run(client, "import os; print('" + word +
                                        "', os.path.exists('/tmp/x')); open('/tmp/x', 'w')");
        EXPECT_EQ(ran.out, word + " False\n");
        EXPECT_EQ(ran.ended.result.verdict, Verdict::Ok) << ran.ended.result.reason;
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(Lease, EndsWithItsConnection) {
  Leased leased;
  {
    Client other = daemon_->connect();
    leased = lease(other);
    send_script(leased, "import time; print('up', flush=True); time.sleep(60)");
    char text[3];
    ASSERT_GT(::read(leased.out.get(), text, sizeof text), 0);
  }
  char byte;
  EXPECT_EQ(::read(leased.from_answer.get(), &byte, 1), 0);  // end of file: the guest is gone
}

TEST_F(Lease, IsCancelledForTheReasonThatTheClientGives) {
  Leased leased = lease(client_);
  send_script(leased, "import time; time.sleep(60)");
  ASSERT_TRUE(client_.cancel(leased.id, "enough"));
  const Ran ran = finish(client_, leased);
  EXPECT_EQ(ran.ended.result.verdict, Verdict::Cancelled);
  EXPECT_THAT(ran.ended.result.reason, HasSubstr("enough"));
  EXPECT_EQ(ran.ended.result.status, 130);
  EXPECT_FALSE(ran.answer);
}

TEST_F(Lease, IsKilledWhenTheClientHasReadTooMuch) {
  Leased leased = lease(client_);
  send_script(leased, "while True: print('x' * 1000)");
  ASSERT_TRUE(client_.output_exceeded(leased.id, "stdout"));
  EXPECT_EQ(finish(client_, leased).ended.result.verdict, Verdict::OutputLimit);
}

TEST_F(Lease, NamesNoStreamButTheTwo) {
  Leased leased = lease(client_);
  send_script(leased, "import time; time.sleep(60)");
  ASSERT_TRUE(client_.output_exceeded(leased.id, "/work"));
  EXPECT_EQ(finish(client_, leased).ended.result.verdict, Verdict::Cancelled);
}

TEST_F(Lease, HoldsToTheWallTimeThatWasAskedFor) {
  const Ran ran = run(client_, "import time; time.sleep(60)", {.overrides = {"limits.wall=200ms"}});
  EXPECT_EQ(ran.ended.result.verdict, Verdict::WallTimeout);
  EXPECT_LT(ran.ended.result.wall_ns, 2'000'000'000u);
}

TEST_F(Lease, HoldsToTheCpuTimeThatWasAskedFor) {
  const Ran ran = run(client_, "while True: pass", {.overrides = {"limits.cpu_time=200ms"}});
  EXPECT_EQ(ran.ended.result.verdict, Verdict::CpuTimeout);
}

TEST_F(Lease, HoldsToTheMemoryThatWasAskedForAndNotToLess) {
  const LeaseRequest little{.overrides = {"limits.memory=64MiB"}};
  const Ran over = run(client_, "x = b'x' * (100 << 20)", little);
  EXPECT_EQ(over.ended.result.verdict, Verdict::OutOfMemory) << over.ended.result.reason;
  EXPECT_THAT(over.ended.result.reason, HasSubstr("64 MiB"));
  const Ran below = run(client_, "x = b'x' * (20 << 20); print(len(x))", little);
  EXPECT_EQ(below.ended.result.verdict, Verdict::Ok) << below.ended.result.reason;
}

TEST_F(Lease, CountsProcessesAsAskedFor) {
  const std::string forks = R"(
import os, time
for i in range(8):
    if os.fork() == 0: time.sleep(5)
)";
  const Ran ran = run(client_, forks, {.overrides = {"limits.pids=4"}});
  EXPECT_EQ(ran.ended.result.verdict, Verdict::PidsLimit) << ran.ended.result.reason;
}

TEST_F(Lease, TellsDeathsApart) {
  EXPECT_EQ(run(client_, "import sys; sys.exit(7)").ended.result.exit_code, 7);
  EXPECT_EQ(run(client_, "import os; os.kill(os.getpid(), 11)").ended.result.signal, SIGSEGV);
  EXPECT_EQ(
      run(client_, "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)").ended.result.verdict,
      Verdict::PolicyViolation);
  const Ran raised = run(client_, "1 / 0");
  EXPECT_EQ(raised.ended.result.verdict, Verdict::NonzeroExit);
  EXPECT_THAT(raised.err, HasSubstr("ZeroDivisionError"));
  ASSERT_TRUE(raised.answer);
  EXPECT_EQ(raised.answer->outcome, jailrun::Outcome::Exception);
}

TEST_F(Lease, GivesOutWhatIsLeftInWorkToTheOwnerOfTheLease) {
  const Ran ran =
      run(client_, "import os; open('a.txt', 'w').write('hello'); os.symlink('/etc/passwd', 'l')",
          {.wants_files = true});
  ASSERT_TRUE(ran.ended.files.valid());
  const auto files =
      receive_files({ran.ended.files.get(), ran.ended.work_device, 10, 1 << 20, -1, ""});
  ASSERT_TRUE(files) << files.error().line();
  ASSERT_EQ(files->files.size(), 1u);
  EXPECT_EQ(files->files[0].name, "a.txt");
  EXPECT_EQ(files->files[0].bytes, 5u);
  EXPECT_EQ(files->skipped.size(), 1u);
  EXPECT_FALSE(run(client_, "1", {.wants_files = true}).ended.files.valid());
  EXPECT_FALSE(run(client_, "open('a', 'w')").ended.files.valid());
}

class InputFiles : public Lease {
 protected:
  void SetUp() override {
    std::ofstream(path_) << "private";
    ::chmod(path_.c_str(), 0600);
  }
  void TearDown() override { std::filesystem::remove(path_); }
  LeaseRequest with(int fd, const std::string& name = "in.csv") { return {.files = {{name, fd}}}; }
  const std::string path_ = "/tmp/jaild-input-" + std::to_string(::getpid());
};

TEST_F(InputFiles, AreSeenByTheGuestAsItsOwn) {
  const Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  const Ran ran = run(client_, "print(open('/data/in.csv').read())", with(file.get()));
  EXPECT_EQ(ran.out, "private\n") << ran.err;
  EXPECT_EQ(run(client_, "open('/data/in.csv', 'w')", with(file.get())).ended.result.exit_code, 1);
}

TEST_F(InputFiles, MustBeReadableByTheDescriptorItself) {
  // jaild is root: whoever could send it a mere name of a file could have it shown to a guest.
  const Fd path(::open(path_.c_str(), O_PATH | O_CLOEXEC));
  EXPECT_EQ(refusal(client_, with(path.get())), "BadFile");
  const Fd write(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(refusal(client_, with(write.get())), "BadFile");
  const Fd directory(::open("/tmp", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(refusal(client_, with(directory.get())), "BadFile");
  const Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(refusal(client_, with(file.get(), "../x")), "BadFile");
}

TEST_F(InputFiles, MayBeSealedMemory) {
  const Fd memory(::memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(write_all(memory.get(), "abc", 3), 0);
  ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
  const Ran ran = run(client_, "print(open('/data/in.csv').read())", with(memory.get()));
  EXPECT_EQ(ran.out, "abc\n") << ran.err;
  const Fd loose(::memfd_create("x", MFD_CLOEXEC));
  EXPECT_EQ(refusal(client_, with(loose.get())), "FileNotMountable");
}

}  // namespace
}  // namespace jailrun::test
