// --out: where files go, and what may lie there already.
#include <sys/stat.h>

#include "tests/integration/cli/cli.h"

namespace jailrun::test {
namespace {

class CliOut : public Cli {};

TEST_F(CliOut, IsMadeAndFilled) {
  const Outcome outcome = sh("$J exec --out out -- sh -c 'mkdir a; echo 1 > a/b; echo 2 > c'");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(read("out/a/b") + read("out/c"), "1\n2\n");
}

TEST_F(CliOut, OnAFullDiskIsNamedAndNoHalfFileHasItsName) {
  const Outcome outcome =
      sh("mkdir out; unshare -m sh -c 'mount -t tmpfs -o size=64k none out && "
         "$J exec --out out -- sh -c \"echo small > a; head -c 200000 /dev/zero > big\"; "
         "status=$?; ls -A out; exit $status'");
  EXPECT_EQ(outcome.status, 125);
  EXPECT_THAT(outcome.err, testing::MatchesRegex(
                               "jailrun: cannot write out/big: No space left on device; [^\n]+\n"));
  EXPECT_THAT(outcome.out, testing::AnyOf("a\n", ""));
}

TEST_F(CliOut, ThatIsAFileOrHasNoParentIsNamedBeforeAnythingRuns) {
  write("file", "mine");
  expect_refused(sh("$J exec --out file -- /bin/true"), 125,
                 {"output directory file", "Not a directory"});
  expect_refused(sh("$J exec --out no/such -- /bin/true"), 125,
                 {"output directory no/such", "parent"});
}

TEST_F(CliOut, OnAReadOnlyDiskIsNamedBeforeAnythingRuns) {
  expect_refused(sh("mkdir out; unshare -m sh -c 'mount -t tmpfs -o ro none out && $J exec --out "
                    "out -- /bin/echo ran'"),
                 125, {"output directory out", "Read-only file system"});
}

TEST_F(CliOut, ReplacesAnOldFileWhole) {
  ASSERT_EQ(sh("mkdir out; echo a long old text > out/a; ln out/a linked").status, 0);
  EXPECT_EQ(sh("$J exec --out out -- sh -c 'echo new > a'").status, 0);
  EXPECT_EQ(read("out/a"), "new\n");
  EXPECT_EQ(read("linked"), "a long old text\n");
}

TEST_F(CliOut, FollowsNoLinkThatLiesThere) {
  ASSERT_EQ(sh("mkdir out elsewhere; echo keep > target; ln -s ../target out/a; ln -s ../elsewhere "
               "out/dir; "
               "ln -s ../target out/.jailrun-partial")
                .status,
            0);
  EXPECT_EQ(sh("$J exec --out out -- sh -c 'echo new > a'").status, 0);
  EXPECT_EQ(read("target"), "keep\n");
  EXPECT_EQ(read("out/a"), "new\n");
  const Outcome outcome = sh("$J exec --out out -- sh -c 'mkdir dir; echo new > dir/a'");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.err,
              testing::HasSubstr("not taken out: dir/a: in out something else has that name"));
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "elsewhere"));
}

TEST_F(CliOut, DoesNotReplaceADirectoryByAFile) {
  ASSERT_EQ(sh("mkdir -p out/a; echo keep > out/a/b").status, 0);
  // One file's fate, not the run's: a guest must not be able to lose its Result by a name.
  const Outcome outcome = sh("$J exec --out out -- sh -c 'echo new > a; exit 3'");
  EXPECT_EQ(outcome.status, 3);
  EXPECT_THAT(outcome.err,
              testing::HasSubstr("not taken out: a: in out something else has that name"));
  EXPECT_EQ(read("out/a/b"), "keep\n");
  EXPECT_EQ(sh("ls -A out").out, "a\n");
}

TEST_F(CliOut, TakesFilesOfARunThatFailedOrWasKilled) {
  EXPECT_EQ(sh("$J exec --out out -- sh -c 'echo 1 > a; exit 3'").status, 3);
  EXPECT_EQ(sh("$J exec --out out --timeout 100ms -- sh -c 'echo 2 > b; sleep 9'").status, 124);
  EXPECT_EQ(read("out/a") + read("out/b"), "1\n2\n");
}

TEST_F(CliOut, OverTheLimitsIsSaidFileByFile) {
  const Outcome outcome =
      sh("$J exec --set limits.collect_files=2 --out out -- sh -c 'echo 1 > a; echo 2 > b; echo 3 "
         "> c'");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.err, testing::HasSubstr("limits.collect_files"));
  EXPECT_EQ(sh("ls out | wc -l").out, "2\n");
}

TEST_F(CliOut, FilesAreTheCallersAndNotExecutableOrSetuid) {
  EXPECT_EQ(sh("$J exec --out out -- sh -c 'echo 1 > a; chmod 6777 a'").status, 0);
  EXPECT_EQ(sh("umask 022; stat -c '%u %a' out/a").out, "0 644\n");
}

}  // namespace
}  // namespace jailrun::test
