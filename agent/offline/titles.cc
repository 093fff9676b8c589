#include <algorithm>

#include "agent/base/text.h"
#include "agent/offline/question.h"

namespace jailrun::agent::offline {
namespace {

std::string listed(const std::vector<std::size_t>& columns, const DataTable& table) {
  std::string out;
  for (std::size_t i = 0; i < columns.size(); ++i)
    out += (i == 0                    ? ""
            : i + 1 == columns.size() ? " and "
                                      : ", ") +
           table.columns[columns[i]].name;
  return out;
}

std::string in_words(const Condition& condition, const DataTable& table) {
  std::string out = table.columns[condition.column].name;
  auto all = condition.values.empty() ? condition.bounds : condition.values;
  std::string said;
  for (const auto& value : all)
    said += (said.empty() ? "" : condition.op == "between" ? " and " : " or ") + value;
  if (condition.op == "==") return out + " is " + said;
  if (condition.op == "!=") return out + " is not " + said;
  if (condition.op == "year") return "year of " + out + " is " + said;
  return out + " " + condition.op + " " + said;
}

std::string subject(const Query& query, const DataTable& table) {
  auto measures = listed(query.measures, table);
  std::string aggregate =
      query.aggregate.empty() || query.aggregate == "count" ? "" : query.aggregate + " of ";
  if (query.aggregate == "nunique") aggregate = "number of distinct ";
  if (query.measures.empty()) measures = "number of rows";
  auto n = query.n != 0 ? std::to_string(query.n) + " " : "";
  switch (query.task) {
    case Task::Correlation:
      return "correlation of " + (query.measures.empty() ? "all columns of numbers" : measures);
    case Task::Distribution:
      return "distribution of " + measures;
    case Task::Values:
      return "values of " + measures;
    case Task::TopRows:
      return n + (query.smallest ? "lowest " : "highest ") + measures;
    case Task::TopGroups:
      return n + (query.smallest ? "lowest " : "highest ") + aggregate + measures;
    case Task::Rows:
      return "rows";
    case Task::Missing:
      return "missing values";
    case Task::Summary:
      return "summary";
    case Task::Scatter:
    case Task::Aggregate:
    case Task::Trend:
      break;
  }
  return aggregate + measures;
}

// A number that counts or measures nothing.
bool is_label(const DataColumn& column) {
  auto plain = plain_name(column.name);
  return column.kind == Kind::Number &&
         (plain == "year" || plain == "id" || plain.ends_with(" id"));
}

const DataColumn* first_of(const DataTable& table, Kind kind, std::size_t skip = 0) {
  for (const auto& column : table.columns)
    if (column.kind == kind && !is_label(column) && skip-- == 0) return &column;
  return nullptr;
}

// A column worth grouping by: few values, many rows each.
const DataColumn* groupable(const DataTable& table) {
  for (const auto& column : table.columns)
    if (column.kind == Kind::Text && column.distinct > 1 && column.distinct <= 30) return &column;
  return first_of(table, Kind::Text);
}

// Whether a name can stand in a question as it is.
std::string say(const DataColumn& column) {
  auto plain = plain_name(column.name);
  return plain.empty() || is_reserved(plain) ? "\"" + column.name + "\"" : plain;
}

}  // namespace

std::string slug(const std::string& title) {
  std::string out;
  for (char c : lower(title)) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain)
      out += c;
    else if (!out.empty() && out.back() != '_')
      out += '_';
    if (out.size() >= 60) break;
  }
  while (!out.empty() && out.back() == '_') out.pop_back();
  return out.empty() ? "plot" : out;
}

const char* unit_name(char unit) {
  switch (unit) {
    case 'D':
      return "day";
    case 'W':
      return "week";
    case 'Q':
      return "quarter";
    case 'Y':
      return "year";
    default:
      return "month";
  }
}

std::string title_of(const Query& query, const DataTable& table) {
  std::string out = subject(query, table);
  if (query.task == Task::Scatter)
    out += " over " + listed(query.groups, table);
  else if (!query.groups.empty())
    out += " by " + listed(query.groups, table);
  if (query.task == Task::Trend) out += std::string(" by ") + unit_name(query.unit);
  for (std::size_t i = 0; i < query.conditions.size(); ++i)
    out += (i == 0 ? " where " : " and ") + in_words(query.conditions[i], table);
  return printable(out);
}

std::vector<std::string> examples(const DataTable& table) {
  std::vector<std::string> out;
  const DataColumn* number = first_of(table, Kind::Number);
  const DataColumn* second = first_of(table, Kind::Number, 1);
  const DataColumn* text = groupable(table);
  const DataColumn* date = first_of(table, Kind::Date);
  if (number != nullptr && text != nullptr)
    out.push_back("average " + say(*number) + " by " + say(*text));
  if (number != nullptr) out.push_back("top 5 rows by " + say(*number));
  if (number != nullptr && text != nullptr && !text->values.empty() && !text->values[0].empty())
    out.push_back("median " + say(*number) + " where " + say(*text) + " is \"" + text->values[0] +
                  "\"");
  if (number != nullptr && date != nullptr) out.push_back("total " + say(*number) + " by month");
  if (number != nullptr && second != nullptr) {
    out.push_back("correlation between " + say(*number) + " and " + say(*second));
    out.push_back("plot " + say(*second) + " over " + say(*number));
  }
  if (number != nullptr) out.push_back("distribution of " + say(*number));
  if (text != nullptr) out.push_back("how many rows by " + say(*text));
  return out;
}

std::expected<Translation, std::string> translate(std::string_view question,
                                                  const std::vector<DataTable>& tables,
                                                  std::string_view as_of) {
  std::string why;
  const DataTable* meant = nullptr;
  std::size_t best = 0;
  for (const auto& table : tables) {
    if (!table.error.empty()) continue;
    auto mentions = find_mentions(split_words(question), table).size();
    if (meant == nullptr || mentions > best) meant = &table, best = mentions;
  }
  if (meant == nullptr) return std::unexpected("No table could be read.");
  auto query = read_question(question, *meant, as_of);
  if (query) {
    Translation made{write_code(*query, *meant), title_of(*query, *meant), query->notes};
    if (tables.size() > 1)
      made.notes.push_back("looked at " + meant->file +
                           (meant->table.empty() ? "" : " " + meant->table));
    return made;
  }
  why = "I cannot translate this question: " + query.error() + ".\n\nColumns of " + meant->file +
        ": ";
  for (std::size_t i = 0; i < meant->columns.size() && i < 40; ++i)
    why += (i > 0 ? ", " : "") + meant->columns[i].name;
  why +=
      ".\nI understand aggregates by column, top N, filters, trends over dates, correlations, "
      "distributions, "
      "plots of y over x, counts and missing values. For example:\n";
  for (const auto& example : examples(*meant)) why += "  " + example + "\n";
  return std::unexpected(why);
}

}  // namespace jailrun::agent::offline
