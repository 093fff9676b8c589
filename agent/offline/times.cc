#include "agent/offline/times.h"

#include <array>
#include <cstdio>

#include "agent/base/text.h"
#include "agent/offline/reader.h"

namespace jailrun::agent::offline {
namespace {

using namespace std::chrono;

constexpr std::array<std::string_view, 12> kMonths{"january",   "february", "march",    "april",
                                                   "may",       "june",     "july",     "august",
                                                   "september", "october",  "november", "december"};

std::optional<unsigned> digits(std::string_view text, std::size_t at, std::size_t count) {
  unsigned out = 0;
  if (at + count > text.size()) return std::nullopt;
  for (char c : text.substr(at, count)) {
    if (c < '0' || c > '9') return std::nullopt;
    out = out * 10 + static_cast<unsigned>(c - '0');
  }
  return out;
}

// The end of a month stays one: a month before 31 March is 28 or 29 February.
sys_days moved(sys_days day, months by) {
  auto date = year_month_day(day) + by;
  if (!date.ok()) date = date.year() / date.month() / last;
  return date;
}

unsigned months_in(char unit) { return unit == 'Y' ? 12 : unit == 'Q' ? 3 : 1; }

// 1 to 12; "mar" counts, "ma" does not.
unsigned month_named(const Word& word) {
  for (unsigned i = 0; i < kMonths.size(); ++i)
    if (!word.quoted && (word.text == kMonths[i] || word.text == kMonths[i].substr(0, 3)))
      return i + 1;
  return 0;
}

char unit_named(const std::string& word) {
  for (auto [name, unit] : {std::pair{"hour", 'H'},
                            {"day", 'D'},
                            {"week", 'W'},
                            {"month", 'M'},
                            {"quarter", 'Q'},
                            {"year", 'Y'}})
    if (singular(word) == name) return unit;
  return 0;
}

std::optional<int> whole_year(const Reader& reader, std::size_t at) {
  if (!reader.has_free(at) || reader.words[at].quoted || !reader.words[at].number) return {};
  const double number = *reader.words[at].number;
  if (reader.words[at].text.size() != 4 || number < 1500 || number > 2500) return {};
  return static_cast<int>(number);
}

struct Found {
  Span span;
  std::size_t end = 0;   // of its words
  bool counted = false;  // from now
};

bool is_any(const Reader& reader, std::size_t at, std::initializer_list<std::string_view> texts) {
  for (const auto text : texts)
    if (reader.is(at, text)) return true;
  return false;
}

// "last week", "this month", "previous quarter", "past 24 hours", "last 3 months", "past year".
std::optional<Found> counted_from(const Reader& reader, std::size_t at, Moment now) {
  if (reader.is(at, "today")) return Found{whole_unit('D', now, 0), at + 1, true};
  if (reader.is(at, "yesterday")) return Found{whole_unit('D', now, -1), at + 1, true};
  const bool past = reader.is(at, "past"), current = is_any(reader, at, {"this", "current"});
  if (!past && !current && !is_any(reader, at, {"last", "previous"})) return {};
  std::size_t next = at + 1;
  unsigned count = 0;
  if (reader.has_free(next) && reader.words[next].number) {
    const double number = *reader.words[next++].number;
    if (current || number < 1 || number > 10000 || number != static_cast<unsigned>(number))
      return {};
    count = static_cast<unsigned>(number);
  }
  if (!reader.has_free(next) || reader.words[next].quoted) return {};
  const char unit = unit_named(reader.words[next].text);
  if (unit == 0 || (unit == 'H' && count == 0 && !past)) return {};
  if (count > 0 || past) return Found{rolling(unit, now, count == 0 ? 1 : count), next + 1, true};
  return Found{whole_unit(unit, now, current ? 0 : -1), next + 1, true};
}

// "in March 2023", "during Q1 2023"; without a year it might be any.
std::optional<Found> named(const Reader& reader, std::size_t at) {
  if (!is_any(reader, at, {"in", "during", "for", "of"}) || !reader.has_free(at + 1)) return {};
  const Word& word = reader.words[at + 1];
  const auto of_year = whole_year(reader, at + 2);
  if (!of_year) return {};
  const auto first = [&](unsigned month) { return sys_days(year(*of_year) / month / 1); };
  if (const unsigned month = month_named(word); month > 0)
    return Found{whole_unit('M', first(month), 0), at + 3, false};
  if (word.text.size() == 2 && word.text[0] == 'q' && word.text[1] >= '1' && word.text[1] <= '4')
    return Found{whole_unit('Q', first(static_cast<unsigned>(word.text[1] - '0') * 3), 0), at + 3,
                 false};
  return {};
}

}  // namespace

std::optional<Moment> parse_moment(std::string_view text) {
  const auto y = digits(text, 0, 4), m = digits(text, 5, 2), d = digits(text, 8, 2);
  if (!y || !m || !d || text[4] != '-' || text[7] != '-') return {};
  const auto date = year(static_cast<int>(*y)) / month(*m) / day(*d);
  if (!date.ok()) return {};
  Moment out = sys_days(date);
  if (text.size() < 19 || (text[10] != ' ' && text[10] != 'T')) return out;
  const auto hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  if (!hour || !minute || !second) return out;
  return out + hours(*hour) + minutes(*minute) + seconds(*second);
}

std::string moment_text(Moment moment) {
  const auto day = floor<days>(moment);
  const year_month_day date(day);
  const hh_mm_ss time(moment - day);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02u", int(date.year()),
                unsigned(date.month()), unsigned(date.day()));
  std::string out = text.data();
  if (moment == day) return out;
  std::snprintf(text.data(), text.size(), " %02d:%02d:%02d", int(time.hours().count()),
                int(time.minutes().count()), int(time.seconds().count()));
  return out + text.data();
}

