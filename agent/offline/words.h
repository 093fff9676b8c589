// A question as words.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace jailrun::agent::offline {

struct Word {
  std::string text;  // lower case, or an operator such as ">="
  std::string raw;   // as written; the content of a quoted one
  bool quoted = false;
  std::optional<double> number;
  bool used = false;  // understood: every word must be, or the question is refused
};

std::vector<Word> split_words(std::string_view question);

// "total_bill", "TotalBill" and "Total  bill" are all "total bill".
std::string plain_name(std::string_view name);
std::string singular(const std::string& word);
std::size_t edit_distance(std::string_view a, std::string_view b);

// Words of the grammar: only an exact match makes one of them a column.
bool is_reserved(const std::string& word);
// Words that carry no meaning for a table; never a column unless quoted.
bool is_filler(const std::string& word);

// A number as Python writes it: 5, 0.25.
std::string number_text(double number);

}  // namespace jailrun::agent::offline
