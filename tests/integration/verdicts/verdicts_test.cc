// Every verdict, reached by a guest that earns it: by its evidence, its exit status and its line on
// stderr.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>

#include "tests/integration/verdicts/verdict.h"

namespace jailrun::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Verdict, OkIsAnExitWithZero) {
  const Judged run = judged("print(6 * 7)");
  EXPECT_EQ(run.result["verdict"], "ok");
  EXPECT_EQ(run.outcome.status, 0);
  EXPECT_EQ(run.result["exit_code"], 0);
  EXPECT_EQ(run.result["signal"], nullptr);
  EXPECT_EQ(run.result["stdout"], "42\n");
  EXPECT_EQ(run.result["evidence"]["wait_status"], 0);
  EXPECT_THAT(limits_hit(run.result), IsEmpty());
  EXPECT_EQ(run.outcome.err, "");
  const Outcome plain = seen("print(6 * 7)");
  EXPECT_EQ(plain.out, "42\n");
  EXPECT_EQ(plain.err, "");
}

TEST(Verdict, NonzeroExitKeepsTheGuestsStatus) {
  for (const int status : {1, 7, 125, 137, 139, 255}) {
    const Judged run = judged("raise SystemExit(" + std::to_string(status) + ")");
    EXPECT_EQ(run.result["verdict"], "nonzero_exit") << status;
    EXPECT_EQ(run.outcome.status, status);
    EXPECT_EQ(run.result["exit_code"], status);
    EXPECT_EQ(run.result["signal"], nullptr);
    EXPECT_EQ(run.result["evidence"]["wait_status"], status << 8);
  }
}

TEST(Verdict, SignalledIsADeathByItsOwnSignal) {
  const std::string script = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)";
  const Judged run = judged(script);
  EXPECT_EQ(run.result["verdict"], "signalled");
  EXPECT_EQ(run.outcome.status, 139);
  EXPECT_EQ(run.result["signal"], "SIGSEGV");
  EXPECT_EQ(run.result["exit_code"], nullptr);
  EXPECT_EQ(run.result["evidence"]["wait_status"], SIGSEGV);
  EXPECT_THAT(seen(script).err, HasSubstr("SIGSEGV"));
}

// A guest that kills itself as the kernel's memory killer would is not believed to have run out of
// memory.
TEST(Verdict, SignalledBySigkillIsNotTakenForAnyLimit) {
  const Judged run = judged("import os\nos.kill(os.getpid(), 9)");
  EXPECT_EQ(run.result["verdict"], "signalled");
  EXPECT_EQ(run.outcome.status, 137);
  EXPECT_EQ(run.result["signal"], "SIGKILL");
  EXPECT_THAT(limits_hit(run.result), IsEmpty());
}

