// Ways into the kernel, and to the image's pages, that no compiler takes: each works outside of a
// jail, where it is seen to write into this test's own pipe, and in none of them inside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "jail/launch/jail.h"
#include "tests/confinement/jailed.h"
#include "tests/support/start.h"

namespace jailrun::test {
namespace {

std::string content_of(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// 32-bit code by a far return and by a forged signal frame, and a refused call by such a frame.
TEST(Entries, ByFarReturnsAndForgedFramesAreFilteredLikeAnyOther) {
  using testing::HasSubstr, testing::Not;
  const Outcome outside = probe_unjailed({"entries"});
  for (const char* way : {"int80", "far-int80", "frame-int80", "frame-vmsplice"})
    EXPECT_THAT(outside.out, HasSubstr(std::string("wrote by ") + way + "\n")) << "the twin";
  // Of the two others a processor has one or none.
  const Outcome inside = probe_jailed({"entries"});
  ASSERT_EQ(inside.status, 0) << inside.err;
  EXPECT_THAT(inside.out, Not(HasSubstr("wrote by")));
  for (const char* way : {"int80", "far-int80", "frame-int80"})
    EXPECT_THAT(inside.out, HasSubstr(std::string(way) + ": ended by signal 31\n"));
  for (const char* way : {"far-sysenter", "far-syscall"}) {
    EXPECT_THAT(inside.out,
                testing::ContainsRegex(std::string(way) + ": ended by signal (31|4)\n"));
  }
  EXPECT_THAT(inside.out, HasSubstr("frame-vmsplice: ended")) << "refused by an errno";
}

// The page that old programs call is emulated by the kernel, or not there.
TEST(Entries, ByTheVsyscallPageAreFilteredToo) {
  const int outside = probe_unjailed({"vsyscall-time"}).status;
  ASSERT_THAT(outside, testing::AnyOf(0, 128 + SIGSEGV));
  EXPECT_EQ(probe_jailed({"vsyscall-time"}).status, outside) << "a call that the policy allows";
  if (is_warm_start() || is_plain_start()) return;  // a policy of its own is a cold jail's
  const Scratch scratch;
  const std::string policy = scratch.file(
      "timeless.textproto",
      "name: \"timeless\"\nbase: \"python\"\ndescription: \"Without time(2).\"\n"
      "files { exec: true }\n"
      "syscalls {\n  groups: [\"red-list\", \"base\", \"files\", \"processes\", \"events\", "
      "\"refused\"]\n"
      "  rules { calls: [\"time\"] action: ERRNO error: \"EXFULL\" why: \"a test\" }\n}\n");
  const Outcome refused = probe_jailed({"vsyscall-time"}, {"--policy", policy});
  EXPECT_THAT(refused.status, testing::AnyOf(EXFULL, 128 + SIGSEGV)) << refused.err;
}

// A page of the image's program, which all jails share, written as a debugger would.
TEST(Entries, ToAPageOfTheImageAreClosed) {
  const Scratch scratch;
  const std::string own = scratch.file("page", std::string(4096, 'x'));
  EXPECT_EQ(probe_unjailed({"write-through-memory", own, "private"}).status, 0) << "a copy";
  EXPECT_EQ(content_of(own)[0], 'x');
  EXPECT_EQ(probe_unjailed({"write-through-memory", own, "shared"}).status, 0);
  EXPECT_THAT(content_of(own), testing::StartsWith("changed!")) << "the twin: the file is written";

  const std::string program = state_dir() + "/rootfs/python/tree/usr/bin/env";
  const std::string before = content_of(program);
  ASSERT_FALSE(before.empty());
  for (const char* how : {"shared", "private"}) {
    EXPECT_THAT(probe_jailed({"write-through-memory", "/usr/bin/env", how}).status,
                testing::AnyOf(EROFS, EACCES, EIO));
  }
  EXPECT_EQ(content_of(program), before);
}

}  // namespace
}  // namespace jailrun::test
