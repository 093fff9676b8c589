// The offline translator: a question in, pandas code out, no model. It understands a few kinds of
// question in full and refuses every other: a word it has no use for is a refusal, never ignored.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/offline/columns.h"

namespace jailrun::agent::offline {

enum class Task {
  Aggregate,
  TopRows,
  TopGroups,
  Trend,
  Correlation,
  Distribution,
  Scatter,
  Values,
  Rows,
  Missing,
  Summary
};

struct Condition {
  std::size_t column = 0;
  std::string op;                   // == != < <= > >= between year
  std::vector<std::string> values;  // for == and !=: any of them
  std::vector<std::string> bounds;  // Python literals, for the rest
};

struct Query {
  Task task = Task::Rows;
  std::vector<std::size_t> measures;  // columns
  std::vector<std::size_t> groups;
  std::string aggregate;  // pandas' name: mean sum median min max std var nunique count; or empty
  std::vector<Condition> conditions;
  std::size_t n = 0;  // of top N
  bool smallest = false;
  char unit = 'M';  // of a trend: D W M Q Y
  std::size_t date = 0;
  std::string chart;               // asked for: bar line scatter hist box pie, or empty
  std::vector<std::string> notes;  // what was assumed; told to the user
};

// Reads the question against one table, or says in one sentence why it cannot.
// `as_of`: the day, or moment, that "today" and "last week" are counted from; empty: the latest
// date that the data have.
std::expected<Query, std::string> read_question(std::string_view question, const DataTable& table,
                                                std::string_view as_of = {});

// The program for a query; it prints tables and saves plots below /work.
std::string write_code(const Query& query, const DataTable& table);

// "mean of tip by day where sex is Female"
std::string title_of(const Query& query, const DataTable& table);

const char* unit_name(char unit);            // 'M' is "month"
std::string slug(const std::string& title);  // a file name: "mean_of_tip_by_day"

// Questions that would be understood, made of the table's own columns.
std::vector<std::string> examples(const DataTable& table);

struct Translation {
  std::string code, title;
  std::vector<std::string> notes;
};
// Tries every table; the error says why not, what is understood, and gives examples.
std::expected<Translation, std::string> translate(std::string_view question,
                                                  const std::vector<DataTable>& tables,
                                                  std::string_view as_of = {});

}  // namespace jailrun::agent::offline
