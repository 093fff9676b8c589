// /work as a hostile guest leaves it: only regular files come out, all else is named, and in
// bounded time.
#include "tests/integration/cli/cli.h"

namespace jailrun::test {
namespace {

class HostileWork : public Cli {
 protected:
  // Runs Python in the image, so that names can be any bytes.
  Outcome leave(const std::string& script, const std::string& options = "") {
    write("guest.py", "import os\n" + script);
    const std::int64_t begin = now_ms();
    const Outcome outcome = sh("$J run " + options + " --out out guest.py");
    EXPECT_LT(now_ms() - begin, 20'000);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome;
  }
  std::string taken() const { return sh("cd out && find . -mindepth 1 | sort").out; }
};

TEST_F(HostileWork, LinksFifosAndSocketsStayInside) {
  const Outcome outcome = leave(
      "import socket\n"
      "os.symlink('/etc/passwd', 'passwd'); os.symlink('/proc/self/environ', 'environ')\n"
      "os.symlink('/proc', 'proc'); os.symlink('..', 'up'); os.symlink('good', 'alias'); "
      "os.symlink('loop', 'loop')\n"
      "os.mkfifo('fifo')\n"
      "socket.socket(socket.AF_UNIX).bind('socket')\n"
      "open('good', 'w').write('good')\n");
  EXPECT_EQ(taken(), "./good\n");
  for (const char* name : {"passwd", "environ", "proc", "up", "alias", "loop", "fifo", "socket"}) {
    EXPECT_THAT(outcome.err,
                testing::HasSubstr(std::string("not taken out: ") + name + ": not a regular file"));
  }
}

TEST_F(HostileWork, DevicesCannotBeMade) {
  leave(
      "for kind in (0o020666, 0o060666):\n"
      "  try: os.mknod('device', kind, os.makedev(1, 3)); print('made')\n"
      "  except OSError: open('refused', 'w').close()\n");
  EXPECT_EQ(taken(), "./refused\n");
}

TEST_F(HostileWork, SparseGiantsAreSkippedOrRefused) {
  const Outcome outcome = leave(
      "try: open('huge', 'w').truncate(1 << 40)\nexcept OSError: os.remove('huge')\n"
      "open('giant', 'w').truncate(64 << 30)\nopen('good', 'w').close()\n",
      "--set limits.file_size=64GiB");
  EXPECT_EQ(taken(), "./good\n");
  EXPECT_THAT(outcome.err, testing::HasSubstr("limits.collect_bytes"));
}

TEST_F(HostileWork, ManyLargeSparseFilesAreCappedTogether) {
  leave("for i in range(1000):\n  f = open(f'f{i}', 'w'); f.truncate(200 << 20); f.close()\n");
  EXPECT_EQ(sh("ls out | wc -l").out, "1\n");
}

TEST_F(HostileWork, ATreeTwentyThousandDeepEndsTheWalkThere) {
  // Each step costs the guest more than the one before: the kernel looks Landlock rules up along
  // the path.
  write("guest.py", "import os\nfor i in range(20000):\n  os.mkdir('d'); os.chdir('d')\n");
  const std::int64_t begin = now_ms();
  const Outcome outcome = sh("$J run --timeout 5s --set files.inodes=50000 --out out guest.py");
  EXPECT_LT(now_ms() - begin, 15'000);
  EXPECT_THAT(outcome.err, testing::HasSubstr("too many directories deep"));
  EXPECT_EQ(taken(), "");
}

TEST_F(HostileWork, AHundredThousandFilesAreCountedNotTaken) {
  const Outcome outcome =
      leave("for i in range(100000): os.close(os.open(str(i), os.O_CREAT | os.O_WRONLY))\n",
            "--set files.inodes=200000 --set limits.collect_files=10");
  EXPECT_EQ(sh("ls out | wc -l").out, "10\n");
  EXPECT_THAT(outcome.err, testing::HasSubstr("more entries"));
  EXPECT_LT(outcome.err.size(), 20'000u);
}

TEST_F(HostileWork, NamesThatForgeLinesAreEscapedAndSkipped) {
  const Outcome outcome = leave(
      "for n in [b'new\\nline', b'esc\\x1b[31m', b'bad\\xff', b'rtl\\xe2\\x80\\xaeexe', b'tab\\t', "
      "b'c1\\xc2\\x9b']:\n"
      "  open(b'/work/' + n, 'w').close()\n"
      "open('caf\\u00e9 \\u6570', 'w').close(); open('...', 'w').close(); open('.. ', "
      "'w').close(); open('-rf', 'w').close()\n");
  EXPECT_EQ(sh("ls -A out | wc -l").out, "4\n");
  EXPECT_THAT(outcome.err, testing::HasSubstr("new\\x0aline"));
  EXPECT_THAT(outcome.err, testing::HasSubstr("esc\\x1b[31m"));
  EXPECT_THAT(outcome.err, testing::HasSubstr("bad\\xff"));
  EXPECT_EQ(outcome.err.find('\x1b'), std::string::npos);
  for (std::size_t at = 0, end; (end = outcome.err.find('\n', at)) != std::string::npos;
       at = end + 1) {
    EXPECT_TRUE(outcome.err.substr(at).starts_with("jailrun: not taken out: "));
  }
}

TEST_F(HostileWork, WhatTheGuestMadeUnreadableIsNamed) {
  const Outcome outcome = leave(
      "open('file', 'w').close(); os.chmod('file', 0)\n"
      "os.mkdir('shut'); open('shut/a', 'w').close(); os.chmod('shut', 0)\n"
      "os.mkdir('list'); open('list/a', 'w').close(); os.chmod('list', 0o400)\n");
  EXPECT_EQ(taken(), "");
  for (const char* name : {"file", "shut", "list/a"}) {
    EXPECT_THAT(outcome.err, testing::HasSubstr(std::string("not taken out: ") + name +
                                                ": the guest took away"));
  }
}

TEST_F(HostileWork, HardLinksComeOutAsFilesOfTheirOwn) {
  leave("open('a', 'w').write('x'); os.link('a', 'b')\n");
  EXPECT_EQ(sh("stat -c %h out/a out/b").out, "1\n1\n");
}

TEST_F(HostileWork, ADirectoryReplacedByALinkIsNotWalked) {
  const Outcome outcome =
      leave("os.mkdir('d'); open('d/a', 'w').close(); os.rename('d', 'e'); os.symlink('e', 'd')\n");
  EXPECT_EQ(taken(), "./e\n./e/a\n");
  EXPECT_THAT(outcome.err, testing::HasSubstr("not taken out: d: not a regular file"));
}

TEST_F(HostileWork, WorkItselfMadeUnreadableIsNamed) {
  const Outcome outcome = leave("open('a', 'w').close(); os.chmod('/work', 0)\n");
  EXPECT_EQ(taken(), "");
  EXPECT_NE(outcome.err, "");
}

TEST_F(HostileWork, LongPathsAreNamedNotCut) {
  const Outcome outcome = leave(
      "n = 'n' * 255\nfor i in range(20):\n  os.mkdir(n); os.chdir(n)\nopen('a', 'w').close()\n");
  EXPECT_THAT(outcome.err, testing::HasSubstr("too long a path"));
}

}  // namespace
}  // namespace jailrun::test
