#include "agent/offline/words.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <set>

#include "agent/base/text.h"

namespace jailrun::agent::offline {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

const std::set<std::string, std::less<>> kFiller = {
    "a",       "all",     "also",  "an",     "and",       "any",     "answer", "are",    "as",
    "at",      "be",      "can",   "column", "columns",   "could",   "csv",    "data",   "dataset",
    "did",     "display", "do",    "does",   "file",      "find",    "for",    "from",   "get",
    "give",    "had",     "has",   "have",   "how",       "i",       "in",     "is",     "it",
    "its",     "let",     "like",  "list",   "look",      "made",    "make",   "me",     "my",
    "need",    "of",      "on",    "our",    "overall",   "please",  "print",  "result", "results",
    "s",       "see",     "set",   "show",   "some",      "table",   "tell",   "that",   "the",
    "their",   "them",    "there", "these",  "this",      "those",   "to",     "us",     "using",
    "want",    "was",     "we",    "were",   "what",      "when",    "where",  "which",  "who",
    "whose",   "with",    "would", "you",    "calculate", "compute", "create", "draw",   "entries",
    "showing", "records", "row",   "rows",   "record",    "entry",   "only",   "out"};

const std::set<std::string, std::less<>> kReserved = {
    "above",       "across",    "against",    "annual",       "average",     "avg",
    "bar",         "below",     "best",       "between",      "bottom",      "box",
    "boxplot",     "by",        "chart",      "common",       "correlate",   "correlated",
    "correlation", "count",     "counts",     "daily",        "day",         "days",
    "deviation",   "describe",  "different",  "distinct",     "distributed", "distribution",
    "each",        "equal",     "equals",     "every",        "fewest",      "first",
    "frequency",   "graph",     "greater",    "greatest",     "group",       "grouped",
    "heatmap",     "highest",   "histogram",  "largest",      "least",       "less",
    "line",        "lowest",    "many",       "max",          "maximum",     "mean",
    "median",      "min",       "minimum",    "missing",      "month",       "monthly",
    "months",      "more",      "most",       "no",           "not",         "null",
    "number",      "or",        "over",       "per",          "pie",         "plot",
    "quarter",     "quarterly", "quarters",   "relationship", "scatter",     "share",
    "smallest",    "spread",    "standard",   "std",          "sum",         "summarise",
    "summarize",   "summary",   "than",       "time",         "top",         "total",
    "trend",       "trends",    "under",      "unique",       "values",      "variance",
    "versus",      "visualise", "visualize",  "vs",           "week",        "weekly",
    "weeks",       "worst",     "year",       "yearly",       "years",       "yes",
    "true",        "false",     "since",      "before",       "after",       "during",
    "percentage",  "percent",   "proportion", "function",     "last",        "past",
    "previous",    "today",     "yesterday",  "hour",         "hours",       "current",
    "within"};

// The length of a number at `at`: digits with commas between thousands and a fraction; 0 for none.
std::size_t number_length(std::string_view text, std::size_t at) {
  std::size_t end = at;
  if (end < text.size() && text[end] == '-') ++end;
  if (end >= text.size() || !is_digit(text[end])) return 0;
  auto more = [&](std::size_t i) { return i + 1 < text.size() && is_digit(text[i + 1]); };
  bool fraction = false;
  while (end < text.size()) {
    if (is_digit(text[end]))
      ++end;
    else if (text[end] == '.' && !fraction && more(end))
      fraction = true, ++end;
    else if (text[end] == ',' && !fraction && end + 3 < text.size() && more(end))
      ++end;
    else
      break;
  }
  return end - at;
}

std::optional<double> to_number(std::string_view text) {
  static constexpr std::string_view kNames[] = {"zero", "one",   "two",   "three", "four", "five",
                                                "six",  "seven", "eight", "nine",  "ten"};
  for (std::size_t i = 0; i < std::size(kNames); ++i)
    if (text == kNames[i]) return static_cast<double>(i);
  std::string digits;
  for (char c : text)
    if (c != ',') digits += c;
  double value = 0;
  auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (failed != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

Word make_word(std::string_view raw) {
  Word word{lower(raw), std::string(raw), false, std::nullopt, false};
  word.number = to_number(word.text);
  return word;
}

// "2023-01-05" and "2023-01" are one word each.
std::size_t date_length(std::string_view text, std::size_t at) {
  auto shape = [&](std::string_view pattern) {
    if (at + pattern.size() > text.size()) return false;
    for (std::size_t i = 0; i < pattern.size(); ++i)
      if (pattern[i] == '0' ? !is_digit(text[at + i]) : text[at + i] != pattern[i]) return false;
    return at + pattern.size() == text.size() || !is_digit(text[at + pattern.size()]);
  };
  return shape("0000-00-00") ? 10 : shape("0000-00") ? 7 : 0;
}

}  // namespace

std::vector<Word> split_words(std::string_view question) {
  std::vector<Word> words;
  for (std::size_t at = 0; at < question.size();) {
    char c = question[at];
    if (c == '"' || c == '`' || (c == '\'' && (at == 0 || question[at - 1] == ' '))) {
      auto close = question.find(c, at + 1);
      if (close != std::string_view::npos) {
        words.push_back(make_word(question.substr(at + 1, close - at - 1)));
        words.back().quoted = true;
        words.back().number.reset();
        at = close + 1;
        continue;
      }
    }
    std::size_t length = 0;
    if (std::string_view("<>=!").find(c) != std::string_view::npos) {
      length = at + 1 < question.size() && question[at + 1] == '=' ? 2 : 1;
      if (c == '<' && at + 1 < question.size() && question[at + 1] == '>') length = 2;
    } else if (is_digit(c) || (c == '-' && (at == 0 || question[at - 1] == ' '))) {
      length = date_length(question, at);
      if (length == 0) length = number_length(question, at);
    }
    if (length == 0 && (is_letter(c) || is_digit(c)))
      while (at + length < question.size() &&
             (is_letter(question[at + length]) || is_digit(question[at + length])))
        ++length;
    if (length > 0) words.push_back(make_word(question.substr(at, length)));
    at += std::max<std::size_t>(length, 1);
  }
  return words;
}

std::string plain_name(std::string_view name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    char c = name[i];
    bool upper = c >= 'A' && c <= 'Z';
    bool after_lower = i > 0 && name[i - 1] >= 'a' && name[i - 1] <= 'z';
    bool keep = (is_letter(c) && c != '_') || is_digit(c);
    if ((!keep || (upper && after_lower)) && !out.empty() && out.back() != ' ') out += ' ';
    if (keep) out += c;
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return lower(out);
}

std::string singular(const std::string& word) {
  auto ends = [&](std::string_view end) {
    return word.size() > end.size() + 2 && word.ends_with(end);
  };
  if (ends("ies")) return word.substr(0, word.size() - 3) + "y";
  if (ends("sses") || ends("xes") || ends("ches") || ends("shes"))
    return word.substr(0, word.size() - 2);
  if (ends("s") && !ends("ss")) return word.substr(0, word.size() - 1);
  return word;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

bool is_reserved(const std::string& word) {
  return kReserved.contains(word) || kFiller.contains(word);
}
bool is_filler(const std::string& word) { return kFiller.contains(word); }

std::string number_text(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.15g", number);
  return text;
}

}  // namespace jailrun::agent::offline
