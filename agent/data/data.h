// What the data files hold, as a jail described them (describe.py). Everything here comes
// from the files: names and values are hostile text, numbers are claims.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/jails/jail_client.h"

namespace jailrun::agent {

enum class Kind { Number, Text, Date, Bool, Nested };

struct DataColumn {
  std::string name, dtype;
  Kind kind = Kind::Text;
  std::uint64_t missing = 0;
  std::uint64_t distinct = 0;
  std::vector<std::string> values;  // frequent ones first, at most 24
  std::string min, max;             // as text, empty where there is none
  std::optional<double> largest;    // of a number column: the largest absolute value
  bool dayfirst = false;            // of a date column
  std::string note;                 // such as: text, but 97 of 100 are numbers
};

enum class Format { Csv, Excel, Json, JsonLines, Parquet, Sqlite };

struct DataTable {
  std::string file;      // NAME in /data
  std::string table;     // sheet or table, where the format has them
  std::string sql_name;  // what it is called in SQL: letters, digits and _, distinct
  Format format = Format::Csv;
  std::string encoding = "utf-8";
  std::string separator = ",";
  std::uint64_t skip_rows = 0;  // lines above the header of a CSV file
  std::uint64_t bad_lines = 0;  // that have too many fields, and are left out
  bool trailing = false;        // each line ends in one more separator
  bool decimal_comma = false;
  bool thousands_point = false;
  bool plain = true;               // DuckDB's own reader understands it as pandas does
  std::vector<std::string> notes;  // what is odd about it
  std::uint64_t rows = 0;
  std::uint64_t described_rows = 0;
  std::uint64_t columns_total = 0;
  std::vector<DataColumn> columns;
  std::vector<std::vector<std::string>> head;
  std::string error;     // why it could not be read; then nothing else is known
  bool renamed = false;  // column names that were not text
  bool typed = false;    // the columns' dtypes are DuckDB's, by the registry of a data set
};

extern const std::string_view kDescribeScript;

// Describes every input in one jail. An Error if the jail or the description fails as a whole, or
// if no file holds a table that could be read.
Expected<std::vector<DataTable>> describe(const JailClient& client, Deadline deadline);

// Reads what describe.py printed. Lenient: a field of the wrong type counts as absent.
Expected<std::vector<DataTable>> parse_description(std::string_view text);

// Gives each table the name that it has in SQL: the stem of its file, or its sheet's.
void name_for_sql(std::vector<DataTable>& tables);

// The same for a model to read: at most about 16 KiB.
std::string describe_text(const std::vector<DataTable>& tables);

// Python that reads the table: `pd.read_csv("/data/tips.csv")`, and the imports it needs.
std::string load_code(const DataTable& table);

// Things worth telling: an encoding that was guessed, files that could not be read.
std::vector<std::string> data_notes(const std::vector<DataTable>& tables);

}  // namespace jailrun::agent
