// Secrets that lie beside a jail, and a search for them in all that the jail is: its files by a
// guest that opens whatever it can, the memory of every process of every jail and world from
// outside. Each search is first seen to find what was put there.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "tests/confinement/jailed.h"
#include "tests/confinement/session.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;

std::size_t levels_of(pid_t pid) {
  std::istringstream numbers(status_field(pid, "NSpid"));
  std::size_t levels = 0;
  for (pid_t number; numbers >> number;) ++levels;
  return levels;
}

// Every process that is in a jail or keeps one: root's own pid namespace has none of them.
std::vector<pid_t> processes_of_jails() {
  std::vector<pid_t> found;
  std::error_code error;
  const std::size_t here = levels_of(::getpid());
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid > 0 && levels_of(pid) > here) found.push_back(pid);
  }
  return found;
}

// Which of the texts its memory has: all of it but what is mapped from the image, which nobody
// writes.
std::vector<bool> memory_has(pid_t pid, const std::vector<std::string>& texts) {
  std::vector<bool> has(texts.size(), false);
  std::istringstream maps(proc_file(pid, "maps"));
  const Fd memory(::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    char rights[8] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %7s", &begin, &end, rights) != 3) continue;
    if (rights[0] != 'r' || (rights[1] != 'w' && line.find(" /usr/") != std::string::npos))
      continue;
    std::string bytes(end - begin, '\0');
    const ssize_t n = ::pread(memory.get(), bytes.data(), bytes.size(), static_cast<off_t>(begin));
    if (n <= 0) continue;
    bytes.resize(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < texts.size(); ++i)
      has[i] = has[i] || bytes.find(texts[i]) != std::string::npos;
  }
  return has;
}

// In the jail: opens every file that is not the image's and everything of /proc but memory, prints
// the index of each text that it sees and how many files it read. The texts come one letter up,
// and stay so: this memory is searched as well.
constexpr const char* kSearch = R"(
import os, sys
wanted, up = [word.encode() for word in "WORDS".split()], bytes((b + 1) % 256 for b in range(256))
image, read, seen = os.stat("/usr").st_dev, 0, set()
def look(path):
    global read
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try: data = os.read(fd, 1 << 20)
        finally: os.close(fd)
    except OSError: return
    read += 1
    for index, word in enumerate(wanted):
        if word in data.translate(up): seen.add((index, path))
for directory, names, files in os.walk("/", followlinks=False):
    if directory.startswith(("/usr", "/lib", "/dev/fd")): names[:] = []; continue
    for name in files:
        path = directory + "/" + name
        if name in ("mem", "clear_refs", "pagemap", "kmsg"): continue
        if directory == "/dev": continue
        look(path)
for fd in range(64):
    try: os.lseek(fd, 0, 0); look(f"/proc/self/fd/{fd}")
    except OSError: pass
print("read", read)
for index, path in sorted(seen): print("found", index, path)
)";

std::string search_for(const std::vector<std::string>& texts) {
  std::string words;
  for (const std::string& text : texts) {
    for (const char c : text) words += static_cast<char>(c + 1);
    words += " ";
  }
  std::string script = kSearch;
  script.replace(script.find("WORDS"), 5, words);
  return script;
}

TEST(Canaries, OfHostAndCallerAndOtherOwnersAreInNoJailAndNoWorld) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string host = canary(), caller = canary(), other = canary(), own = canary();
  const std::vector<std::string> foreign = {host, caller, other};
  const Scratch scratch;
  scratch.file("secret", host);
  ::setenv("JAILRUN_TEST_SECRET", caller.c_str(), 1);
  ::setenv("OPENAI_API_KEY", caller.c_str(), 1);
  if (!is_session_start()) {
    const std::string wait = "print('ready', flush=True)\nsys.stdin.readline()\n";
    const std::string script =
        scratch.file("search.py", "open('/work/mine', 'w').write(\"" + own + "\")\n" +
                                      search_for({host, caller, other, own}) + wait);
    Live jail({jailrun_program(), "run", "--cold", script});
    std::string said;
    for (std::string line; (line = jail.read_line()) != "ready" && !line.empty();)
      said += line + "\n";
    EXPECT_THAT(said, testing::HasSubstr("found 3 /work/mine")) << "the twin: what is there";
    for (const char* index : {"found 0", "found 1", "found 2"})
      EXPECT_THAT(said, testing::Not(testing::HasSubstr(index)));
    for (const pid_t pid : {jail.init(), jail.guest()})
      EXPECT_THAT(memory_has(pid, foreign), testing::Each(false));
    EXPECT_TRUE(memory_has(jail.guest(), {own})[0]) << "the twin";
    EXPECT_TRUE(memory_has(jail.pid(), {caller})[0]) << "the twin: its owner has it";
    jail.write("\n");
    EXPECT_EQ(jail.finish().status, 0);
    return;
  }
  const LiveSession others({}, "python"), session({}, "python");
  ASSERT_EQ(others.exec("secret = '" + other + "'\nopen('/work/data', 'w').write(secret)").status,
            0);
  ASSERT_EQ(session.exec("mine = '" + own + "'\nopen('/work/mine', 'w').write(mine)").status, 0);

  const Outcome search = session.exec(search_for({host, caller, other, own}));
  ASSERT_EQ(search.status, 0) << search.err;
  EXPECT_THAT(search.out, testing::HasSubstr("found 3 /work/mine")) << "the twin: what is there";
  for (const char* index : {"found 0", "found 1", "found 2"})
    EXPECT_THAT(search.out, testing::Not(testing::HasSubstr(index)));

  // Session A's token is in session A alone; nobody else's memory has any of them.
  int with_others = 0, with_own = 0, looked_at = 0;
  for (const pid_t pid : processes_of_jails()) {
    const std::vector<bool> has = memory_has(pid, {host, caller, other, own});
    ++looked_at;
    EXPECT_FALSE(has[0]) << "the host's file in " << proc_file(pid, "cmdline");
    EXPECT_FALSE(has[1]) << "the caller's variable in " << proc_file(pid, "cmdline");
    EXPECT_FALSE(has[2] && has[3]) << "two owners' data in one process";
    with_others += has[2] ? 1 : 0;
    with_own += has[3] ? 1 : 0;
  }
  EXPECT_EQ(with_others, 1) << "the twin: the session that has it, and no other process";
  EXPECT_EQ(with_own, 1);
  EXPECT_GT(looked_at, 6) << "keepers, zygotes, inits and guests";
  EXPECT_TRUE(memory_has(::getpid(), {caller})[0]) << "the twin: this process has it";
}

}  // namespace
}  // namespace jailrun::test
