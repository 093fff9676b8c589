#include "agent/offline/columns.h"

#include <algorithm>
#include <array>

#include "agent/base/text.h"

namespace jailrun::agent::offline {
namespace {

constexpr std::size_t kLongestSpan = 5;

std::string join(const std::vector<Word>& words, std::size_t begin, std::size_t end) {
  std::string out;
  for (std::size_t i = begin; i < end; ++i)
    out += (i > begin ? " " : "") + plain_name(words[i].raw);
  return out;
}

std::string squeeze(const std::string& name) {
  std::string out;
  for (char c : name)
    if (c != ' ') out += c;
  return out;
}

std::string singular_all(const std::string& name) {
  std::string out, word;
  for (char c : name + " ") {
    if (c != ' ')
      word += c;
    else
      out += (out.empty() ? "" : " ") + singular(std::exchange(word, ""));
  }
  return out;
}

// "sunday" and "sundays" mean the value "Sun", "january" means "Jan".
bool is_short_form(const std::string& value, const std::string& word) {
  static constexpr std::array<std::string_view, 19> kLong = {
      "monday",  "tuesday",   "wednesday", "thursday", "friday",  "saturday", "sunday",
      "january", "february",  "march",     "april",    "may",     "june",     "july",
      "august",  "september", "october",   "november", "december"};
  if (value.size() < 3 || value.size() > 5) return false;
  for (auto full : kLong)
    if (full.starts_with(lower(value)) && (word == full || singular(word) == full)) return true;
  return false;
}

bool same_value(const std::string& value, const std::string& span) {
  auto plain = plain_name(value);
  if (plain.empty()) return lower(value) == span;
  return plain == span || singular_all(plain) == singular_all(span) || is_short_form(value, span);
}

bool exact(const std::string& name, const std::string& span) {
  return name == span || squeeze(name) == squeeze(span) || singular_all(name) == singular_all(span);
}

bool partial(const std::string& name, const std::string& span) {
  if (span.size() < 3) return false;
  return (" " + singular_all(name) + " ").find(" " + singular_all(span) + " ") != std::string::npos;
}

// "life expectancy" is "life exp", "population" is "pop".
bool abbreviated(const std::string& name, const std::string& span) {
  std::size_t n = 0, s = 0;
  bool shorter = false;
  while (n < name.size() && s < span.size()) {
    auto name_end = std::min(name.find(' ', n), name.size());
    auto span_end = std::min(span.find(' ', s), span.size());
    std::string_view part(name.data() + n, name_end - n), whole(span.data() + s, span_end - s);
    if (!whole.starts_with(part)) return false;
    if (part != whole && (part.size() < 3 || whole.size() < 5)) return false;
    shorter = shorter || part != whole;
    n = name_end + 1;
    s = span_end + 1;
  }
  return shorter && n > name.size() && s > span.size();
}

bool misspelt(const std::string& name, const std::string& span) {
  if (span.size() < 5 || name.size() < 5) return false;
  return edit_distance(name, span) <= (span.size() >= 8 ? 2U : 1U);
}

class Finder {
 public:
  Finder(const std::vector<Word>& words, const DataTable& table) : words_(words), table_(table) {
    for (const auto& column : table.columns) names_.push_back(plain_name(column.name));
  }

  std::vector<Mention> run() {
    pass([&](auto begin, auto end, const auto& span) {
      return name_mention(begin, end, span, exact, false);
    });
    pass([&](auto begin, auto end, const auto& span) { return value_mention(begin, end, span); });
    pass([&](auto begin, auto end, const auto& span) {
      return name_mention(begin, end, span, abbreviated, true);
    });
    pass([&](auto begin, auto end, const auto& span) {
      return name_mention(begin, end, span, partial, true);
    });
    pass([&](auto begin, auto end, const auto& span) {
      return name_mention(begin, end, span, misspelt, true);
    });
    std::sort(found_.begin(), found_.end(),
              [](const auto& a, const auto& b) { return a.begin < b.begin; });
    return std::move(found_);
  }

