#include "tests/integration/verdicts/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/census.h"
#include "tests/support/schema.h"

namespace jailrun::test {
namespace {

Outcome run_counted(const char* json, const std::string& script,
                    const std::vector<std::string>& options) {
  std::vector<std::string> arguments = {"run", "--cold"};
  if (json != nullptr) arguments.emplace_back(json);
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.emplace_back("-");
  const auto before = take_census();
  Outcome outcome = jailrun(arguments, script);
  EXPECT_EQ(left_for_good(before), "");
  return outcome;
}

}  // namespace

Judged judged(const std::string& script, const std::vector<std::string>& options) {
  Judged judged;
  judged.outcome = run_counted("--json", script, options);
  judged.result = nlohmann::json::parse(judged.outcome.out, nullptr, false);
  EXPECT_FALSE(judged.result.is_discarded()) << judged.outcome.out << judged.outcome.err;
  EXPECT_THAT(schema_faults(result_schema(), judged.result), testing::IsEmpty());
  EXPECT_TRUE(judged.result.contains("verdict")) << judged.result.dump();
  if (judged.result.contains("status")) {
    EXPECT_EQ(judged.outcome.status, judged.result["status"]);
  }
  return judged;
}

Outcome seen(const std::string& script, const std::vector<std::string>& options) {
  return run_counted(nullptr, script, options);
}

std::vector<std::string> limits_hit(const nlohmann::json& result) {
  return result.value("limits_hit", std::vector<std::string>{});
}

}  // namespace jailrun::test