Span whole_unit(char unit, Moment at, int steps) {
  const auto day = floor<days>(at);
  if (unit == 'D') return {day + days(steps), day + days(steps + 1)};
  if (unit == 'W') {
    const auto monday = day - (weekday(day) - Monday) + weeks(steps);
    return {monday, monday + weeks(1)};
  }
  const year_month_day date(day);
  const unsigned length = months_in(unit), month = (unsigned(date.month()) - 1) / length * length;
  const sys_days first = date.year() / (month + 1) / 1;
  const auto from = moved(first, months(steps * static_cast<int>(length)));
  return {from, moved(from, months(length))};
}

Span rolling(char unit, Moment now, unsigned count) {
  const Moment to = now + seconds(1);  // now itself is in it
  if (unit == 'H') return {to - hours(count), to};
  if (unit == 'D') return {to - days(count), to};
  if (unit == 'W') return {to - weeks(count), to};
  const auto day = floor<days>(now);
  const auto by = months(static_cast<int>(count * months_in(unit)));
  return {moved(day, -by) + (now - day) + seconds(1), to};
}

void read_times(Reader& reader, std::size_t date, std::string_view as_of) {
  const DataColumn& column = reader.column(date);
  const bool own = as_of.empty();
  const auto now = parse_moment(own ? std::string_view(column.max) : as_of);
  for (std::size_t at = 0; at < reader.words.size(); ++at) {
    auto found = named(reader, at);
    if (!found && now) found = counted_from(reader, at, *now);
    if (!found) continue;
    std::string said;
    for (std::size_t i = at; i < found->end; ++i)
      said += (said.empty() ? "" : " ") + reader.words[i].raw;
    const auto from = moment_text(found->span.from), to = moment_text(found->span.to);
    reader.query.conditions.push_back({date, ">=", {}, {python_string(from)}});
    reader.query.conditions.push_back({date, "<", {}, {python_string(to)}});
    std::size_t begin = at;  // "over the last week": no comparison, no group
    if (begin > 0 && reader.is(begin - 1, "the")) --begin;
    if (begin > 0 && is_any(reader, begin - 1, {"over", "during", "within"})) --begin;
    reader.use(begin, found->end);
    // "created last week", "created in the last week": the column that is compared.
    while (begin > 0 && is_any(reader, begin - 1, {"in", "on", "was", "were", "is", "the"}))
      --begin;
    for (Mention& mention : reader.mentions)
      if (mention.end == begin && mention.column == date && !mention.value && !mention.taken)
        reader.take(mention);
    if (found->counted)
      reader.note("took \"" + said + "\" to be " + column.name + " from " + from +
                  " until before " + to + ", counted from " + moment_text(*now) +
                  (own ? ", the last that the data have" : ", the date of the data set"));
  }
}

}  // namespace jailrun::agent::offline
