// What users write themselves: SQL, Python and query plans without a model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/agents/direct.h"
#include "agent/agents/direct_python.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// Answers each run with one result and keeps the code.
class Told : public Interpreter {
 public:
  explicit Told(JailResult result) : result_(std::move(result)) {}
  Expected<JailResult> run(const std::string& code, const std::string&, Deadline) override {
    codes.push_back(code);
    return result_;
  }
  bool lasting() const override { return false; }
  Expected<std::uint32_t> save() override { return 0; }
  Expected<void> rollback(std::uint32_t) override { return {}; }

  std::vector<std::string> codes;

 private:
  JailResult result_;
};

JailResult ran(std::string verdict, std::string out, std::string err = "") {
  JailResult result;
  result.verdict = std::move(verdict);
  result.reason = "why: " + result.verdict;
  result.out = std::move(out);
  result.err = std::move(err);
  return result;
}

std::vector<DataTable> tickets() {
  DataTable table;
  table.file = "tickets.csv";
  table.sql_name = "tickets";
  return {table};
}

DirectResult result_of(DirectMode mode, const std::string& text, JailResult answer,
                       const DirectLimits& limits = {}) {
  Told told(std::move(answer));
  return *run_direct({mode, text}, tickets(), told, limits);
}

TEST(DirectMessages, BeginWithTheirLanguage) {
  const auto sql = direct_message("  sQL: select 'a: b' \n");
  ASSERT_TRUE(sql);
  EXPECT_EQ(sql->mode, DirectMode::Sql);
  EXPECT_EQ(sql->text, "select 'a: b'");
  EXPECT_EQ(direct_message("PYTHON:\nprint(1)\n")->text, "print(1)");
  for (const char* none :
       {"", ":", "select 1", "my sql: select 1", "What is SQL: a language?", "plan: {}"})
    EXPECT_FALSE(direct_message(none)) << none;
}

TEST(DirectSql, ThatIsRefusedReachesNoJail) {
  Told told(ran("ok", ""));
  for (const auto& [mode, text, type] :
       std::vector<std::tuple<DirectMode, std::string, std::string>>{
           {DirectMode::Sql, "drop table tickets", "SQL_POLICY_VIOLATION"},
           {DirectMode::Sql, "select * from '/etc/passwd'", "SQL_POLICY_VIOLATION"},
           {DirectMode::Sql, "select * from others", "SQL_POLICY_VIOLATION"},
           {DirectMode::Sql, "", "VALIDATION_ERROR"},
           {DirectMode::Sql, std::string(70'000, 'x'), "VALIDATION_ERROR"},
           {DirectMode::Plan, "not json", "VALIDATION_ERROR"},
           {DirectMode::Plan, R"({"table":"others","select":["a"]})", "VALIDATION_ERROR"},
           {DirectMode::Plan, R"({"table":"tickets","select":[{"expr":"1; DROP"}]})",
            "VALIDATION_ERROR"}}) {
    const auto result = run_direct({mode, text}, tickets(), told);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->status, "rejected") << text;
    EXPECT_EQ(result->error_type, type) << text;
    EXPECT_FALSE(outcome_of(*result).answered);
  }
  DirectLimits off;
  off.python = false;
  const auto python = run_direct({DirectMode::Python, "print(1)"}, tickets(), told, off);
  EXPECT_EQ(python->error_type, "FEATURE_DISABLED");
  EXPECT_THAT(told.codes, testing::IsEmpty());
}

TEST(DirectSql, TellsRowsOrWhatWentWrong) {
  const auto fine = result_of(DirectMode::Plan, R"({"table":"tickets","select":["a"],"limit":500})",
                              ran("ok", R"({"columns":["a"],"rows":[[1],[2]],"truncated":true})"));
  EXPECT_TRUE(fine.ok());
  EXPECT_EQ(fine.rows, json::parse("[[1],[2]]"));
  EXPECT_TRUE(fine.truncated);
  EXPECT_EQ(fine.warnings.size(), 1U);
  EXPECT_EQ(fine.step.sql, "SELECT\n  \"a\"\nFROM \"tickets\"\nLIMIT 500");
  for (const auto& [verdict, err, type] : std::vector<std::array<const char*, 3>>{
           {"nonzero_exit", "Binder Error: no column z\n", "SQL_EXECUTION_ERROR"},
           {"wall_timeout", "", "RUNNER_TIMEOUT"},
           {"out_of_memory", "", "RUNNER_RESOURCE_EXCEEDED"},
           {"nonzero_exit", "one SELECT is wanted: …", "SQL_POLICY_VIOLATION"}}) {
    const auto bad = result_of(DirectMode::Sql, "select 1", ran(verdict, "", err));
    EXPECT_EQ(bad.error_type, type);
    EXPECT_NE(bad.error, "");
  }
}

TEST(DirectSql, BelievesNothingThatComesOutOfTheJail) {
  for (const char* out :
       {"", "[]", "{\"columns\":7,\"rows\":{}}", "{\"columns\":[\"a\"],\"rows\":[1,[],[1,2]]}"})
    EXPECT_TRUE(result_of(DirectMode::Sql, "select 1", ran("ok", out)).rows.empty()) << out;
  const auto escapes = result_of(
      DirectMode::Sql, "select 1",
      ran("ok",
          "{\"columns\":[\"a\\u001b[2J\",\"b\"],\"rows\":[[\"x|\\u001b]0;y\\u0007\\n\",null]]}"));
  EXPECT_EQ(direct_text(escapes), "| a[2J | b |\n| --- | --- |\n| x ]0;y  |  |");
  const auto failed =
      result_of(DirectMode::Sql, "select 1", ran("nonzero_exit", "", "\x1b[31mbad"));
  EXPECT_EQ(failed.error, "[31mbad");
}

TEST(DirectPython, RunsUnderItsPolicyAndSqlUnderTheUsualOneForTenSeconds) {
  EXPECT_EQ(direct_options({}, DirectMode::Python).policy, "csv-strict");
  EXPECT_EQ(direct_options({}, DirectMode::Plan).policy, "");
  EXPECT_EQ(direct_options({}, DirectMode::Sql).timeout, "10s");
  setenv("RUN_TIMEOUT_SECONDS", "7", 1);
  EXPECT_EQ(direct_options({}, DirectMode::Sql).timeout, "7s");
  setenv("RUN_TIMEOUT_SECONDS", "1000", 1);
  EXPECT_EQ(direct_options({}, DirectMode::Sql).timeout, "60s");
  unsetenv("RUN_TIMEOUT_SECONDS");
  JailOptions own;
  own.policy = "mine";
  own.timeout = "2s";
  EXPECT_EQ(direct_options(own, DirectMode::Python).policy, "mine");
  EXPECT_EQ(direct_options(own, DirectMode::Python).timeout, "2s");
}

TEST(DirectPython, TellsWhatCameOfIt) {
  const auto result = result_of(
      DirectMode::Python, "print('seen')\n1 + 1",
      ran("ok",
          "seen\n\njailrun result: {\"columns\":[\"value\"],\"index\":[0],\"data\":[[2]]}\n"));
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.step.result.out, "seen\n");
  EXPECT_EQ(result.rows, json::parse("[[2]]"));
  EXPECT_EQ(result.step.code, "print('seen')\n1 + 1");
  const auto refused =
      result_of(DirectMode::Python, "import os",
                ran("nonzero_exit", "", "  File…\nCodeRefused: Blocked import: os; x\n"));
  EXPECT_EQ(refused.status, "rejected");
  EXPECT_EQ(refused.error_type, "PYTHON_POLICY_VIOLATION");
  EXPECT_EQ(refused.error, "Blocked import: os; x");
  EXPECT_EQ(result_of(DirectMode::Python, "1/0", ran("nonzero_exit", "", "ZeroDivisionError: x"))
                .error_type,
            "PYTHON_EXECUTION_ERROR");
}

