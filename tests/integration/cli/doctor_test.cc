// `jailrun doctor`: found by trying, and its exit status says whether the default policy can run.
#include <algorithm>
#include <nlohmann/json.hpp>

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

TEST_F(Doctor, SaysWhatAUserWithoutRightsLacks) {
  int status = -1;
  const Json report = doctor(
      "XDG_RUNTIME_DIR=" + dir_.string() + " setpriv --reuid 65534 --regid 65534 --clear-groups",
      status);
  ASSERT_TRUE(report.is_object());
  EXPECT_NE(status, 0);
  EXPECT_FALSE(report.at("can_run").get<bool>());
  EXPECT_NE(row(report, "rights of the owner").at("state"), "ok");
}

TEST_F(Doctor, PrintsOneLineForEachMechanismToPeople) {
  const Outcome table = sh("$J doctor");
  EXPECT_EQ(table.status, 0) << table.out;
  EXPECT_THAT(table.out, testing::HasSubstr("a whole jail"));
  EXPECT_THAT(table.out, testing::Not(testing::HasSubstr("->"))) << "no remedy is needed here";
}

}  // namespace
}  // namespace jailrun::test
