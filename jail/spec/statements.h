// A tolerant look at policy text: which statement lies where. It serves only to take out a
// statement that protobuf's parser refuses, so that the rest of the text can still be judged.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace jailrun {

struct Statement {
  std::size_t begin = 0, end = 0;  // bytes
  std::vector<std::string> path;   // names from the outermost field to this one
  bool leaf = true;                // no statements inside
  bool complete = true;            // false: a name without a value
};

// In order of their begin; an outer statement before those inside it.
std::vector<Statement> statements(std::string_view text);

// The statement to take out for an error at `offset`: the innermost that contains it, or the one
// before it that lacks a value. Null where there is none.
const Statement* statement_at(const std::vector<Statement>& all, std::size_t offset);

// Lines and columns, as protobuf counts them (from 0, tabs to multiples of 8), to a byte offset.
std::size_t offset_of(std::string_view text, int line, int column);

struct Place {
  int line, column;  // from 1, in bytes
};
Place place_of(std::string_view text, std::size_t offset);

}  // namespace jailrun