TEST(DirectPython, KnowsALastExpressionFromAStatement) {
  for (const char* code :
       {"1 + 1", "x = 1\nx == 2", "df[df.a >= 1].head()  # top", "f(a=1,\n  b=2)\n\n",
        "'''a\nb = 1'''\n(x\n)", "x = '('\nx", "a <= b", "not x", "# c\nx \\\n + 1"})
    EXPECT_NE(last_expression(code), std::string_view::npos) << code;
  for (const char* code : {"",
                           "# only",
                           "x = 1",
                           "x += 1",
                           "x <<= 1",
                           "import math",
                           "def f():\n  return 1",
                           "for i in x:\n  i",
                           "if x: y",
                           "print(1)",
                           "a; b",
                           "x: int",
                           "(",
                           "x)",
                           "'open",
                           "'''open",
                           "del x",
                           "@f\ndef g(): pass",
                           "  x",
                           "lambda: 1",
                           "s = '''\nx\n'''"})
    EXPECT_EQ(last_expression(code), std::string_view::npos) << code;
  EXPECT_THAT(python_with_result("a = 1\na  # it", "M", 5, 9),
              testing::StartsWith("a = 1\n_last_ = (a  # it\n)\n"));
}

TEST(DirectText, IsASentenceWhereOneDoes) {
  DirectResult result;
  result.status = "succeeded";
  EXPECT_EQ(direct_text(result), "It ran.");
  result.columns = {"total_tickets"};
  EXPECT_EQ(direct_text(result), "No rows matched your request.");
  result.rows = json::parse("[[7]]");
  EXPECT_EQ(direct_text(result), "There are 7 total tickets in the dataset.");
  result.columns = {"n"};
  EXPECT_EQ(direct_text(result), "The result is 7.");
  result.columns = {"a", "b"};
  result.rows = json::parse(R"([[1,"x"],[2,null]])");
  EXPECT_EQ(direct_text(result), "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 |  |");
  for (int i = 0; i < 60; ++i) result.rows.push_back({i, i});
  EXPECT_THAT(direct_text(result), HasSubstr("The first 50 of 62 rows."));
  result.truncated = true;
  EXPECT_THAT(direct_text(result), HasSubstr("there are more"));
}

}  // namespace
}  // namespace jailrun::agent
