// Approved packages as layers: prepared once, the same ever after, seen only by who asks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "jail/session/session.h"
#include "tests/integration/jaild/daemon.h"
#include "tests/support/command.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kCode =
    "import humanize, os\nprint(humanize.intcomma(12345), os.listdir('/packages'))\n"
    "try: open('/packages/humanize/x', 'w')\nexcept OSError as error: print(error.strerror)";
const std::string kSeen = "12,345 ['humanize']\nRead-only file system\n";

// A store of its own, with the image and the cache of the user's.
class Packages : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    char name[] = "/tmp/jailrun-packages-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    state_ = name;
    fs::permissions(state_, fs::perms(0755));
    const fs::path users = "/var/lib/jailrun";
    const fs::path key = fs::read_symlink(users / "rootfs/python");
    fs::create_directories(state_ / "rootfs" / key);
    fs::create_directory_symlink(users / "rootfs" / key / "tree", state_ / "rootfs" / key / "tree");
    fs::create_directory_symlink(key, state_ / "rootfs/python");
    fs::create_directories(users / "cache/packages");
    fs::create_directory_symlink(users / "cache", state_ / "cache");
    fs::create_directories(state_ / "policies/packages");
  }
  void TearDown() override {
    if (!state_.empty()) fs::remove_all(state_);
  }
  std::vector<std::string> environment() const {
    return {"JAILRUN_STATE_DIR=" + state_.string(), "J=" + jailrun_program(),
            "JAILRUN_POLICY_DIR=" + (state_ / "policies").string()};
  }
  Outcome sh(const std::string& script, const std::string& input = kCode) const {
    return run_command({.argv = {"/bin/sh", "-c", script},
                        .input = input,
                        .environment = environment(),
                        .directory = state_});
  }
  void approve(const std::string& name, const std::string& lock) const {
    std::ofstream(state_ / "policies/packages/approved.txt") << name << " layer\n";
    std::ofstream(state_ / "policies/packages" / (name + ".lock")) << lock;
  }
  fs::path state_;
};

TEST_F(Packages, ArePreparedOnceAndSeenByWhoAsks) {
  EXPECT_EQ(
      sh("$J run --cold --package humanize -").err,
      "jailrun: package humanize is approved, but not prepared for this image; `jailrun packages "
      "add humanize` prepares it\n");
  const Outcome added = sh("$J packages add humanize");
  ASSERT_EQ(added.status, 0) << added.err;
  EXPECT_THAT(added.out, StartsWith("package humanize "));
  EXPECT_EQ(sh("$J run --cold --package humanize --package Humanize --package numpy -").out, kSeen);
  EXPECT_THAT(sh("$J run --cold -").err, HasSubstr("No module named 'humanize'"));
  EXPECT_EQ(sh("$J exec --policy python --package humanize -- python3 -c 'import humanize'").status,
            0);
  // Nothing is fetched, and the same content has the same name.
  const Outcome again = sh("PIP_INDEX_URL=http://127.0.0.1:1/ $J packages add humanize");
  EXPECT_EQ(again.out, added.out) << again.err;
  EXPECT_EQ(sh("ls packages/layers | wc -l").out, "1\n");
  EXPECT_EQ(sh("$J packages check humanize numpy").status, 0);
  EXPECT_EQ(
      sh("echo | tee -a packages/layers/*/tree/humanize/humanize/i18n.py; $J packages check "
         "humanize")
          .err,
      "jailrun packages: the layer of package humanize has changed since it was made; `jailrun "
      "packages rm humanize`, then add it anew\n");
  EXPECT_EQ(sh("$J packages rm humanize; ls packages/layers | wc -l").out, "0\n");
}

TEST_F(Packages, ThatCannotBeUsedAreErrorsByName) {
  const std::string run = "$J run --cold --package ";
  EXPECT_EQ(
      sh(run + "requests -").err,
      "jailrun: package 'requests' is not in the approved list; `jailrun packages ls` shows what "
      "is\n");
  EXPECT_THAT(sh(run + "torch -").err, HasSubstr("torch is approved, but not available: larger"));
  EXPECT_THAT(sh(run + "humanise -").err, HasSubstr("did you mean 'humanize'?"));
  EXPECT_THAT(sh(run + "../../etc -").err, HasSubstr("is not in the approved list"));
  EXPECT_THAT(sh(run + "humanize --policy python-strict -").err,
              HasSubstr("policy python-strict takes no packages"));
  for (const char* verb : {"add", "check"})
    EXPECT_THAT(sh(std::string("$J packages ") + verb + " requests").err,
                HasSubstr("package 'requests' is not in the approved list"));
  EXPECT_THAT(sh("$J packages rm humanize").err, HasSubstr("is not prepared"));
}

TEST_F(Packages, ThatFitNeitherImageNorLockAreNotPrepared) {
  const std::string digest = " \\\n    --hash=sha256:" + std::string(64, '0') + "\n";
  approve("odd", "# image: numpy==0.1\nodd==1" + digest);
  EXPECT_THAT(
      sh("$J packages add odd").err,
      HasSubstr(
          "package odd conflicts with the image: it was locked with numpy 0.1, the image has"));
  approve("pandas-like", "pandas==0.1" + digest);
  EXPECT_THAT(sh("$J packages add pandas-like").err,
              HasSubstr("it brings pandas 0.1, the image has"));
  fs::remove(state_ / "policies/packages/pandas-like.lock");
  fs::remove(state_ / "policies/packages/odd.lock");
  // A wheel whose digest is another's is fetched by nobody.
  approve("humanize", "humanize==4.9.0" + digest);
  const Outcome wrong = sh("$J packages add humanize");
  EXPECT_EQ(wrong.status, 125);
  EXPECT_THAT(wrong.err, HasSubstr("THESE PACKAGES DO NOT MATCH THE HASHES"));
  EXPECT_EQ(sh("ls packages/layers").out, "");
  approve("odd", "tqdm==0.1" + digest);
  std::ofstream(state_ / "policies/packages/tqdm.lock") << "tqdm==0.2" << digest;
  EXPECT_THAT(sh("$J packages add odd").err,
              HasSubstr("package odd conflicts with tqdm: tqdm 0.1 against 0.2"));
}

TEST_F(Packages, AreAttachedToParkedJailsAndSessions) {
  ASSERT_EQ(sh("$J packages add humanize").status, 0);
  const Daemon daemon({}, environment());
  Client client = daemon.connect();
  LeaseRequest request;
  request.packages = {"humanize"};
  EXPECT_EQ(test::run(client, kCode, request).out, kSeen);
  EXPECT_THAT(test::run(client, kCode).err, HasSubstr("No module named 'humanize'"));
  auto session = Session::create(client, request);
  ASSERT_TRUE(session) << session.error().line();
  EXPECT_EQ(session->execute(kCode)->out, kSeen);
  ASSERT_TRUE(session->reset());
  EXPECT_EQ(session->execute(kCode)->out, kSeen);
  request.packages = {"requests"};
  EXPECT_EQ(refusal(client, request), "PackageUnavailable");
}

}  // namespace
}  // namespace jailrun::test
