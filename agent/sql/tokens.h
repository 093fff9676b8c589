// SQL as DuckDB cuts it into tokens. Enough to tell words from what is quoted.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace jailrun::agent {

struct SqlToken {
  enum class Kind { Word, Quoted, Text, Number, Sign };
  Kind kind = Kind::Sign;
  std::string text;  // of words in lower case, of what is quoted without its quotes

  bool is(std::string_view word) const { return kind == Kind::Word && text == word; }
  bool sign(char c) const { return kind == Kind::Sign && text[0] == c; }
};

// Comments are left out. The error is a sentence: a quote or comment that does not end.
std::expected<std::vector<SqlToken>, std::string> sql_tokens(std::string_view sql);

// A table's name as it is written in SQL: in quotes where it is a word of the language.
std::string sql_name_text(const std::string& name);

}  // namespace jailrun::agent
