// Python whose result is told as a table, besides what it prints.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace jailrun::agent {

// Where the last statement of `code` starts, if it is an expression that stands at the left margin;
// npos otherwise. Knows strings, comments and brackets, and leaves what it does not know alone.
std::size_t last_expression(std::string_view code);

// `code` with an end that prints, after `mark` on a line of its own, what came of it as JSON
// {"columns": […], "data": [[…]], …}: result_df, result_rows (with result_columns), result, or the
// last expression. Lines keep their numbers. At most `rows` rows and about `bytes` of JSON.
std::string python_with_result(std::string_view code, const std::string& mark, std::size_t rows,
                               std::size_t bytes);

}  // namespace jailrun::agent
