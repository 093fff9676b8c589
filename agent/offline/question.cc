#include "agent/offline/question.h"

#include <algorithm>
#include <array>

#include "agent/offline/reader.h"

namespace jailrun::agent::offline {

bool Reader::is(std::size_t at, std::string_view text) const {
  return has_free(at) && !words[at].quoted && words[at].text == text;
}

const Mention* Reader::mention_at(std::size_t at) const {
  for (const auto& mention : mentions)
    if (mention.begin <= at && at < mention.end) return &mention;
  return nullptr;
}

Mention* Reader::mention_from(std::size_t at) {
  for (auto& mention : mentions)
    if (mention.begin == at && !mention.taken) return &mention;
  return nullptr;
}

void Reader::use(std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end && i < words.size(); ++i) words[i].used = true;
}

std::size_t Reader::take(Mention& mention) {
  mention.taken = true;
  use(mention.begin, mention.end);
  if (mention.guessed) {
    std::string said;
    for (std::size_t i = mention.begin; i < mention.end; ++i)
      said += (said.empty() ? "" : " ") + words[i].raw;
    note("took \"" + said + "\" to mean the column " + column(mention.column).name);
  }
  return mention.column;
}

std::size_t Reader::take(std::initializer_list<std::string_view> phrases) {
  for (std::string_view phrase : phrases)
    for (std::size_t at = 0; at < words.size(); ++at) {
      std::size_t i = at;
      std::string_view rest = phrase;
      while (!rest.empty()) {
        auto space = rest.find(' ');
        if (!is(i, rest.substr(0, space))) break;
        ++i;
        rest = space == std::string_view::npos ? "" : rest.substr(space + 1);
      }
      if (!rest.empty()) continue;
      use(at, i);
      return i;
    }
  return 0;
}

