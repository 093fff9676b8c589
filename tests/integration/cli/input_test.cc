// Scripts and inputs that are missing, strange, hostile or huge.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <csignal>

#include <nlohmann/json.hpp>

#include "jail/sys/fd.h"
#include "tests/integration/cli/cli.h"
#include "tests/support/live.h"

namespace jailrun::test {
namespace {

class CliScript : public Cli {};
class CliInput : public Cli {};

TEST_F(CliScript, ThatIsMissingIsNamed) {
  expect_refused(sh("$J run missing.py"), 125, {"script missing.py", "No such file"});
}

TEST_F(CliScript, ThatMayNotBeReadIsNamed) {
  write("secret.py", "print(1)");
  ASSERT_EQ(::chown((dir_ / "secret.py").c_str(), 1, 1), 0);
  ASSERT_EQ(::chmod((dir_ / "secret.py").c_str(), 0600), 0);
  // Root without the two capabilities that let it read everything.
  expect_refused(sh("setpriv --bounding-set=-dac_override,-dac_read_search $J run secret.py"), 125,
                 {"script secret.py", "Permission denied"});
}

TEST_F(CliScript, WhoseDiskFailsIsNamed) {
  expect_refused(sh("$J run /proc/self/mem"), 125, {"/proc/self/mem", "Input/output error"});
}

TEST_F(CliScript, ThatIsADirectoryIsNamed) {
  expect_refused(sh("$J run ."), 125, {"script . is a directory"});
}

TEST_F(CliScript, ThatIsAFifoIsRefusedAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo((dir_ / "fifo.py").c_str(), 0600), 0);
  expect_refused(sh("$J run fifo.py"), 125, {"script fifo.py is not a regular file"});
}

TEST_F(CliScript, ThatIsADeviceIsRefused) {
  expect_refused(sh("$J run /dev/zero"), 125, {"script /dev/zero is not a regular file"});
}

TEST_F(CliScript, ThatIsEmptyDoesNothingWell) {
  write("empty.py", "");
  const Outcome outcome = sh("$J run empty.py && $J run - </dev/null && $J run - <&-");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out + outcome.err, "");
}

TEST_F(CliScript, ThatIsNotUtf8IsRefusedWithItsLine) {
  write("latin.py", "x = 1\nprint('caf\xe9')\n");
  expect_refused(sh("$J run latin.py"), 125, {"latin.py", "not UTF-8", "line 2"});
  expect_refused(sh("$J run -", "print('caf\xe9')\n"), 125, {"script -", "not UTF-8", "line 1"});
}

TEST_F(CliScript, ThatDeclaresItsEncodingRunsAsPythonReadsIt) {
  write("latin.py", "# -*- coding: latin-1 -*-\nprint('caf\xe9')\n");
  const Outcome outcome = sh("$J run latin.py");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "caf\xc3\xa9\n");
}

TEST_F(CliScript, InUtf16IsRefused) {
  write("wide.py", std::string("p\0r\0i\0n\0t\0", 10));
  expect_refused(sh("$J run wide.py"), 125, {"wide.py", "not UTF-8"});
}

TEST_F(CliScript, OfTwoGigabytesIsRefusedAtOnceInLittleMemory) {
  ASSERT_EQ(sh("truncate -s 2G big.py").status, 0);
  const std::int64_t begin = now_ms();
  expect_refused(sh("ulimit -v 131072; $J run big.py"), 125,
                 {"script big.py is larger than 16 MiB"});
  expect_refused(sh("ulimit -v 131072; $J run - < big.py"), 125,
                 {"script - is larger than 16 MiB"});
  EXPECT_LT(now_ms() - begin, 5000);
}

TEST_F(CliScript, BeingTypedEndsOnCtrlC) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd read_end(ends[0]), write_end(ends[1]);
  Live jailrun({jailrun_program(), "run", "-"}, [&] { ::dup2(ends[0], 0); });
  ASSERT_EQ(::write(write_end.get(), "print(1)\n", 9), 9);
  // Once the text is gone from the pipe it waits for more.
  for (int waiting = 1; waiting > 0;) ASSERT_EQ(::ioctl(read_end.get(), FIONREAD, &waiting), 0);
  const std::int64_t begin = now_ms();
  jailrun.send(SIGINT);
  EXPECT_EQ(jailrun.finish().status, 130);
  EXPECT_LT(now_ms() - begin, 1000);
}

