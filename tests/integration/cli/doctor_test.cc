// `jailrun doctor`: found by trying, and its exit status says whether the default policy can run.
#include <sys/utsname.h>
#include <sys/vfs.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "jail/sys/uapi.h"
#include "tests/integration/cli/cli.h"

namespace jailrun::test {
namespace {

using Json = nlohmann::json;

class Doctor : public Cli {
 protected:
  Json doctor(const std::string& before, int& status) const {
    const Outcome outcome = sh(before + " $J doctor --json");
    status = outcome.status;
    return Json::parse(outcome.out, nullptr, false);
  }
  static Json row(const Json& report, const std::string& name) {
    for (const Json& mechanism : report.at("mechanisms")) {
      if (mechanism.at("name").get<std::string>().starts_with(name)) return mechanism;
    }
    return nullptr;
  }
};

TEST_F(Doctor, ExitsWithZeroWhereAJailOfTheDefaultPolicyRan) {
  int status = -1;
  const Json report = doctor("", status);
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(report.at("can_run").get<bool>());
  EXPECT_EQ(row(report, "a whole jail").at("state"), "ok");
  for (const Json& mechanism : report.at("mechanisms")) {
    const bool good = mechanism.at("state") == "ok";
    EXPECT_EQ(mechanism.at("remedy").is_null(), good) << mechanism.dump();
  }
}

// The twin: what is taken away is named, with its remedy, and the exit status follows.
TEST_F(Doctor, NamesAMissingImageAndHowToBuildIt) {
  int status = -1;
  const Json report = doctor("JAILRUN_STATE_DIR=" + dir_.string(), status);
  ASSERT_TRUE(report.is_object());
  EXPECT_NE(status, 0);
  EXPECT_FALSE(report.at("can_run").get<bool>());
  const Json image = row(report, "image python");
  EXPECT_EQ(image.at("state"), "missing");
  EXPECT_THAT(image.at("remedy").get<std::string>(), testing::HasSubstr("jailrun rootfs build"));
}

// It has rights enough in a user namespace of its own; what limits a jail somebody must delegate.
TEST_F(Doctor, SaysWhatAUserWithoutDelegationLacks) {
  int status = -1;
  ASSERT_EQ(sh("install -d -m 700 -o 65534 run").status, 0);
  const Json report = doctor("cd /; XDG_RUNTIME_DIR=" + (dir_ / "run").string() +
                                 " setpriv --reuid 65534 --regid 65534 --clear-groups",
                             status);
  ASSERT_TRUE(report.is_object());
  EXPECT_NE(status, 0);
  EXPECT_FALSE(report.at("can_run").get<bool>());
  EXPECT_EQ(row(report, "rights of the owner").at("state"), "ok");
  EXPECT_EQ(row(report, "host uid range").at("state"), "weak");
  const Json jail = row(report, "a whole jail");
  EXPECT_THAT(jail.at("remedy").get<std::string>(), testing::HasSubstr("python-unlimited"));
}

TEST_F(Doctor, PrintsOneLineForEachMechanismToPeople) {
  const Outcome table = sh("$J doctor");
  EXPECT_EQ(table.status, 0) << table.out;
  EXPECT_THAT(table.out, testing::HasSubstr("a whole jail"));
  const bool weak = table.out.find(" weak ") != std::string::npos;  // kernels before 6.12
  EXPECT_EQ(table.out.find("->") != std::string::npos, weak) << "a remedy where it is needed";
}

// What doctor prints on each kind of host, whole: golden/doctor_KIND.json.
class DoctorPrints : public Doctor {
 protected:
  // The kind of this host: where its cgroup controllers are, and which wall its kernel lacks.
  static std::string here() {
    struct statfs fs{};
    const bool pure = ::statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == uapi::kCgroup2Magic;
    utsname kernel{};
    ::uname(&kernel);
    int major = 0, minor = 0;
    std::sscanf(kernel.release, "%d.%d", &major, &minor);
    const bool scopes = major > 6 || (major == 6 && minor >= 12);
    return std::string(pure ? "v2" : "hybrid") + (scopes ? "" : "_6.1");
  }

  // Versions, and paths and times that differ from host to host.
  static std::string normal(std::string text) {
    text = std::regex_replace(text, std::regex("\"kernel [0-9][^\"]*"), "\"kernel VERSION");
    text = std::regex_replace(text, std::regex("\"Landlock ABI [0-9]+"), "\"Landlock ABI N");
    text = std::regex_replace(text, std::regex("\"jailrun\": \"[^\"]*"), "\"jailrun\": \"VERSION");
    text = std::regex_replace(text, std::regex("after [0-9.]+ ms"), "after T ms");
    return std::regex_replace(text, std::regex("/sys/fs/cgroup[^ ;:\"]*"), "/sys/fs/cgroup/OWN");
  }

  void expect_golden(const std::string& kind, const Outcome& doctor, int status) const {
    EXPECT_EQ(doctor.status, status) << doctor.err;
    const std::string path =
        JAILRUN_SOURCE_DIR "/tests/integration/cli/golden/doctor_" + kind + ".json";
    if (std::getenv("JAILRUN_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << normal(doctor.out);
    std::ifstream file(path);
    std::stringstream golden;
    golden << file.rdbuf();
    EXPECT_EQ(normal(doctor.out), golden.str()) << "JAILRUN_UPDATE_GOLDEN=1 writes it anew";
  }
};

TEST_F(DoctorPrints, ForRoot) { expect_golden("root_" + here(), sh("$J doctor --json"), 0); }

TEST_F(DoctorPrints, ForAUserWithoutDelegation) {
  ASSERT_EQ(sh("install -d -m 700 -o 65534 run").status, 0);
  expect_golden("user_" + here(),
                sh("cd /; HOME=/nonexistent XDG_RUNTIME_DIR=" + (dir_ / "run").string() +
                   " setpriv --reuid 65534 --regid 65534 --clear-groups $J doctor --json"),
                1);
}

TEST_F(DoctorPrints, ForAUserWithADelegatedGroup) {
  if (::access("/run/systemd/system", F_OK) != 0) GTEST_SKIP() << "needs systemd";
  expect_golden("user_delegated_" + here(),
                sh("systemd-run --quiet --pipe --wait -p Delegate=yes -p User=nobody "
                   "-p Environment=HOME=/nonexistent -p RuntimeDirectory=jailrun-doctor "
                   "-p Environment=XDG_RUNTIME_DIR=/run/jailrun-doctor $J doctor --json"),
                0);
}

TEST_F(DoctorPrints, WhereUserNamespacesAreRestricted) {
  expect_golden("restricted_" + here(),
                sh("unshare --user --map-root-user sh -c 'echo 0 >/proc/sys/user/"
                   "max_user_namespaces && exec $J doctor --json'"),
                1);
}

TEST_F(DoctorPrints, InsideAContainerWithMaskedProcAndReadOnlyCgroups) {
  expect_golden(
      "container_" + here(),
      sh("unshare --mount --pid --fork --mount-proc sh -c '"
         "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && "
         "for m in /sys/fs/cgroup /sys/fs/cgroup/*; do "
         "mountpoint -q $m && mount -o remount,bind,ro $m; done; exec setpriv "
         "--bounding-set=-sys_admin,-sys_ptrace,-sys_resource,-net_admin $J doctor --json'"),
      1);
}

}  // namespace
}  // namespace jailrun::test