TEST(Verdict, WallTimeoutStrikesASleeper) {
  const std::string script = "import time\nprint('begun', flush=True)\ntime.sleep(60)";
  const Judged run = judged(script, {"--timeout", "400ms"});
  EXPECT_EQ(run.result["verdict"], "wall_timeout");
  EXPECT_EQ(run.outcome.status, 124);
  EXPECT_EQ(run.result["exit_code"], nullptr);
  EXPECT_EQ(run.result["evidence"]["killed_by_owner"], true);
  EXPECT_GE(run.result["evidence"]["wall_timer_ns"], 400'000'000);
  EXPECT_LT(run.result["usage"]["wall_ns"], 5'000'000'000);
  EXPECT_EQ(run.result["stdout"], "begun\n") << "what it said before is kept";
  EXPECT_THAT(limits_hit(run.result), ElementsAre("wall"));
  EXPECT_THAT(seen(script, {"--timeout", "400ms"}).err,
              AllOf(HasSubstr("wall time limit of 400 ms"), HasSubstr("--timeout")));
}

TEST(Verdict, WallTimeoutStrikesOneThatStopsItselfOrIgnoresSignals) {
  for (const char* script : {"import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
                             "import signal, time\n"
                             "for s in range(1, 65):\n"
                             "    try: signal.signal(s, signal.SIG_IGN)\n"
                             "    except (OSError, ValueError): pass\n"
                             "time.sleep(60)",
                             "import os, time\n"
                             "for i in range(20):\n"
                             "    if os.fork() == 0:\n"
                             "        os.setsid()\n"
                             "        time.sleep(60)\n"
                             "time.sleep(60)"}) {
    const Judged run = judged(script, {"--timeout", "400ms"});
    EXPECT_EQ(run.result["verdict"], "wall_timeout") << script;
    EXPECT_EQ(run.outcome.status, 124);
  }
}

TEST(Verdict, CpuTimeoutStrikesASpinnerBeforeTheWallDoes) {
  const std::string script = "while True: pass";
  const std::vector<std::string> options = {"--timeout", "30s", "--set", "limits.cpu_time=300ms"};
  const Judged run = judged(script, options);
  EXPECT_EQ(run.result["verdict"], "cpu_timeout");
  EXPECT_EQ(run.outcome.status, 124);
  EXPECT_GE(run.result["usage"]["cpu_ns"], 300'000'000);
  EXPECT_LT(run.result["usage"]["cpu_ns"], 1'500'000'000);
  EXPECT_GE(run.result["evidence"]["cgroup v2 cpu.stat usage_ns"], 300'000'000);
  EXPECT_THAT(limits_hit(run.result), ElementsAre("cpu_time"));
  EXPECT_THAT(seen(script, options).err, HasSubstr("CPU time limit of 300 ms"));
}

TEST(Verdict, CpuTimeIsThatOfAllProcessesTogether) {
  const Judged run = judged("import os\nfor i in range(3): os.fork()\nwhile True: pass",
                            {"--timeout", "30s", "--set", "limits.cpu_time=300ms"});
  EXPECT_EQ(run.result["verdict"], "cpu_timeout");
}

// The child eats, the parent would live on and exit 0: the whole jail dies all the same.
TEST(Verdict, OutOfMemoryKillsTheWholeJail) {
  const std::string script =
      "import os, time\n"
      "if os.fork() == 0:\n"
      "    keep = []\n"
      "    while True: keep.append(bytearray(1 << 20))\n"
      "os.wait()\n"
      "print('survived', flush=True)\n"
      "time.sleep(5)";
  const std::vector<std::string> options = {"--set", "limits.memory=64MiB"};
  const Judged run = judged(script, options);
  EXPECT_EQ(run.result["verdict"], "out_of_memory");
  EXPECT_EQ(run.outcome.status, 137);
  // v2's kernel kills the group by itself (memory.oom.group); on v1 the owner does.
  const bool v2 = run.result["evidence"].contains("cgroup v2 memory.events oom_kill");
  EXPECT_EQ(run.result["evidence"]["killed_by_owner"], !v2);
  EXPECT_LT(run.result["usage"]["wall_ns"], 4'000'000'000) << "the parent lived on";
  EXPECT_THAT(limits_hit(run.result), Contains("memory"));
  EXPECT_LE(run.result["usage"]["memory_peak_bytes"], 64 << 20);
  EXPECT_GE(run.result["usage"]["memory_peak_bytes"], 60 << 20);
  EXPECT_THAT(seen(script, options).err,
              AllOf(HasSubstr("memory limit of 64"), HasSubstr("limits.memory")));
}

TEST(Verdict, OutOfMemoryCountsFilesInTheWritablePlaces) {
  for (const char* place : {"/work", "/tmp", "/dev/shm"}) {
    const Judged run = judged(
        "f = open('" + std::string(place) + "/fill', 'wb')\nwhile True: f.write(bytes(1 << 20))",
        {"--set", "limits.memory=48MiB", "--set", "files.work=256MiB", "--set", "files.tmp=256MiB",
         "--set", "files.shm=256MiB"});
    EXPECT_EQ(run.result["verdict"], "out_of_memory") << place;
    EXPECT_EQ(run.outcome.status, 137);
  }
}

constexpr const char* kForkUntilRefused =
    "import os, time\n"
    "refused = 0\n"
    "for i in range(40):\n"
    "    try:\n"
    "        if os.fork() == 0:\n"
    "            time.sleep(60)\n"
    "            os._exit(0)\n"
    "    except OSError: refused += 1\n";

TEST(Verdict, PidsLimitIsTheVerdictOfARunThatDidNotGetOverIt) {
  const std::string script =
      std::string(kForkUntilRefused) + "raise SystemExit(3 if refused else 0)";
  const std::vector<std::string> options = {"--set", "limits.pids=8"};
  const Judged run = judged(script, options);
  EXPECT_EQ(run.result["verdict"], "pids_limit");
  EXPECT_EQ(run.outcome.status, 3) << "the guest's own";
  EXPECT_EQ(run.result["exit_code"], 3);
  EXPECT_EQ(run.result["usage"]["pids_peak"], 8) << "exactly as many as allowed";
  EXPECT_THAT(limits_hit(run.result), ElementsAre("pids"));
  EXPECT_THAT(run.result["evidence"].dump(), HasSubstr("pids.events max"));
  EXPECT_THAT(seen(script, options).err,
              AllOf(HasSubstr("limit of 8 processes"), HasSubstr("limits.pids")));
}

TEST(Verdict, PidsLimitIsOnlyMentionedWhereTheRunGotOverIt) {
  const Judged run = judged(kForkUntilRefused, {"--set", "limits.pids=8"});
  EXPECT_EQ(run.result["verdict"], "ok");
  EXPECT_EQ(run.outcome.status, 0);
  EXPECT_THAT(limits_hit(run.result), ElementsAre("pids"));
}

TEST(Verdict, PidsLimitCountsThreads) {
  const Judged run = judged(
      "import threading, time\n"
      "for i in range(40): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
      {"--set", "limits.pids=8"});
  EXPECT_EQ(run.result["verdict"], "pids_limit");
  EXPECT_EQ(run.outcome.status, 1);
  EXPECT_THAT(run.result["stderr"], HasSubstr("can't start new thread"));
}

TEST(Verdict, OutputLimitStrikesAFloodOfEitherStream) {
  for (const char* stream : {"stdout", "stderr"}) {
    const std::string script =
        std::string("import sys\nwhile True: sys.") + stream + ".write('x' * 4096)";
    const std::vector<std::string> options = {"--set", "limits.output=64KiB"};
    const Judged run = judged(script, options);
    EXPECT_EQ(run.result["verdict"], "output_limit");
    EXPECT_EQ(run.outcome.status, 153);
    EXPECT_EQ(run.result["evidence"]["output_exceeded"], stream);
    EXPECT_EQ(run.result[std::string(stream) + "_truncated"], true);
    EXPECT_EQ(run.result[stream].get<std::string>().size(), 65536u) << "the limit to the byte";
    EXPECT_EQ(run.result[stream == std::string("stdout") ? "stderr_truncated" : "stdout_truncated"],
              false);
    EXPECT_THAT(limits_hit(run.result), ElementsAre("output"));
    EXPECT_THAT(seen(script, options).err,
                AllOf(HasSubstr("output limit of 64"), HasSubstr(stream)));
  }
}

// The closed pipe alone would not end it.
TEST(Verdict, OutputLimitStrikesOneThatDoesNotMindAClosedPipe) {
  const Judged run = judged(
      "import os, time\n"
      "try:\n"
      "    while True: os.write(1, b'x' * 4096)\n"
      "except OSError: time.sleep(60)",
      {"--timeout", "10s", "--set", "limits.output=64KiB"});
  EXPECT_EQ(run.result["verdict"], "output_limit");
  EXPECT_LT(run.result["usage"]["wall_ns"], 5'000'000'000);
}

TEST(Verdict, OutputUpToTheLimitIsNoFault) {
  const Judged run =
      judged("import sys\nsys.stdout.write('x' * 65536)", {"--set", "limits.output=64KiB"});
  EXPECT_EQ(run.result["verdict"], "ok");
  EXPECT_EQ(run.result["stdout_truncated"], false);
  EXPECT_EQ(run.result["stdout"].get<std::string>().size(), 65536u);
  const Judged more =
      judged("import sys\nsys.stdout.write('x' * 65537)", {"--set", "limits.output=64KiB"});
  EXPECT_EQ(more.result["verdict"], "output_limit");
}

TEST(Verdict, DiskLimitNamesTheFullPlace) {
  for (const auto& [place, field] :
       {std::pair{"/work", "files.work"}, {"/tmp", "files.tmp"}, {"/dev/shm", "files.shm"}}) {
    const std::string script =
        "f = open('" + std::string(place) + "/fill', 'wb')\nwhile True: f.write(bytes(65536))";
    const std::vector<std::string> options = {"--set", std::string(field) + "=2MiB"};
    const Judged run = judged(script, options);
    EXPECT_EQ(run.result["verdict"], "disk_limit");
    EXPECT_EQ(run.outcome.status, 153);
    EXPECT_EQ(run.result["exit_code"], 1);
    EXPECT_EQ(run.result["evidence"]["statfs full"], place);
    EXPECT_THAT(limits_hit(run.result), ElementsAre("disk"));
    EXPECT_THAT(seen(script, options).err,
                AllOf(HasSubstr(std::string(place) + " is full"), HasSubstr(field)));
  }
}

TEST(Verdict, DiskLimitIsOnlyMentionedWhereTheRunGotOverIt) {
  const Judged run = judged(
      "f = open('/work/fill', 'wb', buffering=0)\n"
      "try:\n"
      "    while True: f.write(bytes(65536))\n"
      "except OSError: pass",
      {"--set", "files.work=2MiB"});
  EXPECT_EQ(run.result["verdict"], "ok");
  EXPECT_THAT(limits_hit(run.result), ElementsAre("disk"));
}

TEST(Verdict, DiskLimitHoldsForFilesWithoutContent) {
  const Judged run =
      judged("for i in range(1000): open(f'/work/{i}', 'w').close()", {"--set", "files.inodes=64"});
  EXPECT_EQ(run.result["verdict"], "disk_limit");
  EXPECT_EQ(run.result["evidence"]["statfs full"], "/work");
}

TEST(Verdict, PolicyViolationIsADeathByTheRedList) {
  const std::string script =
      "import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)\nprint('survived')";
  const Judged run = judged(script);
  EXPECT_EQ(run.result["verdict"], "policy_violation");
  EXPECT_EQ(run.outcome.status, 159);
  EXPECT_EQ(run.result["signal"], "SIGSYS");
  EXPECT_EQ(run.result["evidence"]["wait_status"].get<int>() & 0x7f, SIGSYS);
  EXPECT_EQ(run.result["stdout"], "");
  EXPECT_THAT(seen(script).err, AllOf(HasSubstr("red list"), HasSubstr("jailrun explain")));
}

TEST(Verdict, CancelledBySignals) {
  for (const auto& [signal, word] :
       {std::pair{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}}) {
    Live run({jailrun_program(), "exec", "--", "/bin/sh", "-c", "echo ready; sleep 60"});
    ASSERT_EQ(run.read_line(), "ready");
    run.send(signal);
    const Outcome outcome = run.finish();
    EXPECT_EQ(outcome.status, 130);
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("cancelled"), HasSubstr(word)));
  }
}

TEST(Verdict, CancelledIsAResultToo) {
  Live run({jailrun_program(), "exec", "--json", "--", "/bin/sh", "-c", "sleep 60"});
  const Fd jail = [&] {  // the guest runs once init has a child that executes sh or sleep
    while (run.guest() < 0 || proc_link(run.guest(), "exe").find("/bin/") == std::string::npos) {
      if (ends_within(open_pidfd(run.pid()), 1)) break;
    }
    return open_pidfd(run.guest());
  }();
  run.send(SIGINT);
  const Outcome outcome = run.finish();
  EXPECT_EQ(outcome.status, 130);
  const auto result = nlohmann::json::parse(outcome.out, nullptr, false);
  ASSERT_FALSE(result.is_discarded()) << outcome.out << outcome.err;
  EXPECT_EQ(result["verdict"], "cancelled");
  EXPECT_EQ(result["evidence"]["cancelled"], "SIGINT received");
  EXPECT_TRUE(ends_within(jail, 0));
}

}  // namespace
}  // namespace jailrun::test
