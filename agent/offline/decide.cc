#include <algorithm>
#include <cstdio>

#include "agent/offline/reader.h"

namespace jailrun::agent::offline {
namespace {

using Read = std::expected<Query, std::string>;

Read refuse(std::string why) { return std::unexpected(std::move(why)); }

std::vector<std::size_t> of_kind(const Reader& reader, Kind kind) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < reader.table.columns.size(); ++i)
    if (reader.column(i).kind == kind) out.push_back(i);
  return out;
}

std::optional<std::string> need_numbers(const Reader& reader, const std::string& what) {
  for (std::size_t i : reader.query.measures)
    if (reader.column(i).kind != Kind::Number && reader.column(i).kind != Kind::Bool)
      return "the " + what + " of " + reader.column(i).name +
             " cannot be taken: it holds no numbers";
  return std::nullopt;
}

char unit_for(const DataColumn& date) {
  auto months = [](const std::string& text) {
    int year = 0, month = 0;
    return std::sscanf(text.c_str(), "%d-%d", &year, &month) == 2 ? year * 12 + month : 0;
  };
  int span = months(date.max) - months(date.min);
  return span <= 2 ? 'D' : span <= 72 ? 'M' : 'Y';
}

Read decide_trend(Reader& reader, const Asked& asked) {
  Query& query = reader.query;
  auto dates = of_kind(reader, Kind::Date);
  auto is_date = [&](std::size_t i) { return reader.column(i).kind == Kind::Date; };
  auto pull = [&](std::vector<std::size_t>& from) {
    auto found = std::find_if(from.begin(), from.end(), is_date);
    if (found == from.end()) return false;
    query.date = *found;
    from.erase(found);
    return true;
  };
  if (!pull(query.groups) && !pull(query.measures)) {
    if (dates.empty())
      return refuse("there is no column of dates, so nothing can be shown over time");
    query.date = dates[0];
    if (dates.size() > 1) reader.note("took " + reader.column(dates[0]).name + " as the date");
  }
  query.task = Task::Trend;
  query.unit = asked.unit != 0 ? asked.unit : unit_for(reader.column(query.date));
  if (query.groups.size() > 1) return refuse("a trend can be split by one column only");
  if (query.measures.size() > 1 && !query.groups.empty())
    return refuse("a split trend shows one column only");
  if (query.measures.empty() && !query.aggregate.empty() && query.aggregate != "count")
    return refuse("which column to take the " + query.aggregate + " of is not said");
  if (query.measures.empty()) {
    if (query.aggregate.empty()) reader.note("no column was named, so rows are counted");
    query.aggregate = "count";
  } else if (query.aggregate.empty()) {
    query.aggregate = "sum";
    reader.note("no aggregate was named; took the sum (say \"average\" for the mean)");
  }
  if (query.aggregate != "count" && query.aggregate != "nunique")
    if (auto why = need_numbers(reader, query.aggregate)) return refuse(*why);
  return query;
}

Read decide_correlation(Reader& reader) {
  Query& query = reader.query;
  query.measures.insert(query.measures.end(), query.groups.begin(), query.groups.end());
  query.groups.clear();
  if (auto why = need_numbers(reader, "correlation")) return refuse(*why);
  if (query.measures.size() < 2 && of_kind(reader, Kind::Number).size() < 2)
    return refuse("a correlation needs two columns of numbers");
  query.task = Task::Correlation;
  return query;
}

Read decide_top(Reader& reader, const Asked& asked) {
  Query& query = reader.query;
  auto is_number = [&](std::size_t i) { return reader.column(i).kind == Kind::Number; };
  auto is_text = [&](std::size_t i) { return !is_number(i); };
  // "top 5 products by sales": what is behind "by" is the measure, what is before it the group.
  bool swapped = query.groups.size() == 1 && is_number(query.groups[0]) &&
                 query.measures.size() <= 1 &&
                 (query.measures.empty() || is_text(query.measures[0]));
  if (swapped) std::swap(query.groups, query.measures);
  // "top 3 days by total tip" read as: groups (tip), measures (day).
  if (query.groups.empty() && query.measures.size() == 2 &&
      is_text(query.measures[0]) != is_text(query.measures[1])) {
    bool first = is_text(query.measures[0]);
    query.groups = {query.measures[first ? 0 : 1]};
    query.measures = {query.measures[first ? 1 : 0]};
  }
  if (query.groups.empty() && query.measures.size() == 1 && is_text(query.measures[0])) {
    query.task = Task::Values;
    return query;
  }
  if (query.groups.empty()) {
    if (query.measures.size() != 1)
      return refuse("which column to order by is not said, or more than one is");
    if (!query.aggregate.empty())
      return refuse("the largest " + query.aggregate + " needs groups, such as \"by …\"");
    if (asked.superlative && query.n == 0) {  // "the highest tip"
      query.task = Task::Aggregate;
      query.aggregate = query.smallest ? "min" : "max";
      return query;
    }
    if (query.n == 0) query.n = 10;
    query.task = Task::TopRows;
    return query;
  }
  if (query.measures.size() > 1) return refuse("only one column can order the groups");
  bool which = asked.superlative && query.n == 0;
  if (query.measures.empty()) query.aggregate = "count";
  if (query.aggregate.empty() && which)
    query.aggregate = query.smallest ? "min" : "max";
  else if (query.aggregate.empty()) {
    query.aggregate = "sum";
    reader.note("no aggregate was named; groups are ordered by their sum");
  }
  if (query.aggregate != "count" && query.aggregate != "nunique")
    if (auto why = need_numbers(reader, query.aggregate)) return refuse(*why);
  query.task = Task::TopGroups;
  return query;
}

