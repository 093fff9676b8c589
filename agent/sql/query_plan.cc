#include "agent/sql/query_plan.h"

#include <algorithm>
#include <array>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/llm/schema.h"
#include "agent/sql/policy.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr int kFreeRows = 200;
constexpr std::size_t kFreeColumns = 20;

std::unexpected<Error> refuse(const std::string& message) {
  return std::unexpected(
      Error{Stage::None, "query plan", 0, message, "correct the plan and send it again"});
}

bool is_identifier(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

Expected<std::string> identifier(const std::string& name) {
  if (is_identifier(name)) return name;
  return refuse("Invalid identifier: " + clip(printable(name), 80));
}

// A member by its name, or by another that people use for it.
std::string either(const json& from, const char* name, const char* other) {
  auto text = text_member(from, name);
  return text.empty() ? text_member(from, other) : text;
}

Expected<PlanColumn> read_column(const json& from) {
  PlanColumn column;
  if (from.is_string()) {
    TRY(column.column, identifier(from.get<std::string>()));
    return column;
  }
  column.function = lower(either(from, "func", "agg"));
  column.expression = text_member(from, "expr");
  column.column = text_member(from, "column");
  column.alias = either(from, "alias", "as");
  if (column.column == "*" && column.function == "count") column.column.clear();
  if (!column.alias.empty()) TRY_VOID(identifier(column.alias));
  if (!column.column.empty()) TRY_VOID(identifier(column.column));
  const bool needs_column =
      column.function.empty() ? column.expression.empty() : column.function != "count";
  if (needs_column && column.column.empty())
    return refuse("a selected column names neither column nor expr");
  if (!column.expression.empty() && !(column.column.empty() && column.function.empty()))
    return refuse("expr stands beside column or func");
  if (!column.expression.empty())
    if (const auto fault = expression_fault(column.expression); !fault.empty())
      return refuse(fault);
  return column;
}

Expected<PlanFilter> read_filter(const json& from) {
  PlanFilter filter{text_member(from, "column"), lower(text_member(from, "op")), nullptr};
  if (const json* value = member(from, "value")) filter.value = *value;
  TRY_VOID(identifier(filter.column));
  const json& value = filter.value;
  const std::string& op = filter.op;
  const auto scalar = [](const json& each) {
    return each.is_string() || each.is_number() || each.is_boolean();
  };
  if (op == "is_null" || op == "is_not_null") {
    if (!value.is_null()) return refuse(op + " takes no value");
  } else if (op == "in" || op == "between") {
    if (!value.is_array() || value.empty() || !std::all_of(value.begin(), value.end(), scalar))
      return refuse(op + " takes a list of values");
    if (op == "between" && value.size() != 2) return refuse("between takes two values");
  } else if (op == "contains" || op == "startswith" || op == "endswith") {
    if (!value.is_string()) return refuse(op + " takes a text");
  } else if (!scalar(value)) {
    return refuse(op + " takes one value; for missing ones there are is_null and is_not_null");
  }
  return filter;
}

Expected<PlanOrder> read_order(const json& from) {
  PlanOrder order;
  order.expression = from.is_string() ? from.get<std::string>() : text_member(from, "expr");
  const auto direction = from.is_string() ? "" : lower(either(from, "direction", "dir"));
  if (!direction.empty() && direction != "asc" && direction != "desc")
    return refuse("a direction is asc or desc");
  order.descending = direction == "desc";
  if (!is_identifier(order.expression))
    if (const auto fault = expression_fault(order.expression); !fault.empty()) return refuse(fault);
  return order;
}

// With an aggregation, each plain column must be one of the groups.
Expected<void> check_groups(const QueryPlan& plan) {
  const bool aggregates = std::any_of(plan.select.begin(), plan.select.end(),
                                      [](const auto& each) { return !each.function.empty(); });
  if (!aggregates && plan.group_by.empty()) return {};
  for (const auto& column : plan.select) {
    const auto& name = column.column.empty() ? column.alias : column.column;
    const bool grouped =
        std::find(plan.group_by.begin(), plan.group_by.end(), name) != plan.group_by.end();
    if (column.function.empty() && !grouped)
      return refuse("a column beside an aggregation is missing from group_by: " +
                    (name.empty() ? column.expression : name));
  }
  return {};
}

std::string quoted(const std::string& name) { return "\"" + name + "\""; }

std::string literal(const json& value) {
  if (value.is_boolean()) return value.get<bool>() ? "TRUE" : "FALSE";
  if (!value.is_string()) return dump_json(value);
  std::string out = "'";
  for (const char c : value.get_ref<const std::string&>())
    out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

// DuckDB has no escape of its own in LIKE: it is named.
std::string like(const json& value, bool before, bool after) {
  std::string text = before ? "%" : "";
  for (const char c : value.get_ref<const std::string&>()) {
    if (c == '%' || c == '_' || c == '\\') text += '\\';
    text += c;
  }
  if (after) text += "%";
  return " LIKE " + literal(text) + " ESCAPE '\\'";
}

std::string condition(const PlanFilter& filter) {
  const auto column = quoted(filter.column);
  const std::string& op = filter.op;
  if (op == "is_null") return column + " IS NULL";
  if (op == "is_not_null") return column + " IS NOT NULL";
  if (op == "contains") return column + like(filter.value, true, true);
  if (op == "startswith") return column + like(filter.value, false, true);
  if (op == "endswith") return column + like(filter.value, true, false);
  if (op == "between")
    return column + " BETWEEN " + literal(filter.value[0]) + " AND " + literal(filter.value[1]);
  if (op != "in") return column + " " + op + " " + literal(filter.value);
  std::string list;
  for (const json& each : filter.value) list += (list.empty() ? "" : ", ") + literal(each);
  return column + " IN (" + list + ")";
}

std::string selected(const PlanColumn& column) {
  std::string out = column.expression.empty() ? quoted(column.column) : column.expression;
  if (column.function == "count_distinct") {
    out = "COUNT(DISTINCT " + quoted(column.column) + ")";
  } else if (!column.function.empty()) {
    auto name = column.function;
    for (char& c : name) c = static_cast<char>(c - 'a' + 'A');
    out = name + "(" + (column.column.empty() ? "*" : quoted(column.column)) + ")";
  }
  return column.alias.empty() ? out : out + " AS " + quoted(column.alias);
}

}  // namespace

const json& query_plan_schema() {
  static const json kSchema = json::parse(R"({
    "type": "object", "additionalProperties": false, "required": ["table", "select"],
    "properties": {
      "dataset_id": {"type": "string"},
      "table": {"type": "string", "description": "a table as the description of the data names it in SQL"},
      "select": {"type": "array", "minItems": 1, "maxItems": 100, "items": {
        "type": ["object", "string"], "additionalProperties": false, "properties": {
          "column": {"type": "string"},
          "expr": {"type": "string", "maxLength": 1000, "description": "a scalar expression over columns"},
          "func": {"type": "string", "enum": ["count", "count_distinct", "sum", "avg", "min", "max"]},
          "agg": {"type": "string", "enum": ["count", "count_distinct", "sum", "avg", "min", "max"]},
          "alias": {"type": "string"}, "as": {"type": "string"}}}},
      "filters": {"type": "array", "maxItems": 100, "items": {
        "type": "object", "additionalProperties": false, "required": ["column", "op"], "properties": {
          "column": {"type": "string"},
          "op": {"type": "string", "enum": ["=", "!=", "<", "<=", ">", ">=", "in", "between", "contains",
                                            "startswith", "endswith", "is_null", "is_not_null"]},
          "value": {}}}},
      "group_by": {"type": "array", "maxItems": 100, "items": {"type": "string"}},
      "order_by": {"type": "array", "maxItems": 100, "items": {
        "type": ["object", "string"], "additionalProperties": false, "properties": {
          "expr": {"type": "string", "maxLength": 1000},
          "direction": {"type": "string"}, "dir": {"type": "string"}}}},
      "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
      "notes": {"type": "string"}}})");
  return kSchema;
}

