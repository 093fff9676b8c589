// What a guest finds in its file system and what it can change there, checked against the host's
// own copy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "jail/launch/jail.h"
#include "tests/confinement/jailed.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;

// Every entry of the image with its size and change time: the kernel moves the latter at any
// change.
std::map<std::string, std::string> fingerprint(const fs::path& tree) {
  std::map<std::string, std::string> entries;
  for (const auto& entry : fs::recursive_directory_iterator(tree)) {
    struct stat st{};
    if (::lstat(entry.path().c_str(), &st) != 0) continue;
    entries[entry.path().string()] =
        std::to_string(st.st_size) + " " + std::to_string(st.st_ctim.tv_sec) + "." +
        std::to_string(st.st_ctim.tv_nsec) + " " + std::to_string(st.st_mode);
  }
  return entries;
}

// Tries every change on every entry of the image, as far as a guest sees it.
constexpr const char* kChangeEverything = R"(
import os
changed = 0
for directory, names, files in os.walk("/"):
    if directory.startswith(("/proc", "/work", "/tmp", "/dev/shm")):
        continue
    for attempt in (
        lambda: open(directory + "/.new", "w"),
        lambda: os.mkdir(directory + "/.newdir"),
        lambda: os.chmod(directory, 0o777),
        lambda: os.utime(directory),
        lambda: os.rename(directory, directory + ".old"),
        lambda: os.rmdir(directory),
    ):
        try:
            attempt()
            changed += 1
        except OSError:
            pass
    for name in files[:3]:
        path = directory + "/" + name
        if directory == "/dev":
            continue
        for attempt in (
            lambda: open(path, "r+b"),
            lambda: os.truncate(path, 0),
            lambda: os.chmod(path, 0o4777),
            lambda: os.unlink(path),
            lambda: os.link(path, "/work/link"),
        ):
            try:
                attempt()
                changed += 1
            except OSError:
                pass
raise SystemExit(min(changed, 100))
)";

TEST(Files, NothingOfTheImageCanBeChanged) {
  const fs::path tree = fs::canonical(state_dir() + "/rootfs/python/tree");
  const auto before = fingerprint(tree);
  ASSERT_GT(before.size(), 1000u);
  const Outcome outcome = jailrun({"run", "--timeout", "60s", "-"}, kChangeEverything);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(fingerprint(tree), before);
}

TEST(Files, WritableAreWorkTmpAndShmAndNothingElse) {
  std::istringstream found(probe_jailed({"writable", "/"}).out);
  std::set<std::string> directories;
  for (std::string line; std::getline(found, line);) directories.insert(line);
  EXPECT_THAT(directories, testing::ElementsAre("/dev/shm", "/tmp", "/work"));

  const Scratch scratch;
  EXPECT_EQ(probe_unjailed({"writable", scratch.path()}).out, scratch.path() + "\n")
      << "the twin finds one";
}

TEST(Files, NoFileOfTheHostIsThere) {
  const Scratch scratch;
  const std::string secret = scratch.file("canary", canary());
  EXPECT_EQ(probe_unjailed({"read", secret}).status, 0);
  EXPECT_EQ(probe_jailed({"read", secret}).status, ENOENT);
  // By any detour that keeps the path.
  for (const char* root :
       {"/proc/self/root", "/proc/self/cwd/../../..", "/proc/thread-self/root/..", "/work/../.."}) {
    EXPECT_THAT(probe_jailed({"read", root + secret}).status, testing::AnyOf(ENOENT, EACCES))
        << root;
  }
}

TEST(Files, TheHostsNameIsNotTold) {
  char name[256] = {};
  ASSERT_EQ(::gethostname(name, sizeof name - 1), 0);
  const Outcome outcome = jailrun(
      {"exec", "--", "/bin/sh", "-c", "uname -n; cat /etc/hostname /etc/hosts 2>/dev/null"});
  EXPECT_THAT(outcome.out, testing::StartsWith("jail\n"));
  EXPECT_THAT(outcome.out, testing::Not(testing::HasSubstr(name)));
}

TEST(Files, NoProgramOfTheImageGivesRights) {
  const fs::path tree = fs::canonical(state_dir() + "/rootfs/python/tree");
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(tree)) {
    struct stat st{};
    if (::lstat(entry.path().c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
        (st.st_mode & 06000) != 0) {
      found.push_back(entry.path().string());
    }
  }
  EXPECT_THAT(found, testing::IsEmpty());
}

// A program of one's own has every call of the kernel to try; the interpreters of the image have
// fewer habits.
TEST(Files, AProgramBroughtAlongRunsOnlyWhereThePolicySaysSo) {
  for (const char* place : {"/work", "/tmp", "/dev/shm"}) {
    const std::string copy =
        std::string("cp /data/probe ") + place + "/probe && exec " + place + "/probe sees-others";
    const auto try_it = [&](const char* exec) {
      return jailrun({"exec", "--policy", "python", "--set", std::string("files.exec=") + exec,
                      "--file", std::string(JAILRUN_PROBE) + ":probe", "--", "/bin/sh", "-c", copy})
          .status;
    };
    EXPECT_EQ(try_it("true"), ENOENT) << "the probe's own answer, so it ran in " << place;
    EXPECT_EQ(try_it("false"), 126)
        << "the shell's word for what may not be executed, in " << place;
  }
  EXPECT_EQ(jailrun({"exec", "--set", "files.exec=true", "--file",
                     std::string(JAILRUN_PROBE) + ":probe", "--", "/data/probe", "sees-others"})
                .status,
            126)
      << "/data is for data";
}

class Input : public testing::Test {
 protected:
  std::string content_of(const std::string& path) const {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  Scratch scratch_;
};

TEST_F(Input, OfTheCallersOwnIsReadableAndNothingMore) {
  const std::string token = canary(), path = scratch_.file("private.csv", token, 0600);
  EXPECT_EQ(jailrun({"exec", "--file", path, "--", "/bin/cat", "/data/private.csv"}).out, token);
  const Outcome change = jailrun(
      {"exec", "--file", path, "--", "/bin/sh", "-c",
       "echo x >> /data/private.csv || chmod 777 /data/private.csv || rm -f /data/private.csv || "
       "mv /data/private.csv /data/other || touch /data/private.csv || echo x > /data/new"});
  EXPECT_NE(change.status, 0);
  EXPECT_EQ(content_of(path), token);
  struct stat st{};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
}

TEST_F(Input, OfAllIsReadableAndNotWritable) {
  const std::string token = canary(), path = scratch_.file("public.csv", token, 0666);
  EXPECT_EQ(
      jailrun({"exec", "--file", path + ":renamed.csv", "--", "/bin/cat", "/data/renamed.csv"}).out,
      token);
  EXPECT_NE(
      jailrun({"exec", "--file", path, "--", "/bin/sh", "-c", "echo x > /data/public.csv"}).status,
      0);
  EXPECT_EQ(content_of(path), token);
}

TEST_F(Input, ShowsNoNeighbourOfItsDirectory) {
  scratch_.file("secret", canary());
  const std::string path = scratch_.file("input.csv", "1");
  EXPECT_EQ(jailrun({"exec", "--file", path, "--", "/bin/ls", "-A", "/data"}).out, "input.csv\n");
}

}  // namespace
}  // namespace jailrun::test
