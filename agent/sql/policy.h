// A second line before SQL runs; the first is DuckDB without external access, in a jail. It refuses
// what changes anything and what reads anything but the tables, and is not fooled by what merely
// looks like it: WHERE status = 'update' is fine.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace jailrun::agent {

// Why `sql` is refused, as a sentence; empty where it may run. `tables`: what it may read.
std::string sql_fault(std::string_view sql, const std::vector<std::string>& tables);

// The same for one scalar expression over columns: no query, no statement, known functions only.
std::string expression_fault(std::string_view expression);

}  // namespace jailrun::agent
