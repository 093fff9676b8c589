// Text that nobody has checked, made safe to show and small enough to send.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace jailrun::agent {

// Valid UTF-8 without control characters but newline and tab, and without bidirectional overrides:
// a guest that prints escape sequences could otherwise retitle, recolour or rewrite the terminal.
std::string printable(std::string_view text);

// At most about `limit` bytes: the first two thirds and the last third, and a line between that
// says how much is missing. Cuts at character borders.
std::string clip(std::string_view text, std::size_t limit);
std::string tail(std::string_view text, std::size_t limit);

std::string lower(std::string_view text);  // ASCII only

// Whether JSON text nests deeper than any honest one: printing such a value would recurse as deep.
bool too_deep(std::string_view json_text);

// A Python string literal that means exactly `text`, whatever is in it.
std::string python_string(std::string_view text);

}  // namespace jailrun::agent
