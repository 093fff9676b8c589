// Where things lie in memory: what a guest learns of its own addresses says nothing of those who
// built it or hold more rights than it has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>

#include "tests/confinement/jailed.h"
#include "tests/support/start.h"

namespace jailrun::test {
namespace {

// Where a process's private mappings, its stack and its vDSO begin. The page of old system calls
// lies at one place everywhere, and a program that is not position-independent does as well.
std::set<std::string> places(pid_t pid) {
  std::set<std::string> all;
  std::istringstream maps(proc_file(pid, "maps"));
  for (std::string line; std::getline(maps, line);) {
    const std::string begin = line.substr(0, line.find('-'));
    const bool fixed = begin.size() < 9 || line.find("[vsyscall]") != std::string::npos;
    if (!fixed) all.insert(begin);
  }
  return all;
}

std::vector<std::string> common(pid_t one, pid_t other) {
  const std::set<std::string> a = places(one), b = places(other);
  std::vector<std::string> both;
  std::ranges::set_intersection(a, b, std::back_inserter(both));
  return both;
}

std::unique_ptr<Live> waiting_python() {
  const Scratch scratch;
  std::vector<std::string> words = {jailrun_program(), "run"};
  words.emplace_back(is_warm_start() ? "--warm" : "--cold");
  if (is_warm_start()) {
    const std::string start = std::getenv("JAILRUN_TEST_START");
    ::setenv("JAILRUN_SOCKET", ("/run/jailrun-test/" + start).c_str(), 1);
  }
  words.push_back(scratch.file("wait.py", "print('ready', flush=True)\ninput()\n"));
  auto live = std::make_unique<Live>(words);
  return live->read_line() == "ready" ? std::move(live) : nullptr;
}

pid_t parent_of(pid_t pid) { return std::atoi(status_field(pid, "PPid").c_str()); }

TEST(Layout, OfAJailIsNotItsBuilders) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto first = waiting_python(), second = waiting_python();
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  const pid_t guest = first->guest(), other = second->guest();
  ASSERT_GT(places(guest).size(), 20u) << "the twin: it has places";
  // Owner and init of a cold jail; its keeper and the daemon of a warm one.
  std::vector<pid_t> builders = {first->pid(), first->init()};
  if (is_warm_start()) builders = {parent_of(guest), parent_of(parent_of(guest)), first->pid()};
  for (const pid_t builder : builders) {
    ASSERT_GT(places(builder).size(), 3u) << proc_link(builder, "exe");
    EXPECT_THAT(common(guest, builder), testing::IsEmpty()) << proc_link(builder, "exe");
  }
  if (is_warm_start()) {
    EXPECT_GT(common(guest, other).size(), 20u) << "forks of one zygote share it (SECURITY.md)";
  } else {
    EXPECT_THAT(common(guest, other), testing::IsEmpty()) << "executed anew, each has its own";
  }
  for (const auto* jail : {&first, &second}) {
    (*jail)->write("\n");
    EXPECT_EQ((*jail)->finish().status, 0);
  }
}

// What a guest made (tables, images, archives, HTML) is data to all that runs outside of a jail:
// none of our programs can decode it, for none is linked with what does.
TEST(Outside, NoProgramHasADecoderOfWhatGuestsMake) {
  if (is_warm_start()) return;  // the programs are the same
  const auto libraries = [](const std::string& program) {
    return run_command({.argv = {"/usr/bin/ldd", program}}).out;
  };
  for (const char* program :
       {"jailrun", "jailrun-net", "jailrun-full", "jaild", "jailagent", "jailrun-spawner"}) {
    const std::string path = std::string(JAILRUN_BIN_DIR) + "/" + program;
    ASSERT_EQ(::access(path.c_str(), X_OK), 0) << path;
    const std::string linked = libraries(path);
    for (const char* decoder :
         {"libpng", "libjpeg", "libtiff", "libwebp", "libgif", "libarrow", "libparquet", "libxml2",
          "libarchive", "libpython", "libduckdb", "libMagick", "libpoppler"}) {
      EXPECT_THAT(linked, testing::Not(testing::HasSubstr(decoder))) << program;
    }
    // Nor is one within it: each has messages or symbols of its own.
    const Outcome said = run_command(
        {.argv = {"/bin/grep", "-a", "-c", "-E",
                  "Incompatible libpng|Not a JPEG file|parquet::|arrow::ipc|PyMarshal_", path}});
    EXPECT_EQ(said.out, "0\n") << program;
  }
  EXPECT_THAT(libraries("/bin/sh"), testing::HasSubstr("libc.so")) << "the twin: ldd tells";
}

}  // namespace
}  // namespace jailrun::test
