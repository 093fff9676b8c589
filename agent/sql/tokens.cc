#include "agent/sql/tokens.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "agent/base/text.h"

namespace jailrun::agent {
namespace {

// What DuckDB takes for no table's name without quotes.
constexpr std::array<std::string_view, 84> kReserved{
    "all",        "analyse", "analyze",  "and",        "anti",    "any",       "array",
    "as",         "asc",     "asof",     "asymmetric", "both",    "case",      "cast",
    "check",      "collate", "column",   "constraint", "create",  "cross",     "default",
    "deferrable", "desc",    "describe", "distinct",   "do",      "else",      "end",
    "except",     "false",   "fetch",    "for",        "foreign", "from",      "full",
    "group",      "having",  "in",       "initially",  "inner",   "intersect", "into",
    "join",       "lambda",  "lateral",  "leading",    "left",    "limit",     "natural",
    "not",        "null",    "offset",   "on",         "only",    "or",        "order",
    "outer",      "pivot",   "placing",  "positional", "primary", "qualify",   "references",
    "returning",  "right",   "select",   "semi",       "show",    "some",      "summarize",
    "table",      "then",    "to",       "trailing",   "true",    "union",     "unique",
    "unpivot",    "using",   "variadic", "when",       "where",   "window",    "with"};

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Cutter {
 public:
  explicit Cutter(std::string_view sql) : sql_(sql) {}

  std::expected<std::vector<SqlToken>, std::string> cut() {
    while (skip_blank(), at_ < sql_.size() && fault_.empty()) one();
    if (!fault_.empty()) return std::unexpected(fault_);
    return std::move(tokens_);
  }

 private:
  using Kind = SqlToken::Kind;

  bool at(std::string_view text) const { return sql_.substr(at_).starts_with(text); }

  void skip_blank() {
    while (at_ < sql_.size()) {
      if (std::isspace(static_cast<unsigned char>(sql_[at_])) != 0) {
        ++at_;
      } else if (at("--")) {
        at_ = std::min(sql_.find('\n', at_), sql_.size());
      } else if (at("/*")) {
        skip_comment();
      } else {
        return;
      }
    }
  }

  void skip_comment() {  // they nest, as in PostgreSQL
    int depth = 0;
    do {
      if (at("/*"))
        ++depth, at_ += 2;
      else if (at("*/"))
        --depth, at_ += 2;
      else
        ++at_;
    } while (depth > 0 && at_ < sql_.size());
    if (depth > 0) fault_ = "a comment does not end";
  }

  void one() {
    const char c = sql_[at_];
    if (c == '\'') return quoted(Kind::Text, '\'', false);
    if (c == '"') return quoted(Kind::Quoted, '"', false);
    if ((c == 'e' || c == 'E') && sql_.substr(at_ + 1).starts_with('\'')) {
      ++at_;
      return quoted(Kind::Text, '\'', true);
    }
    if (c == '$' && dollar()) return;
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) return number();
    if (is_word(c)) return word();
    tokens_.push_back({Kind::Sign, std::string(1, c)});
    ++at_;
  }

  void quoted(Kind kind, char quote, bool escapes) {
    std::string text;
    for (++at_; at_ < sql_.size(); ++at_) {
      if (escapes && sql_[at_] == '\\' && at_ + 1 < sql_.size())
        ++at_;
      else if (sql_[at_] == quote && sql_.substr(at_ + 1).starts_with(quote))
        ++at_;
      else if (sql_[at_] == quote)
        break;
      text += sql_[at_];
    }
    if (at_++ >= sql_.size()) fault_ = "a quote does not end";
    tokens_.push_back({kind, std::move(text)});
  }

  // $tag$ … $tag$; false for what is none, such as the parameter $1.
  bool dollar() {
    auto end = at_ + 1;
    while (end < sql_.size() && is_word(sql_[end]) && sql_[end] != '$') ++end;
    const bool digit = std::isdigit(static_cast<unsigned char>(sql_[std::min(at_ + 1, end)])) != 0;
    if (end >= sql_.size() || sql_[end] != '$' || digit) return false;
    const auto tag = sql_.substr(at_, end - at_ + 1);
    const auto close = sql_.find(tag, end + 1);
    if (close == std::string_view::npos) {
      fault_ = "a quote does not end";
      return true;
    }
    tokens_.push_back({Kind::Text, std::string(sql_.substr(end + 1, close - end - 1))});
    at_ = close + tag.size();
    return true;
  }

  void number() {
    const auto from = at_;
    while (at_ < sql_.size() && (is_word(sql_[at_]) || sql_[at_] == '.')) ++at_;
    tokens_.push_back({Kind::Number, std::string(sql_.substr(from, at_ - from))});
  }

  void word() {
    const auto from = at_;
    while (at_ < sql_.size() && is_word(sql_[at_])) ++at_;
    tokens_.push_back({Kind::Word, lower(sql_.substr(from, at_ - from))});
  }

  std::string_view sql_;
  std::size_t at_ = 0;
  std::vector<SqlToken> tokens_;
  std::string fault_;
};

}  // namespace

std::string sql_name_text(const std::string& name) {
  const auto word = lower(name);
  const bool reserved = std::find(kReserved.begin(), kReserved.end(), word) != kReserved.end();
  return reserved ? "\"" + name + "\"" : name;
}

std::expected<std::vector<SqlToken>, std::string> sql_tokens(std::string_view sql) {
  return Cutter(sql).cut();
}

}  // namespace jailrun::agent
