// Any JSON as a query plan: refused by name, or compiled, each time alike, to SQL that the policy
// lets through.
#include "agent/llm/json.h"
#include "agent/sql/policy.h"
#include "agent/sql/query_plan.h"
#include "agent/sql/tokens.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace jailrun::agent;
  using jailrun::fuzz::check;
  const auto json = parse_json({reinterpret_cast<const char*>(data), size});
  const auto plan = parse_query_plan(json);
  if (!plan) {
    check(!plan.error().message.empty() && !plan.error().remedy.empty());
    return 0;
  }
  (void)query_plan_warnings(*plan);
  const std::string sql = compile_query_plan(*plan);
  check(sql == compile_query_plan(*parse_query_plan(json)));
  check(sql_tokens(sql).has_value());
  check(sql_fault(sql, {plan->table}).empty());
  return 0;
}
