// Streams and signals: closed, full, slow, flooded, interrupted.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <csignal>

#include "jail/sys/fd.h"
#include "tests/integration/cli/cli.h"
#include "tests/support/live.h"

namespace jailrun::test {
namespace {

class CliStreams : public Cli {};
class CliSignals : public Cli {};

TEST_F(CliSignals, CtrlCEndsAGuestThatIgnoresItWithinASecond) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Live jailrun({jailrun_program(), "exec", "--", "sh", "-c",
                  "trap '' INT TERM HUP; echo up; while :; do sleep 60; done"});
    ASSERT_EQ(jailrun.read_line(), "up");
    const std::int64_t begin = now_ms();
    jailrun.send(signal);
    const Outcome outcome = jailrun.finish();
    EXPECT_LT(now_ms() - begin, 1000);
    EXPECT_EQ(outcome.status, 130);
    EXPECT_THAT(outcome.err, testing::HasSubstr("cancelled: SIG"));
  }
}

TEST_F(CliStreams, AClosedStdoutIsSaidWhereSomethingIsPrinted) {
  const Outcome outcome = sh("$J exec -- /bin/echo lost >&-");
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.err, testing::HasSubstr("stdout"));
  EXPECT_EQ(sh("$J exec -- /bin/true >&-").status, 0);
  EXPECT_EQ(sh("$J exec -- /bin/echo heard 2>&-").out, "heard\n");
  EXPECT_NE(sh("$J exec --json -- /bin/true >&-").status, 0);
}

TEST_F(CliStreams, AReaderThatGoesAwayCancelsAtOnce) {
  Live jailrun({jailrun_program(), "exec", "--", "sh", "-c", "echo up; exec sleep 60"});
  ASSERT_EQ(jailrun.read_line(), "up");
  const std::int64_t begin = now_ms();
  jailrun.close_stdout();
  const Outcome outcome = jailrun.finish();
  EXPECT_EQ(outcome.status, 130);
  EXPECT_LT(now_ms() - begin, 1000);
  EXPECT_THAT(outcome.err, testing::HasSubstr("stdout was closed by its reader"));
}

TEST_F(CliStreams, ASocketWhoseReaderGoesAwayCancelsAtOnce) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Fd theirs(ends[1]);
  Fd ours(ends[0]);
  Live jailrun({jailrun_program(), "exec", "--timeout", "5s", "--", "sleep", "60"},
               [&] { ::dup2(ends[1], 1); });
  const std::int64_t begin = now_ms();
  ours.reset();
  EXPECT_EQ(jailrun.finish().status, 130);
  EXPECT_LT(now_ms() - begin, 3000);
}

TEST_F(CliStreams, AFullDiskBehindStdoutIsNamed) {
  const Outcome outcome = sh("$J exec -- /bin/echo lost > /dev/full");
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.err, testing::HasSubstr("No space left on device"));
  const Outcome json = sh("$J exec --json -- /bin/true > /dev/full");
  EXPECT_NE(json.status, 0);
  EXPECT_THAT(json.err, testing::HasSubstr("No space left on device"));
}

TEST_F(CliStreams, AClosedStdinIsAnEmptyOne) {
  EXPECT_EQ(sh("$J exec -- cat <&-").status, 0);
  EXPECT_EQ(sh("$J exec -- sh -c 'ls /proc/self/fd | wc -l' <&- 2>&-").out, "4\n");
}

TEST_F(CliStreams, StdinArrivesWholeAndItsReaderMayGoAway) {
  const std::string text(3 << 20, 'x');
  EXPECT_EQ(sh("$J exec -- wc -c", text).out, std::to_string(text.size()) + "\n");
  EXPECT_EQ(sh("$J exec -- head -c 5", text).out, "xxxxx");
  EXPECT_EQ(sh("$J exec -- sh -c 'exec <&-; echo closed'", text).out, "closed\n");
}

TEST_F(CliStreams, ASlowReaderDoesNotStopTheWallLimit) {
  Live jailrun({jailrun_program(), "exec", "--timeout", "300ms", "--set", "limits.output=1GiB",
                "--", "sh", "-c", "echo up; exec yes"});
  ASSERT_EQ(jailrun.read_line(), "up");
  // Nobody reads: jailrun keeps what it has for the reader, but the guest is gone in time.
  const pid_t init = jailrun.init();
  ASSERT_GT(init, 0);
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, init, 0)));
  pollfd entry{process.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 3000), 1);
  const Outcome outcome = jailrun.finish();
  EXPECT_EQ(outcome.status, 124);
  EXPECT_THAT(outcome.err, testing::HasSubstr("wall time limit"));
}

TEST_F(CliStreams, AFloodOnBothStreamsIsCutAtTheLimitInLittleMemory) {
  const std::int64_t begin = now_ms();
  const Outcome outcome =
      sh("ulimit -v 131072; $J exec --set limits.output=4MiB -- sh -c 'yes & yes >&2; wait' > out "
         "2> err; echo $?");
  EXPECT_EQ(outcome.out, "153\n");
  EXPECT_LE(std::filesystem::file_size(dir_ / "out"), 4u << 20);
  EXPECT_LE(std::filesystem::file_size(dir_ / "err"), (4u << 20) + 1000);
  EXPECT_LT(now_ms() - begin, 5000);
}

TEST_F(CliStreams, AGrandchildThatHoldsThemOpenDelaysNothing) {
  const std::int64_t begin = now_ms();
  const Outcome outcome =
      sh("$J exec -- sh -c '(trap \"\" HUP TERM; exec setsid sleep 60) & echo done'");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "done\n");
  EXPECT_LT(now_ms() - begin, 3000);
}

TEST_F(CliStreams, BytesThatAreNoTextPassUnchanged) {
  EXPECT_EQ(sh("$J exec -- printf 'a\\000\\377\\033b'").out, std::string("a\0\xff\x1b"
                                                                         "b",
                                                                         5));
}

}  // namespace
}  // namespace jailrun::test