namespace {

using Read = std::expected<Query, std::string>;

void read_aggregate(Reader& reader) {
  struct Name {
    std::initializer_list<std::string_view> words;
    const char* pandas;
  };
  static const std::array<Name, 9> kNames{{
      {{"number of distinct", "number of different", "number of unique", "how many distinct",
        "how many different", "how many unique"},
       "nunique"},
      {{"how many", "number of", "count of", "counts of", "count", "counts"}, "count"},
      {{"standard deviation", "std"}, "std"},
      {{"variance"}, "var"},
      {{"mean", "average", "avg"}, "mean"},
      {{"median"}, "median"},
      {{"sum of", "total of", "sum", "total"}, "sum"},
      {{"minimum", "min"}, "min"},
      {{"maximum", "max"}, "max"},
  }};
  for (const auto& name : kNames) {
    std::size_t behind = reader.take(name.words);
    if (behind == 0) continue;
    reader.query.aggregate = name.pandas;
    // "how many orders": a noun that is no column can only be what a row stands for.
    bool noun = std::string_view(name.pandas) == "count" && reader.has_free(behind) &&
                !is_reserved(reader.words[behind].text) && !reader.words[behind].number;
    if (noun) {
      reader.note("took each row to be one of the " + reader.words[behind].raw);
      reader.use(behind, behind + 1);
    }
    return;
  }
}

void read_top(Reader& reader, Asked& asked) {
  struct Word {
    std::string_view text;
    bool smallest;
  };
  for (auto [text, smallest] : {Word{"top", false},
                                {"bottom", true},
                                {"highest", false},
                                {"largest", false},
                                {"biggest", false},
                                {"greatest", false},
                                {"best", false},
                                {"most", false},
                                {"lowest", true},
                                {"smallest", true},
                                {"worst", true},
                                {"least", true},
                                {"fewest", true}}) {
    if (text == "most" && reader.take({"most common", "most frequent"}) > 0) {
      asked.values = true;
      return;
    }
    std::size_t at = reader.take({text});
    if (at == 0) continue;
    asked.top = true;
    asked.superlative = text != "top" && text != "bottom";
    asked.superlative_at = at - 1;
    reader.query.smallest = smallest;
    for (std::size_t near : {at, at >= 2 ? at - 2 : at})  // "top 5", "5 highest"
      if (reader.has_free(near) && reader.words[near].number && *reader.words[near].number >= 1 &&
          *reader.words[near].number <= 1000) {
        reader.query.n = static_cast<std::size_t>(*reader.words[near].number);
        reader.use(near, near + 1);
        break;
      }
    return;
  }
}

void read_unit(Reader& reader, Asked& asked) {
  struct Unit {
    std::initializer_list<std::string_view> words;
    char unit;
  };
  static const std::array<Unit, 5> kUnits{{
      {{"by month", "per month", "each month", "every month", "over months", "monthly",
        "month by month", "across months", "month"},
       'M'},
      {{"by quarter", "per quarter", "each quarter", "every quarter", "quarterly", "quarter"}, 'Q'},
      {{"by year", "per year", "each year", "every year", "over the years", "over years", "yearly",
        "annual", "annually", "year"},
       'Y'},
      {{"by week", "per week", "each week", "every week", "weekly", "week"}, 'W'},
      {{"by day", "per day", "each day", "every day", "daily"}, 'D'},
  }};
  for (const auto& known : kUnits)
    if (asked.unit == 0 && reader.take(known.words) > 0) asked.unit = known.unit;
  if (reader.take({"trend of", "trends of", "trends in", "trend in", "trends", "trend"}) > 0)
    asked.trend = true;
  if (reader.take({"over time", "through time", "time series", "with time"}) > 0)
    asked.trend = true;
}

void read_chart(Reader& reader, Asked& asked) {
  struct Chart {
    std::initializer_list<std::string_view> words;
    const char* name;
  };
  static const std::array<Chart, 8> kCharts{{
      {{"histogram of", "histogram"}, "hist"},
      {{"scatter plot", "scatter chart", "scatterplot", "scatter"}, "scatter"},
      {{"box plot", "boxplot", "box"}, "box"},
      {{"bar chart", "bar plot", "bar graph", "bars", "bar"}, "bar"},
      {{"line chart", "line plot", "line graph", "line"}, "line"},
      {{"pie chart", "pie"}, "pie"},
      {{"heatmap", "heat map"}, "heat"},
      {{"plot", "chart", "graph", "visualise", "visualize"}, "any"},
  }};
  for (const auto& chart : kCharts)
    if (reader.query.chart.empty() && reader.take(chart.words) > 0) reader.query.chart = chart.name;
  reader.take({"plot", "chart", "graph"});
  if (reader.query.chart == "hist" || reader.query.chart == "box") asked.distribution = true;
}

void read_words(Reader& reader, Asked& asked) {
  if (reader.take({"correlation between", "correlations between", "correlation", "correlations",
                   "correlate", "correlated", "relationship between", "relationship"}) > 0)
    asked.correlation = true;
  if (reader.take({"missing values", "missing value", "null values", "missing", "nulls", "null",
                   "nan"}) > 0)
    asked.missing = true;
  if (reader.take({"distribution of", "distributions of", "distribution", "distributed",
                   "spread of", "spread"}) > 0)
    asked.distribution = true;
  read_aggregate(reader);
  if (reader.take({"distinct values", "unique values", "different values", "value counts",
                   "distinct", "unique", "frequencies", "frequency", "percentage of", "percentage",
                   "percent", "share of", "share", "proportion of", "proportion"}) > 0)
    asked.values = true;
  if (reader.take(
          {"summary statistics", "summary", "summarise", "summarize", "describe", "overview"}) > 0)
    asked.summary = true;
  read_top(reader, asked);
  read_unit(reader, asked);
  read_chart(reader, asked);
  if (std::size_t at = reader.take({"first"});
      at > 0 && reader.has_free(at) && reader.words[at].number) {
    reader.query.n = static_cast<std::size_t>(std::clamp(*reader.words[at].number, 1.0, 1000.0));
    reader.use(at, at + 1);
    asked.rows = true;
  }
}

// "by day", "per region and product", "for each day", "y over x", "which day …", "top 3 days".
void read_groups(Reader& reader, Asked& asked) {
  for (std::size_t at = 0; at < reader.words.size(); ++at) {
    bool over = reader.is(at, "over") || reader.is(at, "vs") || reader.is(at, "versus") ||
                reader.is(at, "against");
    bool by = over || reader.is(at, "by") || reader.is(at, "per") || reader.is(at, "each") ||
              reader.is(at, "every") || reader.is(at, "across");
    bool which = reader.is(at, "which") && asked.top;
    if (!by && !which) continue;
    std::size_t next = at + 1;
    while (reader.is(next, "the") || reader.is(next, "each") || reader.is(next, "every") ||
           reader.is(next, "of") || reader.understood(next))
      ++next;
    bool count = which && reader.query.n == 0 && reader.has_free(next) &&
                 reader.words[next].number.value_or(0) >= 1;  // "which 3 days"
    if (count)
      reader.query.n = static_cast<std::size_t>(std::min(*reader.words[next++].number, 1000.0));
    Mention* mention = reader.mention_from(next);
    if (mention == nullptr || mention->value) continue;
    reader.use(at, next);
    asked.over = asked.over || over;
    while (mention != nullptr && !mention->value) {
      std::size_t end = mention->end;
      reader.query.groups.push_back(reader.take(*mention));
      while (reader.is(end, "and") || reader.is(end, "by")) reader.use(end, end + 1), ++end;
      mention = which ? nullptr : reader.mention_from(end);
    }
  }
  reader.take({"grouped", "group", "broken down", "split", "as a function of", "as function of"});
}

void read_measures(Reader& reader) {
  for (auto& mention : reader.mentions) {
    if (mention.taken || mention.value) continue;
    auto column = reader.take(mention);
    auto& query = reader.query;
    bool known = std::count(query.groups.begin(), query.groups.end(), column) > 0 ||
                 std::count(query.measures.begin(), query.measures.end(), column) > 0;
    if (!known) query.measures.push_back(column);
  }
}

// The word to blame: rather one that is unknown than a "by" that hangs on it.
std::optional<std::string> leftover(Reader& reader) {
  const Word* blamed = nullptr;
  for (std::size_t i = 0; i < reader.words.size(); ++i) {
    const Word& word = reader.words[i];
    if (word.used || reader.mention_at(i) != nullptr) continue;
    if (!word.quoted && !word.number && is_filler(word.text)) continue;
    if (blamed == nullptr || (is_reserved(blamed->text) && !is_reserved(word.text))) blamed = &word;
  }
  if (blamed == nullptr) return std::nullopt;
  return "I have no use for \"" + blamed->raw +
         "\": it is neither a column, nor a value I know, nor a word of mine";
}

}  // namespace

Read read_question(std::string_view question, const DataTable& table, std::string_view as_of) {
  Reader reader(question, table);
  Asked asked;
  read_conditions(reader, as_of);
  read_words(reader, asked);
  read_groups(reader, asked);
  read_measures(reader);
  if (auto why = leftover(reader)) return std::unexpected(*why);
  auto decided = decide(reader, asked);
  if (decided) decided->notes = reader.query.notes;
  return decided;
}

}  // namespace jailrun::agent::offline
