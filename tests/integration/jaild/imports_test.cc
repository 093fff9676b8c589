// Interpreters that do not get ready: who waits is told, nobody waits for ever, and once the image
// or the list of imports is mended the next request is served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/integration/jaild/daemon.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPatienceNs = 60'000'000'000;

// An installation whose interpreters import one module more.
class Installation {
 public:
  explicit Installation(const std::string& module) {
    char name[] = "/tmp/jaild-installed-XXXXXX";
    dir_ = ::mkdtemp(name);
    fs::permissions(dir_, fs::perms(0755));
    fs::create_directories(dir_ + "/bin");
    fs::create_directories(dir_ + "/lib");
    const std::string built = JAILRUN_BIN_DIR;
    for (const char* program : {"jaild", "jailrun-spawner"})
      fs::copy(built + "/" + program, programs() + "/" + program);
    fs::copy(built + "/../lib/jailrun", lib());
    std::ofstream(lib() + "/bad.py") << module;
    std::ifstream list(lib() + "/preload.txt");
    good_.assign(std::istreambuf_iterator<char>(list), {});
    std::ofstream(lib() + "/preload.txt") << "bad\n" << good_;
  }
  Installation(const Installation&) = delete;
  Installation& operator=(const Installation&) = delete;
  ~Installation() { fs::remove_all(dir_); }

  std::string programs() const { return dir_ + "/bin"; }
  void mend() const { std::ofstream(lib() + "/preload.txt") << good_; }

 private:
  std::string lib() const { return dir_ + "/lib/jailrun"; }
  std::string dir_, good_;
};

// `said`: what the log says of it.
void refuse_and_mend(const std::string& module, const std::string& said,
                     const std::string& deadline = "120") {
  const Installation installed(module);
  Daemon daemon({"--warm", "python", "--import-deadline", deadline}, {}, installed.programs());
  Client client = daemon.connect();
  EXPECT_EQ(refusal(client, {.queue_ns = kPatienceNs}), "WarmupFailed");
  EXPECT_THAT(daemon.log(), testing::HasSubstr(said));
  EXPECT_LE(children(daemon.pid()).size(), 1u);  // what failed is gone; the next one may be tried
  installed.mend();
  EXPECT_TRUE(soon([&] { return refusal(client, {.queue_ns = kPatienceNs}).empty(); }));
  EXPECT_EQ(run(client, "print(1)").out, "1\n");
}

void hang_and_mend() {
  // As long as imports may take here and now, and not much longer.
  int seconds = 0;
  {
    Daemon daemon({"--warm", "python"});
    Client client = daemon.connect();
    EXPECT_EQ(run(client, "print(1)").out, "1\n");
    seconds = static_cast<int>(3 * metric(client, "jaild_import_seconds")) + 1;
  }
  // With the interpreter's lock, so that nothing in it could help.
  refuse_and_mend("import ctypes; ctypes.PyDLL(None).sleep(3600)",
                  "the zygote was not ready after " + std::to_string(seconds) + " s",
                  std::to_string(seconds));
}

TEST(Imports, ThatRaiseAreRefusedByNameUntilTheyAreMended) {
  EXPECT_NOTHING_LEFT_BY(refuse_and_mend("raise RuntimeError('no such luck')", "no such luck"));
}

TEST(Imports, ThatCrashAreRefusedByNameUntilTheyAreMended) {
  EXPECT_NOTHING_LEFT_BY(refuse_and_mend("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
                                         "ended before it was ready"));
}

TEST(Imports, ThatHangAreRefusedByNameUntilTheyAreMended) {
  EXPECT_NOTHING_LEFT_BY(hang_and_mend());
}

}  // namespace
}  // namespace jailrun::test
