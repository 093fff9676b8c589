// QueryPlan: a query as data, which a model can get right and a program can check; and its
// compiler, which gives the same SQL, byte for byte, for the same plan.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun::agent {

struct PlanColumn {
  // One of column, expression and function is set; `column` belongs to a function as well, where
  // empty means all rows (count).
  std::string column, expression, function, alias;
};

struct PlanFilter {
  std::string column, op;
  nlohmann::json value;
};

struct PlanOrder {
  std::string expression;
  bool descending = false;
};

struct QueryPlan {
  std::string dataset_id, table, notes;
  std::vector<PlanColumn> select;
  std::vector<PlanFilter> filters;
  std::vector<std::string> group_by;
  std::vector<PlanOrder> order_by;
  int limit = 200;
};

// For tools and structured output.
const nlohmann::json& query_plan_schema();

// Error: an unknown member, a value of the wrong kind, names that are no identifiers, aggregations
// beside columns that are not grouped. "agg", "as" and "dir" are understood.
Expected<QueryPlan> parse_query_plan(const nlohmann::json& from);

std::string compile_query_plan(const QueryPlan& plan);

// What a careful reader would ask about: more than twenty columns, or a high limit, and no filter.
std::vector<std::string> query_plan_warnings(const QueryPlan& plan);

}  // namespace jailrun::agent