 private:
  template <typename Match>
  void pass(Match match) {
    for (std::size_t length = std::min(kLongestSpan, words_.size()); length > 0; --length)
      for (std::size_t begin = 0; begin + length <= words_.size(); ++begin)
        if (is_free(begin, begin + length))
          if (auto mention = match(begin, begin + length, join(words_, begin, begin + length)))
            found_.push_back(*mention);
  }

  bool is_free(std::size_t begin, std::size_t end) const {
    return std::none_of(found_.begin(), found_.end(),
                        [&](const auto& other) { return begin < other.end && other.begin < end; });
  }

  // The grammar's own words are columns only by their exact name, and fillers only in quotes or
  // beside other words of a name.
  bool may_be_name(std::size_t begin, std::size_t end, bool guess) const {
    if (words_[begin].quoted) return true;
    if (words_[begin].number && end - begin == 1) return false;
    // "how many orders" asks for rows, whatever column "order_date" is.
    if (guess && begin > 1 &&
        (words_[begin - 1].text == "many" || words_[begin - 1].text == "of") &&
        (words_[begin - 1].text == "many" || words_[begin - 2].text == "number" ||
         words_[begin - 2].text == "count"))
      return false;
    for (std::size_t i = begin; i < end; ++i) {
      if (plain_name(words_[i].raw).empty()) return false;  // an operator
      if (guess && is_reserved(words_[i].text)) return false;
      if (end - begin == 1 && is_filler(words_[i].text)) return false;
      if (end - begin > 1 && (i == begin || i + 1 == end) && is_filler(words_[i].text))
        return false;
    }
    return true;
  }

  std::optional<Mention> name_mention(std::size_t begin, std::size_t end, const std::string& span,
                                      bool (*match)(const std::string&, const std::string&),
                                      bool guess) const {
    if (!may_be_name(begin, end, guess) || span.empty()) return std::nullopt;
    std::optional<std::size_t> best;
    int fits = 0;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (names_[i].empty() || !match(names_[i], span)) continue;
      if (names_[i] == span) return Mention{begin, end, i, {}, false, false};
      if (!best) best = i;
      ++fits;
    }
    if (fits != 1) return std::nullopt;
    return Mention{begin, end, *best, {}, guess, false};
  }

  std::optional<Mention> value_mention(std::size_t begin, std::size_t end,
                                       const std::string& span) const {
    bool quoted = words_[begin].quoted;
    for (std::size_t i = begin; i < end; ++i)
      if (!quoted && (words_[i].number || (end - begin == 1 && is_reserved(words_[i].text))))
        return std::nullopt;
    std::optional<Mention> found;
    for (std::size_t i = 0; i < table_.columns.size(); ++i) {
      if (table_.columns[i].kind != Kind::Text) continue;
      for (const auto& value : table_.columns[i].values) {
        if (!same_value(value, span)) continue;
        if (found && found->column != i) return std::nullopt;  // which column is not said
        if (!found) found = Mention{begin, end, i, value, false, false};
      }
    }
    return found;
  }

  const std::vector<Word>& words_;
  const DataTable& table_;
  std::vector<std::string> names_;
  std::vector<Mention> found_;
};

}  // namespace

std::vector<Mention> find_mentions(const std::vector<Word>& words, const DataTable& table) {
  return Finder(words, table).run();
}

std::optional<ValueMatch> match_value(const std::vector<Word>& words, std::size_t begin,
                                      const DataColumn& column) {
  for (std::size_t length = std::min(kLongestSpan, words.size() - begin); length > 0; --length) {
    auto span = join(words, begin, begin + length);
    for (const auto& value : column.values)
      if (same_value(value, span)) return ValueMatch{value, length};
    if (length == 1 && words[begin].quoted) return ValueMatch{words[begin].raw, 1};
  }
  return std::nullopt;
}

}  // namespace jailrun::agent::offline
