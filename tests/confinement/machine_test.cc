// What a jail learns of its host: the list in THREATS.md, and nothing beyond it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "jail/launch/jail.h"
#include "tests/confinement/jailed.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;
using Facts = std::map<std::string, std::string>;

Facts facts(const std::string& text) {
  Facts all;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    all[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
  return all;
}

// The rows of the table below that title: the first cell of each.
std::set<std::string> published() {
  std::ifstream file(JAILRUN_SOURCE_DIR "/tests/confinement/THREATS.md");
  std::set<std::string> names;
  bool there = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) there = line == "## What a jail learns of its host";
    if (!there || !line.starts_with("| ") || line.starts_with("| fact ")) continue;
    names.insert(line.substr(2, line.find(" |", 2) - 2));
  }
  return names;
}

TEST(Machine, TellsWhatIsPublishedAndNothingElse) {
  const std::string tree = fs::canonical(state_dir() + "/rootfs/python/tree").string();
  const Facts host = facts(probe_unjailed({"machine", tree + "/usr/bin/env"}).out);
  for (const char* name : {"kernel", "host name", "sysinfo", "boot id", "load", "disk"})
    EXPECT_TRUE(host.contains(name)) << "the twin: outside it is told " << name;
  const Outcome inside = probe_jailed({"machine", "/usr/bin/env"});
  ASSERT_EQ(inside.status, 0) << inside.err;
  std::set<std::string> told;
  for (const auto& [name, value] : facts(inside.out)) {
    if (const auto same = host.find(name); same != host.end() && same->second == value)
      told.insert(name);
  }
  EXPECT_EQ(told, published());
}

// The directory of the host in which an input lies is named in the guest's table of mounts (a known
// gap, DESIGN.md), and the image's. No other of its paths is, nor in the table of mappings.
TEST(Machine, TellsOfThePathsOfTheHostTheImagesAndTheInputsAlone) {
  const Scratch scratch, other;
  const std::string path = scratch.file("x.csv", "1");
  const Outcome inside =
      jailrun({"exec", "--file", path, "--", "/bin/cat", "/proc/self/mountinfo"});
  ASSERT_EQ(inside.status, 0) << inside.err;
  std::istringstream lines(inside.out);
  int seen = 0;
  for (std::string line; std::getline(lines, line); ++seen) {
    std::istringstream fields(line);
    std::string number, above, device, root, target;
    fields >> number >> above >> device >> root >> target;
    const bool of_image = (target == "/" || target.starts_with("/data")) && root.ends_with("/tree");
    const bool of_input =
        target == "/data/x.csv" && (path.ends_with(root) || root.ends_with(path.substr(4)));
    const bool of_device = target.starts_with("/dev/") && target.ends_with(root);
    EXPECT_TRUE(root == "/" || of_image || of_input || of_device) << line;
    EXPECT_THAT(line.substr(line.find(" - ")), testing::Not(testing::HasSubstr("dir="))) << line;
  }
  EXPECT_GT(seen, 8);
  const Outcome maps = jailrun({"exec", "--file", path, "--", "/bin/cat", "/proc/self/maps"});
  EXPECT_THAT(maps.out, testing::HasSubstr(" /usr/")) << maps.err;
  EXPECT_THAT(maps.out, testing::Not(testing::HasSubstr("/rootfs/")));
}

// Sockets by path: a daemon's own, a container engine's, a message bus's.
TEST(Machine, HasNoSocketThatAJailFindsOrReaches) {
  const Scratch scratch;
  const std::string path = scratch.path() + "/socket";
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  EXPECT_EQ(probe_unjailed({"sockets", scratch.path(), path}).out,
            path + "\nconnected to " + path + "\n")
      << "the twin finds it and reaches it";
  const auto somebody_came = [&] {
    return Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)).valid();
  };
  EXPECT_TRUE(somebody_came());

  std::vector<std::string> words = {"sockets", "/", path};
  std::istringstream table(proc_file(::getpid(), "net/unix"));
  for (std::string line; std::getline(table, line) && words.size() < 200;) {
    const std::size_t at = line.find(" /");
    if (at != std::string::npos) words.push_back(line.substr(at + 1));
  }
  const Outcome inside = probe_jailed(words);
  EXPECT_EQ(inside.status, 0) << inside.err;
  EXPECT_EQ(inside.out, "");
  EXPECT_FALSE(somebody_came());
}

}  // namespace
}  // namespace jailrun::test