Read decide_aggregate(Reader& reader) {
  Query& query = reader.query;
  query.task = Task::Aggregate;
  if (query.aggregate == "nunique") return query;
  // "tickets by priority": nobody wants the sum of ticket_id.
  if (query.aggregate.empty() && query.measures.size() == 1 && !query.groups.empty()) {
    const std::string name = plain_name(reader.column(query.measures[0]).name);
    if (name == "id" || name.ends_with(" id")) {
      reader.note("counts rows, as " + reader.column(query.measures[0]).name +
                  " is a name and no quantity");
      query.measures.clear();
      query.aggregate = "count";
    }
  }
  auto is_text = [&](std::size_t i) { return reader.column(i).kind != Kind::Number; };
  if (query.aggregate == "count") {
    // "how many smokers by day" counts the rows of each value of smoker.
    for (std::size_t i : query.measures)
      if (is_text(i)) query.groups.push_back(i);
    std::erase_if(query.measures, is_text);
    if (query.groups.empty() && query.measures.empty() && !query.chart.empty())
      return refuse("what to count by is not said");
    return query;
  }
  if (query.measures.empty()) {
    for (std::size_t i : of_kind(reader, Kind::Number))
      if (std::count(query.groups.begin(), query.groups.end(), i) == 0 && query.measures.size() < 8)
        query.measures.push_back(i);
    if (query.measures.empty()) return refuse("there is no column of numbers");
    reader.note("no column was named; took all that hold numbers");
  }
  if (auto why = need_numbers(reader, query.aggregate.empty() ? "mean" : query.aggregate))
    return refuse(*why);
  if (query.aggregate.empty()) reader.note("no aggregate was named; shows rows, sum and mean");
  return query;
}

Read decide_pair(Reader& reader, const Asked& asked) {
  Query& query = reader.query;
  const DataColumn& x = reader.column(query.groups[0]);
  if (x.kind == Kind::Date && query.measures.size() == 1 && !query.chart.empty())
    return decide_trend(reader, asked);
  bool wide = x.kind == Kind::Number && (asked.over || x.distinct > 12 || query.chart == "scatter");
  if (query.groups.size() == 1 && wide && query.measures.size() == 1 && !query.chart.empty()) {
    if (auto why = need_numbers(reader, "plot")) return refuse(*why);
    query.task = Task::Scatter;
    return query;
  }
  return decide_aggregate(reader);
}

Read decide_plot(Reader& reader) {
  Query& query = reader.query;
  if (query.measures.size() == 1) {
    query.task = Task::Distribution;
    return query;
  }
  if (query.measures.size() ==
      2) {  // "plot tip and total_bill", "scatter plot of tip and total_bill"
    if (auto why = need_numbers(reader, "plot")) return refuse(*why);
    query.groups = {query.measures[0]};
    query.measures = {query.measures[1]};
    query.task = Task::Scatter;
    return query;
  }
  return refuse("what to plot is not said");
}

}  // namespace

std::expected<Query, std::string> decide(Reader& reader, const Asked& asked) {
  Query& query = reader.query;
  if (asked.correlation) return decide_correlation(reader);
  if (asked.missing) return query.task = Task::Missing, query;
  bool dated = std::any_of(query.groups.begin(), query.groups.end(),
                           [&](std::size_t i) { return reader.column(i).kind == Kind::Date; });
  if (asked.unit != 0 || asked.trend || (dated && !asked.top && !query.aggregate.empty()))
    return decide_trend(reader, asked);
  if (asked.top) return decide_top(reader, asked);
  if (asked.distribution) {
    if (query.measures.size() != 1 || query.groups.size() > 1)
      return refuse("the distribution of which one column is not said");
    return query.task = Task::Distribution, query;
  }
  if (asked.values) {
    if (query.measures.size() + query.groups.size() != 1)
      return refuse("the values of which one column is not said");
    if (query.measures.empty()) std::swap(query.measures, query.groups);
    return query.task = Task::Values, query;
  }
  if (!query.aggregate.empty()) return decide_aggregate(reader);
  if (!query.groups.empty() && !query.measures.empty()) return decide_pair(reader, asked);
  if (!query.chart.empty() && query.groups.empty()) return decide_plot(reader);
  if (asked.summary) return query.task = Task::Summary, query;
  if (!query.conditions.empty() || asked.rows) return query.task = Task::Rows, query;
  return refuse("no word says what to do");
}

}  // namespace jailrun::agent::offline
