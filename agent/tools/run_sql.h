// SQL over the data files: DuckDB in a jail, external access off before the query is seen.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/data/data.h"

namespace jailrun::agent {

extern const std::string_view kRunSqlScript;

// Python that runs `sql` over `tables`, by the names of DataTable::sql_name.
std::string sql_program(const std::vector<DataTable>& tables, const std::string& sql);

}  // namespace jailrun::agent
