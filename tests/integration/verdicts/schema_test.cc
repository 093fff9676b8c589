// The schema says no to what is no Result: otherwise its yes would mean nothing.
#include "tests/support/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/verdicts/verdict.h"

namespace jailrun::test {
namespace {

using nlohmann::json;
using testing::IsEmpty;
using testing::Not;

TEST(Schema, TakesAnErrorOfOurs) {
  const Outcome outcome = jailrun({"exec", "--json", "--", "/no/such/command"});
  EXPECT_EQ(outcome.status, 127);
  const json document = json::parse(outcome.out);
  EXPECT_THAT(schema_faults(result_schema(), document), IsEmpty());
  EXPECT_EQ(document["error"]["stage"], "exec");
  EXPECT_EQ(document["error"]["errno"], "ENOENT");
}

TEST(Schema, TakesAResultWithFiles) {
  const Judged run = judged(
      "import os\nopen('/work/a.csv', 'w').write('1')\nos.symlink('/etc/passwd', "
      "'/work/link')\nos.mkfifo('/work/fifo')");
  ASSERT_EQ(run.result["files"].size(), 1u);
  EXPECT_EQ(run.result["files"][0]["name"], "a.csv");
  EXPECT_EQ(run.result["files"][0]["sha256"],
            "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b");
  EXPECT_EQ(run.result["files_skipped"].size(), 2u);
}

TEST(Schema, RefusesABrokenResult) {
  const json good = judged("print(1)").result, schema = result_schema();
  ASSERT_THAT(schema_faults(schema, good), IsEmpty());
  const auto broken = [&](const char* pointer, const json& value) {
    json copy = good;
    copy[json::json_pointer(pointer)] = value;
    return schema_faults(schema, copy);
  };
  EXPECT_THAT(broken("/verdict", "fine"), Not(IsEmpty()));
  EXPECT_THAT(broken("/status", 256), Not(IsEmpty()));
  EXPECT_THAT(broken("/status", "0"), Not(IsEmpty()));
  EXPECT_THAT(broken("/signal", "SEGV"), Not(IsEmpty()));
  EXPECT_THAT(broken("/exit_code", -1), Not(IsEmpty()));
  EXPECT_THAT(broken("/usage/wall_ns", -5), Not(IsEmpty()));
  EXPECT_THAT(broken("/evidence/extra", json::array()), Not(IsEmpty()));
  EXPECT_THAT(broken("/limits_hit", json::array({"patience"})), Not(IsEmpty()));
  EXPECT_THAT(broken("/files", json::array({{{"name", "a"}}})), Not(IsEmpty()));
  EXPECT_THAT(broken("/timeline/0/stage", "Open Image"), Not(IsEmpty()));
  EXPECT_THAT(broken("/unknown", 1), Not(IsEmpty()));
  for (const char* member : {"verdict", "evidence", "usage", "timeline", "limits", "warnings"}) {
    json copy = good;
    copy.erase(member);
    EXPECT_THAT(schema_faults(schema, copy), Not(IsEmpty())) << member;
  }
  EXPECT_THAT(schema_faults(schema, json::object()), Not(IsEmpty()));
}

TEST(Schema, TheValidatorRefusesAKeywordThatItDoesNotKnow) {
  EXPECT_THAT(schema_faults(json{{"maxLength", 3}}, "text"), Not(IsEmpty()));
}

TEST(Schema, TheTimelineNamesStagesInOrderAndTimesThatAddUp) {
  const json result = judged("print(1)").result;
  std::uint64_t last = 0;
  for (const json& entry : result["timeline"]) {
    EXPECT_GE(entry["at_ns"], last);
    last = entry["at_ns"];
  }
  EXPECT_EQ(result["timeline"].back()["stage"], "teardown");
  for (const auto& [name, limit] : result["limits"].items())
    EXPECT_NE(limit["enforced_by"], "") << name;
}

}  // namespace
}  // namespace jailrun::test
