// Any text as SQL: cut into tokens, judged as a query over two tables and as an expression.
#include "agent/sql/policy.h"
#include "agent/sql/tokens.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace jailrun::agent;
  using jailrun::fuzz::check;
  const std::string sql(reinterpret_cast<const char*>(data), size);
  const auto tokens = sql_tokens(sql);
  if (!tokens) check(!tokens.error().empty());
  const std::string fault = sql_fault(sql, {"tickets", "agents"});
  const std::string of_expression = expression_fault(sql);
  if (!tokens || tokens->empty()) check(!fault.empty() && !of_expression.empty());
  if (!tokens || !fault.empty()) return 0;
  // What is let through is one query that reads nothing by a name that looks like a file's.
  for (std::size_t i = 0; i + 1 < tokens->size(); ++i) {
    const SqlToken& token = (*tokens)[i];
    const SqlToken& next = (*tokens)[i + 1];
    if (next.sign('('))
      for (const char* word : {"read_csv", "read_text", "read_blob", "glob", "getenv", "query"})
        check(token.kind == SqlToken::Kind::Text || token.text != word);
    if (token.sign(';')) check(next.sign(';'));
  }
  // And it knows no table that was not named.
  if (fault != sql_fault(sql, {"tickets", "agents", "more"})) std::abort();
  return 0;
}
