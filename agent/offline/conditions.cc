#include "agent/base/text.h"
#include "agent/offline/reader.h"

namespace jailrun::agent::offline {
namespace {

struct Comparison {
  std::string_view phrase, op;
};

// Longer phrases first.
constexpr Comparison kComparisons[] = {
    {"greater than or equal to", ">="},
    {"less than or equal to", "<="},
    {"is not equal to", "!="},
    {"not equal to", "!="},
    {"no more than", "<="},
    {"no less than", ">="},
    {"greater than", ">"},
    {"more than", ">"},
    {"larger than", ">"},
    {"higher than", ">"},
    {"bigger than", ">"},
    {"older than", ">"},
    {"later than", ">"},
    {"less than", "<"},
    {"smaller than", "<"},
    {"lower than", "<"},
    {"fewer than", "<"},
    {"younger than", "<"},
    {"earlier than", "<"},
    {"at least", ">="},
    {"at most", "<="},
    {"equal to", "=="},
    {"equals", "=="},
    {"is not", "!="},
    {"over", ">"},
    {"above", ">"},
    {"exceeding", ">"},
    {"exceeds", ">"},
    {"after", ">"},
    {"under", "<"},
    {"below", "<"},
    {"before", "<"},
    {"since", ">="},
    {"not", "!="},
    {">=", ">="},
    {"<=", "<="},
    {"!=", "!="},
    {"<>", "!="},
    {">", ">"},
    {"<", "<"},
};

std::size_t words_in(std::string_view phrase) {
  std::size_t count = 1;
  for (char c : phrase) count += c == ' ' ? 1 : 0;
  return count;
}

bool phrase_at(const Reader& reader, std::size_t at, std::string_view phrase) {
  for (std::size_t i = at; !phrase.empty(); ++i) {
    auto space = phrase.find(' ');
    if (!reader.is(i, phrase.substr(0, space))) return false;
    phrase = space == std::string_view::npos ? "" : phrase.substr(space + 1);
  }
  return true;
}

bool is_be(const Reader& reader, std::size_t at) {
  for (std::string_view be : {"is", "are", "was", "were", "be", "=", "==", "of", "in", "on"})
    if (reader.is(at, be)) return true;
  return false;
}

bool is_date_word(const std::string& text) {
  return text.size() == 10 && text[4] == '-' && text[7] == '-';
}

bool is_year(const Word& word) {
  return word.number && word.text.size() == 4 && *word.number >= 1500 && *word.number <= 2500;
}

// What comparing a date with a whole year means: after 2023 is from 2024 on.
void widen_year(std::string& op, std::string& bound) {
  if (bound.size() != 6 || (op != ">" && op != "<=")) return;  // "2023" in its quotes
  bound = python_string(std::to_string(std::stoi(bound.substr(1, 4)) + 1));
  op = op == ">" ? ">=" : "<";
}

// A literal that the column can be compared with, from the word at `at`.
std::optional<std::string> literal(const Reader& reader, std::size_t at, const DataColumn& column) {
  if (at >= reader.words.size() || reader.words[at].used) return std::nullopt;
  const Word& word = reader.words[at];
  if (column.kind == Kind::Number && word.number) return number_text(*word.number);
  if (column.kind == Kind::Date && (is_date_word(word.text) || is_year(word)))
    return python_string(word.raw);
  return std::nullopt;
}

bool keep(Reader& reader, Mention& mention, std::size_t end, Condition condition) {
  if (condition.bounds.size() == 1 && reader.column(mention.column).kind == Kind::Date)
    widen_year(condition.op, condition.bounds[0]);
  condition.column = reader.take(mention);
  reader.use(mention.begin, end);
  reader.query.conditions.push_back(std::move(condition));
  return true;
}

bool read_between(Reader& reader, Mention& mention, std::size_t at) {
  const DataColumn& column = reader.column(mention.column);
  if (!reader.is(at, "between") || !(reader.is(at + 2, "and") || reader.is(at + 2, "to")))
    return false;
  auto low = literal(reader, at + 1, column), high = literal(reader, at + 3, column);
  return low && high && keep(reader, mention, at + 4, {0, "between", {}, {*low, *high}});
}

// More values of the same column: "Sat or Sun", "Sat and Sun".
std::size_t read_alternatives(Reader& reader, std::size_t at, const DataColumn& column,
                              std::vector<std::string>& values) {
  while (reader.is(at, "or") || reader.is(at, "and")) {
    if (at + 1 >= reader.words.size()) break;
    auto more = match_value(reader.words, at + 1, column);
    if (!more) break;
    for (std::size_t i = at + 1; i < at + 1 + more->words; ++i)
      if (Mention* mention = reader.mention_from(i)) mention->taken = true;
    values.push_back(more->value);
    at += 1 + more->words;
  }
  return at;
}

bool read_equal(Reader& reader, Mention& mention, std::size_t at, const std::string& op) {
  const DataColumn& column = reader.column(mention.column);
  if (at >= reader.words.size() || reader.words[at].used) return false;
  if (auto number = literal(reader, at, column))
    return keep(reader, mention, at + 1, {0, op == "!=" ? "!=" : "==", {}, {*number}});
  if (column.kind == Kind::Number || column.kind == Kind::Date) return false;
  auto match = match_value(reader.words, at, column);
  if (!match && column.kind == Kind::Bool) {
    std::string_view text = reader.words[at].text;
    if (text == "yes" || text == "true") match = ValueMatch{"true", 1};
    if (text == "no" || text == "false") match = ValueMatch{"false", 1};
  }
  if (!match) return false;
  for (std::size_t i = at; i < at + match->words; ++i)
    if (Mention* other = reader.mention_from(i)) other->taken = true;
  std::vector<std::string> values{match->value};
  auto end = read_alternatives(reader, at + match->words, column, values);
  return keep(reader, mention, end, {0, op == "!=" ? "!=" : "==", values, {}});
}

// "tip > 5", "tip is more than 5", "sex female", "sex is not female", "day in Sat or Sun".
bool read_comparison(Reader& reader, Mention& mention) {
  std::size_t at = mention.end;
  if (read_between(reader, mention, at)) return true;
  for (std::size_t start : {at, is_be(reader, at) ? at + 1 : at}) {
    if (read_between(reader, mention, start)) return true;
    for (const auto& known : kComparisons) {
      if (!phrase_at(reader, start, known.phrase)) continue;
      std::size_t value = start + words_in(known.phrase);
      // "sales after 2023" compares a date, not sales.
      bool of_time = known.phrase == "after" || known.phrase == "before" || known.phrase == "since";
      if (of_time && reader.column(mention.column).kind == Kind::Number) return false;
      if (known.op == "==" || known.op == "!=")
        return read_equal(reader, mention, value, std::string(known.op));
      auto bound = literal(reader, value, reader.column(mention.column));
      return bound && keep(reader, mention, value + 1, {0, std::string(known.op), {}, {*bound}});
    }
  }
  bool be = is_be(reader, at);
  bool equals =
      reader.is(at, "is") || reader.is(at, "are") || reader.is(at, "=") || reader.is(at, "==");
  // A number straight behind a name is no condition: "tip 5" might mean anything.
  if (reader.column(mention.column).kind == Kind::Number && !equals) return false;
  return read_equal(reader, mention, be ? at + 1 : at, "==");
}

// "survived passengers": a yes-or-no column behind where, who, that, with, only, not.
bool read_flag(Reader& reader, Mention& mention) {
  if (reader.column(mention.column).kind != Kind::Bool || mention.begin == 0) return false;
  std::size_t before = mention.begin - 1;
  bool negated = reader.is(before, "not");
  if (negated) {
    reader.use(before, before + 1);
    if (before > 0 && is_be(reader, before - 1)) reader.use(before - 1, before);
  }
  bool said = negated;
  for (std::string_view word : {"where", "who", "that", "with", "only", "were", "are", "is"})
    said = said || reader.is(before, word);
  return said && keep(reader, mention, mention.end, {0, "==", {negated ? "false" : "true"}, {}});
}

// A value alone ("for female", "on sunday"), or followed by its column ("female sex").
void read_value(Reader& reader, Mention& mention) {
  std::vector<std::string> values{*mention.value};
  std::size_t begin = mention.begin;
  std::string op = "==";
  if (begin > 0 && (reader.is(begin - 1, "not") || reader.is(begin - 1, "non"))) {
    reader.use(begin - 1, begin);
    op = "!=";
  }
  auto end = read_alternatives(reader, mention.end, reader.column(mention.column), values);
  if (Mention* next = reader.mention_from(end);
      next != nullptr && !next->value && next->column == mention.column) {
    next->taken = true;
    end = next->end;
  }
  keep(reader, mention, end, {0, op, values, {}});
}

// The first column of dates, or else one of whole years.
std::optional<std::size_t> date_column(const Reader& reader) {
  std::optional<std::size_t> years;
  for (std::size_t i = 0; i < reader.table.columns.size(); ++i) {
    if (reader.column(i).kind == Kind::Date) return i;
    if (reader.column(i).kind == Kind::Number && plain_name(reader.column(i).name) == "year")
      years = i;
  }
  return years;
}

// "in 2023", "since 2023", "before 2023-05-01".
void read_bare_dates(Reader& reader) {
  auto date = date_column(reader);
  if (!date) return;
  bool whole_years = reader.column(*date).kind == Kind::Number;
  for (std::size_t at = 1; at < reader.words.size(); ++at) {
    if (!reader.has_free(at)) continue;
    const Word& word = reader.words[at];
    bool year = is_year(word);
    if (!year && !is_date_word(word.text)) continue;
    struct Preposition {
      std::string_view word, op;
    };
    for (auto [word_before, op] : {Preposition{"since", ">="},
                                   {"after", ">"},
                                   {"before", "<"},
                                   {"in", "year"},
                                   {"during", "year"},
                                   {"for", "year"},
                                   {"of", "year"}}) {
      if (!reader.is(at - 1, word_before) || (op == "year" && !year)) continue;
      std::string bound = op == "year" ? word.raw : python_string(word.raw), comparison(op);
      if (whole_years) {
        if (!year) break;
        comparison = op == "year" ? "==" : op;
        bound = word.raw;
      } else {
        widen_year(comparison, bound);
      }
      reader.query.conditions.push_back({*date, comparison, {}, {bound}});
      reader.use(at - 1, at + 1);
      break;
    }
  }
}

}  // namespace

void read_conditions(Reader& reader, std::string_view as_of) {
  for (auto& mention : reader.mentions) {
    if (mention.taken) continue;
    if (mention.value)
      read_value(reader, mention);
    else if (!read_comparison(reader, mention))
      read_flag(reader, mention);
  }
  if (const auto date = date_column(reader); date && reader.column(*date).kind == Kind::Date)
    read_times(reader, *date, as_of);
  read_bare_dates(reader);
}

}  // namespace jailrun::agent::offline