Expected<QueryPlan> parse_query_plan(const json& from) {
  if (const auto fault = schema_fault(query_plan_schema(), from, "the plan's members");
      !fault.empty())
    return refuse(fault);
  QueryPlan plan;
  plan.dataset_id = text_member(from, "dataset_id");
  plan.notes = text_member(from, "notes");
  TRY(plan.table, identifier(text_member(from, "table")));
  for (const json& each : list_member(from, "select")) {
    TRY(plan.select.emplace_back(), read_column(each));
  }
  for (const json& each : list_member(from, "filters")) {
    TRY(plan.filters.emplace_back(), read_filter(each));
  }
  for (const json& each : list_member(from, "group_by")) {
    TRY(plan.group_by.emplace_back(), identifier(each.get<std::string>()));
  }
  for (const json& each : list_member(from, "order_by")) {
    TRY(plan.order_by.emplace_back(), read_order(each));
  }
  if (const json* limit = member(from, "limit")) plan.limit = limit->get<int>();
  TRY_VOID(check_groups(plan));
  return plan;
}

std::string compile_query_plan(const QueryPlan& plan) {
  std::string sql = "SELECT";
  for (std::size_t i = 0; i < plan.select.size(); ++i)
    sql += (i > 0 ? ",\n  " : "\n  ") + selected(plan.select[i]);
  sql += "\nFROM " + quoted(plan.table);
  for (std::size_t i = 0; i < plan.filters.size(); ++i)
    sql += (i > 0 ? "\n  AND " : "\nWHERE\n  ") + condition(plan.filters[i]);
  for (std::size_t i = 0; i < plan.group_by.size(); ++i)
    sql += (i > 0 ? ", " : "\nGROUP BY ") + quoted(plan.group_by[i]);
  for (std::size_t i = 0; i < plan.order_by.size(); ++i) {
    const auto& order = plan.order_by[i];
    sql += (i > 0 ? ", " : "\nORDER BY ") +
           (is_identifier(order.expression) ? quoted(order.expression) : order.expression) +
           (order.descending ? " DESC" : " ASC");
  }
  return sql + "\nLIMIT " + std::to_string(plan.limit);
}

std::vector<std::string> query_plan_warnings(const QueryPlan& plan) {
  std::vector<std::string> warnings;
  const bool aggregates = std::any_of(plan.select.begin(), plan.select.end(),
                                      [](const auto& each) { return !each.function.empty(); });
  if (plan.select.size() > kFreeColumns && plan.filters.empty() && !aggregates)
    warnings.push_back("more than " + std::to_string(kFreeColumns) +
                       " columns without a filter or an aggregation");
  if (plan.limit > kFreeRows && plan.filters.empty())
    warnings.push_back("more than " + std::to_string(kFreeRows) + " rows without a filter");
  return warnings;
}

}  // namespace jailrun::agent