TEST_F(CliInput, ThatIsMissingIsNamed) {
  expect_refused(sh("$J exec -f no.csv -- /bin/true"), 125, {"input no.csv", "No such file"});
  expect_refused(sh("$J exec -f no.csv:name -- /bin/true"), 125, {"input no.csv", "No such file"});
  expect_refused(sh("$J exec -f '' -- /bin/true"), 125, {"input"});
}

TEST_F(CliInput, ThatIsNoRegularFileIsNamed) {
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  expect_refused(sh("$J exec -f . -- /bin/true"), 125, {"input . is a directory"});
  expect_refused(sh("$J exec -f fifo -- /bin/true"), 125, {"input fifo is not a regular file"});
  expect_refused(sh("$J exec -f /dev/sda -f /dev/null -- /bin/true"), 125, {"/dev/"});
}

TEST_F(CliInput, NamesThatAreNoneAreRefused) {
  write("a", "1");
  for (const char* name : {"..", ".", "b/c", "/etc/passwd"}) {
    expect_refused(sh(std::string("$J exec -f a:") + name + " -- /bin/true"), 125,
                   {"no file name for /data", "--file"});
  }
  const std::string longest(256, 'n');
  expect_refused(sh("$J exec -f a:" + longest + " -- /bin/true"), 125, {"no file name for /data"});
}

TEST_F(CliInput, TwoOfOneNameAreRefused) {
  ASSERT_EQ(sh("mkdir x y; echo 1 > x/a; echo 2 > y/a").status, 0);
  expect_refused(sh("$J exec -f x/a -f y/a -- /bin/true"), 125,
                 {"two inputs are called a", "--file y/a:OTHER_NAME"});
  EXPECT_EQ(sh("$J exec -f x/a -f y/a:b -- cat /data/a /data/b").out, "1\n2\n");
}

TEST_F(CliInput, ColonsInPathsMeanWhatIsThere) {
  write("a:b.csv", "colon\n");
  EXPECT_EQ(sh("$J exec -f a:b.csv -- cat /data/a:b.csv").out, "colon\n");
  EXPECT_EQ(sh("$J exec -f a:b.csv:c -- cat /data/c").out, "colon\n");
}

TEST_F(CliInput, StrangeNamesArriveAsTheyAre) {
  const std::string name = "new\nline \\back\ttab 'q' \xff";
  write(name, "strange\n");
  const Outcome outcome = run_command(
      {.argv = {jailrun_program(), "exec", "-f", dir_ / name, "--", "cat", "/data/" + name}});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "strange\n");
}

TEST_F(CliInput, OfTwoGigabytesIsMountedNotCopied) {
  ASSERT_EQ(sh("truncate -s 2G big; chmod 644 big; truncate -s 2G private; chmod 600 private; "
               "chown 7:7 private")
                .status,
            0);
  for (const std::string name : {"big", "private"}) {
    const Outcome outcome =
        sh("$J exec --json -f " + name + " -- stat -c '%s %U %a' /data/" + name);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const auto result = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(result["warnings"].size(), 0u) << result["warnings"];
    EXPECT_THAT(result["stdout"].get<std::string>(), testing::StartsWith("2147483648 "));
    EXPECT_LT(result["usage"]["memory_peak_bytes"].get<std::uint64_t>(), 16u << 20);
    EXPECT_LT(result["timeline"].back()["at_ns"].get<std::uint64_t>(), 2'000'000'000u);
  }
}

TEST_F(CliInput, IsReadOnlyForTheGuestAndUnchangedForTheHost) {
  write("a", "1\n");
  ASSERT_EQ(sh("chmod 666 a").status, 0);
  const Outcome outcome =
      sh("$J exec -f a -- sh -c 'echo 2 > /data/a; rm -f /data/a; chmod 777 /data/a; cat /data/a'");
  EXPECT_EQ(outcome.out, "1\n");
  EXPECT_EQ(read("a"), "1\n");
}

TEST_F(CliInput, ArgumentsByTheMegabyteArriveOrAreNamed) {
  const std::string big = "head -c 120000 /dev/zero | tr '\\0' x";
  EXPECT_EQ(sh("x=$(" + big + "); $J exec -- sh -c 'echo ${#1} $#' sh $x $x $x $x $x $x $x $x").out,
            "120000 8\n");
  // More than any guest's stack limit takes, passed on by a caller whose own is larger.
  const Outcome outcome = sh("ulimit -s unlimited; x=$(" + big +
                             "); y=\"$x $x $x $x $x $x\"; $J exec -- /bin/echo $y $y $y $y");
  if (outcome.status != 0) expect_refused(outcome, 125, {"/bin/echo", "Argument list too long"});
}

}  // namespace
}  // namespace jailrun::test
