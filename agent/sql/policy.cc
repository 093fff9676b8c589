#include "agent/sql/policy.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "agent/base/text.h"
#include "agent/sql/tokens.h"

namespace jailrun::agent {
namespace {

using Kind = SqlToken::Kind;

template <std::size_t N>
bool among(const std::array<std::string_view, N>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// What a query may begin with. FROM alone is DuckDB's short form of SELECT *.
constexpr std::array<std::string_view, 7> kQueries{"select",  "with",     "from",     "values",
                                                   "explain", "describe", "summarize"};
constexpr std::array<std::string_view, 24> kStatements{
    "insert", "update", "delete",     "drop",    "create", "alter",    "attach",  "detach",
    "copy",   "export", "import",     "install", "load",   "pragma",   "set",     "reset",
    "call",   "vacuum", "checkpoint", "use",     "merge",  "truncate", "execute", "prepare"};
// After these a FROM clause has ended.
constexpr std::array<std::string_view, 13> kAfterFrom{
    "where",  "group",     "having", "order",   "limit",  "offset", "union",
    "except", "intersect", "window", "qualify", "select", "using"};
constexpr std::array<std::string_view, 3> kTableFunctions{"unnest", "range", "generate_series"};
// Words that a parenthesis may follow without a call.
constexpr std::array<std::string_view, 26> kBeforeParenthesis{
    "in",     "and",    "or",    "not",  "as",     "over",  "filter", "where",   "on",
    "when",   "then",   "else",  "case", "select", "from",  "join",   "by",      "having",
    "exists", "values", "using", "any",  "all",    "union", "limit",  "distinct"};
constexpr std::array<std::string_view, 11> kOutside{
    "glob",         "getenv",      "query",   "query_table", "current_setting", "sniff_csv",
    "which_secret", "getvariable", "nextval", "st_read",     "write_log"};

bool reads_outside(const std::string& function) {
  return among(kOutside, function) || function.starts_with("read_") ||
         function.ends_with("_scan") || function.starts_with("duckdb_") ||
         function.starts_with("pragma_") || function.starts_with("parquet_") ||
         function.starts_with("scan_") || function.find("_scan_") != std::string::npos;
}

std::string blocked(const std::string& token) {
  return "SQL contains blocked token: " + clip(printable(token), 80);
}

class Query {
 public:
  Query(std::vector<SqlToken> tokens, const std::vector<std::string>& tables)
      : tokens_(std::move(tokens)) {
    for (const auto& table : tables) tables_.insert(lower(table));
  }

  std::string fault() {
    while (!tokens_.empty() && tokens_.back().sign(';')) tokens_.pop_back();
    if (auto why = beginning_fault(); !why.empty()) return why;
    name_ctes();
    std::vector<Level> levels(1);
    levels[0].starts = true;
    for (at_ = 0; at_ < tokens_.size(); ++at_) {
      if (auto why = token_fault(levels); !why.empty()) return why;
      if (levels.empty()) return "A parenthesis is closed that was not opened.";
    }
    return levels.size() == 1 ? "" : "A parenthesis is not closed.";
  }

 private:
  // One of parentheses, or the whole.
  struct Level {
    bool starts = false;  // a statement may begin here
    bool call = false;    // the arguments of a function
    bool from = false;    // in a FROM clause
    bool table = false;   // a table is expected
  };

  const SqlToken* next(std::size_t by = 1) const {
    return at_ + by < tokens_.size() ? &tokens_[at_ + by] : nullptr;
  }

  std::string beginning_fault() const {
    for (const auto& token : tokens_) {
      if (token.sign(';')) return "Multiple SQL statements are not allowed.";
    }
    const auto first = std::find_if(tokens_.begin(), tokens_.end(),
                                    [](const SqlToken& token) { return !token.sign('('); });
    if (first == tokens_.end() || first->kind != Kind::Word || !among(kQueries, first->text))
      return "Only SELECT/WITH queries are allowed.";
    return "";
  }

  // NAME [(columns)] AS [NOT MATERIALIZED] ( — wherever it stands; a table of that name is then one
  // of the query's own.
  void name_ctes() {
    for (std::size_t i = 0; i + 2 < tokens_.size(); ++i) {
      auto as = i + 1;
      if (tokens_[as].sign('(')) {
        while (as < tokens_.size() && !tokens_[as].sign(')')) ++as;
        ++as;
      }
      if (as + 1 >= tokens_.size() || !tokens_[as].is("as")) continue;
      ++as;
      while (as < tokens_.size() && (tokens_[as].is("not") || tokens_[as].is("materialized"))) ++as;
      const bool names = tokens_[i].kind == Kind::Word || tokens_[i].kind == Kind::Quoted;
      const bool introduced = i > 0 && (tokens_[i - 1].is("with") ||
                                        tokens_[i - 1].is("recursive") || tokens_[i - 1].sign(','));
      if (as < tokens_.size() && tokens_[as].sign('(') && names && introduced)
        tables_.insert(lower(tokens_[i].text));
    }
  }

  std::string token_fault(std::vector<Level>& levels) {
    const SqlToken& token = tokens_[at_];
    Level& level = levels.back();
    if (token.sign('(')) return open(levels);
    if (token.sign(')')) {
      levels.pop_back();
      if (!levels.empty()) levels.back().table = false;
      return "";
    }
    const bool starts = std::exchange(level.starts, token.is("explain") || token.is("analyze"));
    if (token.kind == Kind::Word && starts && among(kStatements, token.text))
      return blocked(token.text);
    // After WITH the statement proper follows the last parenthesis.
    if (token.kind == Kind::Word && levels.size() == 1 && at_ > 0 && tokens_[at_ - 1].sign(')') &&
        tokens_[0].is("with") && !begun_ && among(kStatements, token.text))
      return blocked(token.text);
    if (levels.size() == 1 && at_ > 0 && (token.is("select") || token.is("from"))) begun_ = true;
    if (level.table) return table_fault(level);
    if (token.kind == Kind::Word || token.kind == Kind::Quoted) {
      const SqlToken* after = next();
      if (after != nullptr && after->sign('(') && reads_outside(lower(token.text)))
        return blocked(token.text);
    }
    if (token.kind == Kind::Word) clause(level, token.text);
    if (token.sign(',') && level.from) level.table = true;
    return "";
  }

  std::string open(std::vector<Level>& levels) {
    Level inner;
    const SqlToken* before = at_ > 0 ? &tokens_[at_ - 1] : nullptr;
    const bool word =
        before != nullptr && (before->kind == Kind::Word || before->kind == Kind::Quoted);
    inner.call = word && !(before->kind == Kind::Word && among(kBeforeParenthesis, before->text));
    inner.starts = true;
    // ( t join u ) in a FROM clause: tables again.
    const SqlToken* after = next();
    const bool query = after != nullptr && (after->sign('(') || among(kQueries, after->text));
    inner.from = inner.table = levels.back().table && !query;
    levels.push_back(inner);
    return "";
  }

  void clause(Level& level, const std::string& word) {
    if (among(kAfterFrom, word)) level.from = false;
    if (word == "select") level.call = false;
    const bool distinct_from = word == "from" && at_ > 0 && tokens_[at_ - 1].is("distinct") &&
                               at_ > 1 && (tokens_[at_ - 2].is("is") || tokens_[at_ - 2].is("not"));
    if ((word == "from" && !level.call && !distinct_from) || word == "join")
      level.from = level.table = true;
  }

  std::string table_fault(Level& level) {
    const SqlToken& token = tokens_[at_];
    if (token.is("lateral") || token.is("only")) return "";
    level.table = false;
    if (token.kind == Kind::Text)
      return "SQL reads outside of the data set: " + clip(printable(token.text), 80);
    if (token.is("select") || token.is("values") || token.is("with")) return "";
    std::string name = lower(token.text);
    const SqlToken* after = next();
    if (after != nullptr && after->sign('('))
      return among(kTableFunctions, name) ? "" : blocked(name);
    while (after != nullptr && after->sign('.')) {  // support.tickets is tickets
      at_ += 2;
      if (at_ >= tokens_.size()) return "SQL ends in the middle of a name.";
      name = lower(tokens_[at_].text);
      after = next();
    }
    if (tables_.contains(name)) return "";
    return "SQL reads outside of the data set: " + clip(printable(name), 80);
  }

  std::vector<SqlToken> tokens_;
  std::set<std::string> tables_;
  std::size_t at_ = 0;
  bool begun_ = false;
};

constexpr std::array<std::string_view, 58> kScalars{"abs",
                                                    "ceil",
                                                    "ceiling",
                                                    "floor",
                                                    "round",
                                                    "trunc",
                                                    "sign",
                                                    "sqrt",
                                                    "exp",
                                                    "ln",
                                                    "log",
                                                    "log2",
                                                    "log10",
                                                    "power",
                                                    "pow",
                                                    "mod",
                                                    "greatest",
                                                    "least",
                                                    "coalesce",
                                                    "nullif",
                                                    "ifnull",
                                                    "if",
                                                    "lower",
                                                    "upper",
                                                    "length",
                                                    "trim",
                                                    "ltrim",
                                                    "rtrim",
                                                    "substr",
                                                    "substring",
                                                    "replace",
                                                    "concat",
                                                    "left",
                                                    "right",
                                                    "strip_accents",
                                                    "contains",
                                                    "starts_with",
                                                    "ends_with",
                                                    "split_part",
                                                    "regexp_matches",
                                                    "regexp_extract",
                                                    "regexp_replace",
                                                    "cast",
                                                    "try_cast",
                                                    "date_trunc",
                                                    "date_part",
                                                    "date_diff",
                                                    "datediff",
                                                    "strftime",
                                                    "strptime",
                                                    "year",
                                                    "quarter",
                                                    "month",
                                                    "week",
                                                    "day",
                                                    "hour",
                                                    "minute",
                                                    "extract"};
// Words that may stand before a parenthesis in an expression.
constexpr std::array<std::string_view, 9> kInExpression{"and",  "or",   "not",  "in",     "case",
                                                        "when", "then", "else", "between"};
constexpr std::string_view kSigns = "+-*/%|()<>=!,.:";

}  // namespace

std::string sql_fault(std::string_view sql, const std::vector<std::string>& tables) {
  auto tokens = sql_tokens(sql);
  if (!tokens) return "The SQL is not complete: " + tokens.error() + ".";
  return Query(std::move(*tokens), tables).fault();
}

std::string expression_fault(std::string_view expression) {
  const auto tokens = sql_tokens(expression);
  if (!tokens) return "The expression is not complete: " + tokens.error() + ".";
  if (tokens->empty()) return "The expression is empty.";
  int depth = 0;
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    const SqlToken& token = (*tokens)[i];
    if (token.kind == Kind::Sign && kSigns.find(token.text) == std::string_view::npos)
      return blocked(token.text);
    if (token.sign('(')) ++depth;
    if (token.sign(')') && --depth < 0) return "A parenthesis is closed that was not opened.";
    if (token.kind != Kind::Word && token.kind != Kind::Quoted) continue;
    const bool own = token.kind == Kind::Word;
    const bool call = i + 1 < tokens->size() && (*tokens)[i + 1].sign('(');
    if (call && !(own && (among(kScalars, token.text) || among(kInExpression, token.text))))
      return blocked(token.text);
    if (own && (token.is("select") || token.is("with") || token.is("union") || token.is("into")))
      return blocked(token.text);
    const bool in_extract = i >= 2 && depth > 0;  // extract(year from d)
    if (own && token.is("from") && !in_extract) return blocked(token.text);
  }
  return depth == 0 ? "" : "A parenthesis is not closed.";
}

}  // namespace jailrun::agent
