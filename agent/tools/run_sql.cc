#include <algorithm>

#include "agent/base/text.h"
#include "agent/sql/policy.h"
#include "agent/sql/query_plan.h"
#include "agent/tools/bench.h"
#include "agent/tools/run_sql.h"

namespace jailrun::agent {
namespace {

constexpr std::size_t kSqlLimitBytes = 64 << 10;

class RunSql : public Tool {
 public:
  explicit RunSql(Bench& bench)
      : Tool({"run_sql",
              "Runs one SELECT of DuckDB in a jail, over the data files as tables (not over "
              "variables or files of runs), and returns at "
              "most 200 rows of its result. The description of the data names the tables.",
              strings_schema({{"query", "one SELECT statement in DuckDB's dialect"}})}),
        bench_(bench) {}

  Expected<ToolOutcome> call(const nlohmann::json& arguments, const ToolContext& context) override {
    Step step;
    step.sql = clean_code(arguments["query"].get<std::string>());
    if (step.sql.size() > kSqlLimitBytes) return misuse("The query is longer than 64 KiB.");
    if (auto fault = sql_fault(step.sql, sql_names(bench_.tables)); !fault.empty())
      return misuse(std::move(fault));
    step.code = sql_program(bench_.tables, step.sql);
    return run_step(bench_, bench_.fresh, std::move(step), "sql", context);
  }

 private:
  Bench& bench_;
};

class RunQueryPlan : public Tool {
 public:
  explicit RunQueryPlan(Bench& bench)
      : Tool(
            {"query_plan",
             "Runs a query that is given as data: table, select, filters, group_by, order_by, "
             "limit. The safest way to a table of figures; returns the SQL it became and its rows.",
             query_plan_schema()}),
        bench_(bench) {}

  Expected<ToolOutcome> call(const nlohmann::json& arguments, const ToolContext& context) override {
    const auto plan = parse_query_plan(arguments);
    if (!plan) return misuse(plan.error().line());
    const auto names = sql_names(bench_.tables);
    if (std::find(names.begin(), names.end(), plan->table) == names.end())
      return misuse("There is no table " + plan->table + ".");
    Step step;
    step.sql = compile_query_plan(*plan);
    std::string told = "SQL:\n" + step.sql + "\n";
    for (const auto& warning : query_plan_warnings(*plan)) told += "Warning: " + warning + ".\n";
    step.code = sql_program(bench_.tables, step.sql);
    TRY(ToolOutcome outcome, run_step(bench_, bench_.fresh, std::move(step), "sql", context));
    outcome.text = told + outcome.text;
    return outcome;
  }

 private:
  Bench& bench_;
};

const char* format_word(Format format) {
  switch (format) {
    case Format::Csv:
      return "csv";
    case Format::Excel:
      return "excel";
    case Format::Json:
      return "json";
    case Format::JsonLines:
      return "jsonl";
    case Format::Parquet:
      return "parquet";
    case Format::Sqlite:
      return "sqlite";
  }
  return "csv";
}

// Where the registry of a data set says what DuckDB finds in a CSV file: it need not look, which
// takes it three times as long as to read. Types that it does not find itself count as none.
std::string known_columns(const DataTable& table) {
  constexpr std::string_view kFound[] = {"BIGINT", "BOOLEAN", "DATE",     "DOUBLE",
                                         "TIME",   "VARCHAR", "TIMESTAMP"};
  if (!table.typed || table.format != Format::Csv) return "None";
  std::string out = "{";
  for (const auto& column : table.columns) {
    if (std::ranges::find(kFound, column.dtype) == std::end(kFound)) return "None";
    out += (out.size() > 1 ? ", " : "") + python_string(column.name) + ": \"" + column.dtype + "\"";
  }
  return out + "}";
}

}  // namespace

std::vector<std::string> sql_names(const std::vector<DataTable>& tables) {
  std::vector<std::string> names;
  for (const auto& table : tables)
    if (table.error.empty()) names.push_back(table.sql_name);
  return names;
}

std::string sql_program(const std::vector<DataTable>& tables, const std::string& sql,
                        const SqlOutput& output) {
  std::string out(kRunSqlScript);
  out += "\n\n_run_sql({\n";
  for (const auto& table : tables) {
    if (!table.error.empty()) continue;
    out += "    " + python_string(table.sql_name) + ": {\"file\": " + python_string(table.file) +
           ", \"format\": \"" + format_word(table.format) +
           "\", \"plain\": " + (table.plain ? "True" : "False") +
           ", \"separator\": " + python_string(table.separator) +
           ", \"columns\": " + known_columns(table) +
           ",\n        \"read\": lambda pd, sqlite3: " + load_code(table) + "},\n";
  }
  return out + "}, " + python_string(sql) + ", " + std::to_string(output.rows) + ", " +
         std::to_string(output.bytes) + ", " + (output.json ? "True" : "False") + ")\n";
}

std::unique_ptr<Tool> make_run_sql(Bench& bench) { return std::make_unique<RunSql>(bench); }
std::unique_ptr<Tool> make_query_plan(Bench& bench) {
  return std::make_unique<RunQueryPlan>(bench);
}

}  // namespace jailrun::agent
