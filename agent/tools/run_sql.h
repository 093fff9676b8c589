// SQL over the data files: DuckDB in a jail, external access off before the query is seen.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/data/data.h"

namespace jailrun::agent {

extern const std::string_view kRunSqlScript;

struct SqlOutput {
  std::size_t rows = 200;
  std::size_t bytes = 65'536;  // of JSON
  bool json = false;           // {"columns": […], "rows": [[…]], "truncated": …}, else Markdown
};

// Python that runs `sql` over `tables`, by the names of DataTable::sql_name.
std::string sql_program(const std::vector<DataTable>& tables, const std::string& sql,
                        const SqlOutput& output = {});

// The names that SQL may read.
std::vector<std::string> sql_names(const std::vector<DataTable>& tables);

}  // namespace jailrun::agent
