// Reader: a question being understood. Each part takes the words it has a meaning for.
#pragma once

#include <initializer_list>

#include "agent/offline/question.h"

namespace jailrun::agent::offline {

struct Reader {
  const DataTable& table;
  std::vector<Word> words;
  std::vector<Mention> mentions;
  Query query;

  Reader(std::string_view question, const DataTable& of)
      : table(of), words(split_words(question)), mentions(find_mentions(words, of)) {}

  // Whether the word at `at` is `text`, not understood yet and no part of a column's name.
  bool is(std::size_t at, std::string_view text) const;
  // Takes the first of the phrases ("how many") found anywhere; the place behind it, or 0.
  std::size_t take(std::initializer_list<std::string_view> phrases);
  bool has_free(std::size_t at) const {
    return at < words.size() && !words[at].used && !mention_at(at);
  }

  bool understood(std::size_t at) const {
    return at < words.size() && words[at].used && !mention_at(at);
  }

  const Mention* mention_at(std::size_t at) const;
  Mention* mention_from(std::size_t at);  // that begins there and is not taken yet
  void use(std::size_t begin, std::size_t end);
  std::size_t take(Mention& mention);  // marks it; gives its column
  const DataColumn& column(std::size_t index) const { return table.columns[index]; }
  void note(std::string text) { query.notes.push_back(std::move(text)); }
};

// What the words of the grammar said, before it is decided what they mean together.
struct Asked {
  bool correlation = false, distribution = false, values = false, missing = false, summary = false;
  bool top = false, superlative = false, rows = false, trend = false, over = false;
  std::size_t superlative_at = 0;
  char unit = 0;
};

// Takes "tip > 5", "with sex female", "on sunday", "between 3 and 7", "in 2023", "who survived".
// `as_of`: what "last week" is counted from; empty: the latest date of the column.
void read_conditions(Reader& reader, std::string_view as_of);
// The part of it that reads time words (times.cc), about the column `date`.
void read_times(Reader& reader, std::size_t date, std::string_view as_of);

// Decides what all that was taken means together.
std::expected<Query, std::string> decide(Reader& reader, const Asked& asked);

}  // namespace jailrun::agent::offline
