// Streams that end early, late, or not at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/integration/verdicts/verdict.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;

TEST(Output, ARunWhoseReaderGoesAwayIsCancelled) {
  const auto before = take_census();
  for (const bool out : {true, false}) {
    Live run({jailrun_program(), "exec", "--", "/bin/sh", "-c", "echo ready; sleep 60"});
    ASSERT_EQ(run.read_line(), "ready");
    if (out)
      run.close_stdout();
    else
      run.close_stderr();
    const Outcome outcome = run.finish();
    EXPECT_EQ(outcome.status, 130);
    if (out) {
      EXPECT_THAT(outcome.err, HasSubstr("stdout was closed by its reader"));
    }
  }
  EXPECT_EQ(left_for_good(before), "");
}

// As under a program that uses socket pairs for streams: a closed socket says so in another way
// than a pipe.
TEST(Output, ARunWhoseReaderWasASocketIsCancelledAndDoesNotSpin) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Fd ours(ends[0]), theirs(ends[1]);
  Live run({jailrun_program(), "exec", "--timeout", "5s", "--", "/bin/sleep", "60"},
           [&] { ::dup2(theirs.get(), 1); });
  while (run.guest() < 0 && !ends_within(open_pidfd(run.pid()), 1)) {
  }
  ours.reset();
  theirs.reset();
  const Outcome outcome = run.finish();
  EXPECT_EQ(outcome.status, 130) << outcome.err;
}

TEST(Output, EveryByteArrivesThroughASlowReader) {
  Live run({jailrun_program(), "exec", "--", "/bin/sh", "-c",
            "head -c 900000 /dev/zero | tr '\\0' x; echo end >&2"});
  const Fd process = open_pidfd(run.pid());
  EXPECT_FALSE(ends_within(process, 300)) << "it ended before its output was read";
  const Outcome outcome = run.finish();
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out.size(), 900'000u);
  EXPECT_EQ(outcome.err, "end\n");
}

TEST(Output, OfAProcessThatOutlivesTheFirstOneDoesNotKeepTheRunAlive) {
  const Judged run = judged(
      "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\nprint('done')");
  EXPECT_EQ(run.result["verdict"], "ok");
  EXPECT_EQ(run.result["stdout"], "done\n");
  EXPECT_LT(run.result["usage"]["wall_ns"], 20'000'000'000);
}

TEST(Output, AGuestThatClosesItsStreamsIsWaitedFor) {
  const Judged run =
      judged("import os, time\nfor fd in (0, 1, 2): os.close(fd)\ntime.sleep(0.3)\nos._exit(5)");
  EXPECT_EQ(run.result["verdict"], "nonzero_exit");
  EXPECT_EQ(run.outcome.status, 5);
}

// Without a flush: what Python had in a buffer when it was killed would be lost.
TEST(Output, PrintedBeforeALimitStruckIsKept) {
  const Judged run =
      judged("print('half way')\nx = bytearray(1 << 30)\nx[::4096] = b'x' * (1 << 18)",
             {"--set", "limits.memory=64MiB"});
  EXPECT_EQ(run.result["verdict"], "out_of_memory");
  EXPECT_EQ(run.result["stdout"], "half way\n");
}

TEST(Output, ThatIsNoUtf8StillMakesAResult) {
  const Judged run = judged("import os\nos.write(1, b'a\\xff\\xfe\\x00\\xed\\xa0\\x80\\x1b[2Jb')");
  EXPECT_EQ(run.result["verdict"], "ok");
  const std::string text = run.result["stdout"];
  EXPECT_EQ(text.front(), 'a');
  EXPECT_EQ(text.back(), 'b');
  EXPECT_THAT(text, HasSubstr("\xef\xbf\xbd"));
}

// A guest that prints what a Result looks like has printed text.
TEST(Output, CannotForgeAResult) {
  const Judged run = judged(
      "print('{\"jailrun\":\"0.1.0\",\"verdict\":\"ok\",\"status\":0}')\nraise SystemExit(4)");
  EXPECT_EQ(run.result["verdict"], "nonzero_exit");
  EXPECT_EQ(run.outcome.status, 4);
}

TEST(Output, TheGuestReadsItsStandardInputToTheEnd) {
  const std::string text(300'000, 'x');
  const Outcome outcome = jailrun({"exec", "--", "/bin/sh", "-c", "wc -c"}, text);
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(std::stol(outcome.out), 300'000);
}

TEST(Output, InputThatTheGuestDoesNotReadHoldsNothingUp) {
  const Outcome outcome = jailrun({"exec", "--", "/bin/true"}, std::string(1'000'000, 'x'));
  EXPECT_EQ(outcome.status, 0);
}

TEST(Output, ANonblockingOrReadOnlyTrickOnTheStreamsStaysInside) {
  // The pipe's flags belong to the jail's end alone; the caller's descriptors are other ones.
  const Outcome outcome =
      jailrun({"run", "-"},
              "import fcntl, os\n"
              "for fd in (0, 1, 2):\n"
              "    try: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)\n"
              "    except OSError: pass\n"
              "print('x' * 100)");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, std::string(100, 'x') + "\n");
}

}  // namespace
}  // namespace jailrun::test
