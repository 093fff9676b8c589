#include "agent/data/data.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/base/text.h"
#include "agent/jails/failure.h"
#include "agent/sql/tokens.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr std::uint64_t kMostSkipped = 10'000;
constexpr std::size_t kMostNotes = 8, kMostTables = 64, kMostColumns = 200, kMostText = 16 << 10;

struct FormatName {
  std::string_view name;
  Format format;
};
constexpr std::array<FormatName, 6> kFormats{{{"csv", Format::Csv},
                                              {"excel", Format::Excel},
                                              {"json", Format::Json},
                                              {"jsonl", Format::JsonLines},
                                              {"parquet", Format::Parquet},
                                              {"sqlite", Format::Sqlite}}};

std::string text_of(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::uint64_t count_of(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

bool flag_of(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

std::string shown(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "" : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

const json& list_of(const json& object, const char* name) {
  static const json kNone = json::array();
  auto found = object.find(name);
  return found != object.end() && found->is_array() ? *found : kNone;
}

Kind kind_of(const std::string& name) {
  if (name == "number") return Kind::Number;
  if (name == "date") return Kind::Date;
  if (name == "bool") return Kind::Bool;
  return name == "nested" ? Kind::Nested : Kind::Text;
}

DataColumn read_column(const json& from) {
  DataColumn column;
  column.name = text_of(from, "name");
  column.dtype = text_of(from, "dtype");
  column.kind = kind_of(text_of(from, "kind"));
  column.missing = count_of(from, "missing");
  column.distinct = count_of(from, "distinct");
  column.dayfirst = flag_of(from, "dayfirst");
  column.note = clip(text_of(from, "note"), 300);
  for (const json& value : list_of(from, "values"))
    if (column.values.size() < 24) column.values.push_back(shown(value));
  auto smallest = from.find("min"), largest = from.find("max");
  if (smallest != from.end()) column.min = shown(*smallest);
  if (largest != from.end()) column.max = shown(*largest);
  if (smallest != from.end() && largest != from.end() && smallest->is_number() &&
      largest->is_number())
    column.largest = std::max(std::abs(smallest->get<double>()), std::abs(largest->get<double>()));
  return column;
}

DataTable read_table(const json& from) {
  DataTable table;
  table.file = text_of(from, "file");
  table.table = text_of(from, "table");
  table.error = text_of(from, "error");
  auto format = text_of(from, "format");
  for (const auto& known : kFormats)
    if (known.name == format) table.format = known.format;
  // Both go into code: anything but the few values that describe.py knows is not taken over.
  auto encoding = text_of(from, "encoding");
  for (std::string_view known : {"latin-1", "utf-16", "utf-8-sig"})
    if (encoding == known) table.encoding = encoding;
  auto separator = text_of(from, "separator");
  for (std::string_view known : {";", "\t", "|"})
    if (separator == known) table.separator = separator;
  table.skip_rows = std::min<std::uint64_t>(count_of(from, "skip_rows"), kMostSkipped);
  table.bad_lines = count_of(from, "bad_lines");
  table.trailing = flag_of(from, "trailing");
  table.decimal_comma = text_of(from, "decimal") == ",";
  table.thousands_point = text_of(from, "thousands") == ".";
  if (auto plain = from.find("plain"); plain != from.end()) table.plain = flag_of(from, "plain");
  for (const json& note : list_of(from, "notes"))
    if (note.is_string() && table.notes.size() < kMostNotes)
      table.notes.push_back(clip(note.get<std::string>(), 300));
  table.rows = count_of(from, "rows");
  table.described_rows = count_of(from, "described_rows");
  table.columns_total = count_of(from, "columns_total");
  for (const json& column : list_of(from, "columns")) {
    if (!column.is_object() || table.columns.size() >= kMostColumns) continue;
    table.columns.push_back(read_column(column));
    table.renamed = table.renamed || flag_of(column, "renamed");
  }
  for (const json& row : list_of(from, "head")) {
    if (!row.is_array() || table.head.size() >= 5) continue;
    auto& cells = table.head.emplace_back();
    for (const json& value : row)
      if (cells.size() < kMostColumns) cells.push_back(shown(value));
  }
  return table;
}

// The stem of the file, or the name of the sheet or table: orders.csv is orders.
std::string plain_name(const DataTable& table) {
  auto from = table.table.empty() ? table.file.substr(0, table.file.rfind('.')) : table.table;
  std::string out;
  for (const char c : from) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (word)
      out += c;
    else if (!out.empty() && out.back() != '_')
      out += '_';
  }
  if (out.empty() || (out[0] >= '0' && out[0] <= '9')) out = "t_" + out;
  return out.substr(0, 60);
}

std::string place_of(const DataTable& table) {
  return "/data/" + table.file +
         (table.table.empty() ? "" : " table " + python_string(table.table));
}

std::string column_text(const DataColumn& column) {
  std::string out = "  - " + python_string(column.name) + " " + column.dtype;
  if (column.kind == Kind::Date && column.dtype.find("date") == std::string::npos)
    out += column.dayfirst ? " (dates as text, day first)" : " (dates as text)";
  if (column.missing > 0) out += ", " + std::to_string(column.missing) + " missing";
  if (!column.min.empty()) out += ", " + column.min + " to " + column.max;
  if (!column.values.empty()) {
    out += ", " + std::to_string(column.distinct) + " distinct: ";
    for (std::size_t i = 0; i < column.values.size() && i < 12; ++i)
      out += (i > 0 ? ", " : "") + column.values[i];
    if (column.distinct > 12) out += ", …";
  }
  if (!column.note.empty()) out += "; " + column.note;
  return out + "\n";
}

bool is_modern_excel(const std::string& file) {
  const auto name = lower(file);
  return name.ends_with(".xlsx") || name.ends_with(".xlsm");
}

std::string csv_options(const DataTable& table) {
  std::string options;
  if (table.separator != ",")
    options += table.separator == "\t" ? ", sep=\"\\t\"" : ", sep=\"" + table.separator + "\"";
  if (table.encoding != "utf-8") options += ", encoding=\"" + table.encoding + "\"";
  if (table.skip_rows > 0) options += ", skiprows=" + std::to_string(table.skip_rows);
  if (table.decimal_comma) options += ", decimal=\",\"";
  if (table.thousands_point) options += ", thousands=\".\"";
  if (table.trailing) options += ", index_col=False";
  if (table.bad_lines > 0) options += ", on_bad_lines=\"skip\"";
  return options;
}

}  // namespace

void name_for_sql(std::vector<DataTable>& tables) {
  std::set<std::string> taken;  // DuckDB does not tell upper and lower case apart
  for (auto& table : tables) {
    const auto wanted = plain_name(table);
    table.sql_name = wanted;
    for (int n = 2; !taken.insert(lower(table.sql_name)).second; ++n)
      table.sql_name = wanted + "_" + std::to_string(n);
  }
}

Expected<std::vector<DataTable>> parse_description(std::string_view text) {
  json top = too_deep(text) ? json() : json::parse(text, nullptr, false);
  std::vector<DataTable> tables;
  if (top.is_object())
    for (const json& table : list_of(top, "tables"))
      if (table.is_object() && tables.size() < kMostTables) tables.push_back(read_table(table));
  if (tables.empty())
    return std::unexpected(Error{Stage::None, "description", 0,
                                 "the description of the data cannot be read",
                                 "check that the files hold tables"});
  name_for_sql(tables);
  return tables;
}

Expected<std::vector<DataTable>> describe(const JailClient& client, Deadline deadline) {
  std::vector<std::string> names;
  for (const auto& input : client.inputs()) names.push_back(input.name);
  TRY(JailResult result, client.run(std::string(kDescribeScript), names, "", deadline));
  if (!result.ok())
    return std::unexpected(Error{
        Stage::None, "data", 0,
        "describing the data failed: " + result.reason + " " + tail(printable(result.err), 600),
        advice(result)});
  TRY(auto tables, parse_description(result.out));
  if (std::all_of(tables.begin(), tables.end(),
                  [](const auto& table) { return !table.error.empty(); }))
    return std::unexpected(Error{
        Stage::None, tables[0].file, 0,
        "cannot read " + printable(tables[0].file) + " as a table: " + printable(tables[0].error),
        "csv, tsv, xlsx, json, jsonl, parquet and sqlite files are understood"});
  return tables;
}

std::string describe_text(const std::vector<DataTable>& tables) {
  std::string out;
  for (const auto& table : tables) {
    if (!table.error.empty()) {
      out += place_of(table) + ": cannot be read: " + table.error + "\n";
      continue;
    }
    out += place_of(table) + ": " + std::to_string(table.rows) + " rows, " +
           std::to_string(table.columns_total) + " columns; read with " + load_code(table) +
           ", in SQL " + sql_name_text(table.sql_name) + "\n";
    if (table.described_rows < table.rows)
      out +=
          "  (only the first " + std::to_string(table.described_rows) + " rows were looked at)\n";
    for (const auto& note : table.notes) out += "  (" + note + ")\n";
    for (const auto& column : table.columns) out += column_text(column);
    out += "  first rows:\n";
    for (const auto& row : table.head) {
      out += "   ";
      for (const auto& cell : row) out += " " + cell + " |";
      out += "\n";
    }
  }
  return clip(printable(out), kMostText);
}

std::string load_code(const DataTable& table) {
  auto path = python_string("/data/" + table.file);
  switch (table.format) {
    case Format::Csv:
      return "pd.read_csv(" + path + csv_options(table) + ")";
    case Format::Excel:
      return "pd.read_excel(" + path + ", sheet_name=" + python_string(table.table) +
             (is_modern_excel(table.file) ? ")" : ", engine=\"calamine\")");
    case Format::Json:
      return "pd.read_json(" + path + ")";
    case Format::JsonLines:
      return "pd.read_json(" + path + ", lines=True)";
    case Format::Parquet:
      return "pd.read_parquet(" + path + ")";
    case Format::Sqlite: {
      std::string quoted;
      for (char c : table.table) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
      return "pd.read_sql(" + python_string("select * from \"" + quoted + "\"") +
             ", sqlite3.connect(" +
             python_string("file:/data/" + table.file + "?mode=ro&immutable=1") + ", uri=True))";
    }
  }
  return "";
}

std::vector<std::string> data_notes(const std::vector<DataTable>& tables) {
  std::vector<std::string> notes;
  for (const auto& table : tables) {
    if (!table.error.empty())
      notes.push_back(printable(table.file) + " could not be read: " + printable(table.error));
    if (table.encoding == "latin-1")
      notes.push_back(table.file +
                      " is not UTF-8; it was read as Latin-1, so some letters may be wrong");
    for (const auto& note : table.notes) notes.push_back(table.file + ": " + printable(note));
    if (table.columns_total > table.columns.size() && table.error.empty())
      notes.push_back("only the first " + std::to_string(table.columns.size()) + " columns of " +
                      table.file + " were described");
  }
  return notes;
}

}  // namespace jailrun::agent
