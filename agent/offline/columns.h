// Where a question speaks of a column or of a value in one.
#pragma once

#include "agent/data/data.h"
#include "agent/offline/words.h"

namespace jailrun::agent::offline {

struct Mention {
  std::size_t begin = 0, end = 0;  // words
  std::size_t column = 0;
  std::optional<std::string> value;  // of that column, as the data spells it
  bool guessed = false;              // part of the name, or misspelt
  bool taken = false;                // already has its place in the query
};

// All mentions, in order, none overlapping; exact names first, then values that only one column
// has, then parts of names, then misspellings, each only where just one column fits.
std::vector<Mention> find_mentions(const std::vector<Word>& words, const DataTable& table);

// The value of `column` that the words from `begin` on name, and how many words that takes.
struct ValueMatch {
  std::string value;
  std::size_t words = 0;
};
std::optional<ValueMatch> match_value(const std::vector<Word>& words, std::size_t begin,
                                      const DataColumn& column);

}  // namespace jailrun::agent::offline
