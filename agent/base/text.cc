#include "agent/base/text.h"

#include <cstdint>

namespace jailrun::agent {
namespace {

// The character that starts at `at` and its length; U+FFFD and 1 for a byte that starts none.
struct Character {
  char32_t value;
  std::size_t length;
};

Character decode(std::string_view text, std::size_t at) {
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(at);
  if (first < 0x80) return {first, 1};
  std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first > 0xf4 || at + length > text.size()) return {0xfffd, 1};
  char32_t value = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return {0xfffd, 1};
    value = (value << 6) | (byte(at + i) & 0x3fU);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
    return {0xfffd, 1};
  return {value, length};
}

bool is_shown(char32_t c) {
  if (c < 0x20) return c == '\n' || c == '\t';
  if (c >= 0x7f && c < 0xa0) return false;
  return !(c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069));
}

bool inside_character(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    auto [value, length] = decode(text, at);
    if (value == 0xfffd && length == 1)
      out += "\xef\xbf\xbd";
    else if (is_shown(value))
      out += text.substr(at, length);
    at += length;
  }
  return out;
}

std::string tail(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  std::size_t from = text.size() - limit;
  while (inside_character(text, from)) ++from;
  return "…" + std::string(text.substr(from));
}

std::string clip(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  std::size_t head = limit / 3 * 2;
  while (head > 0 && inside_character(text, head)) --head;
  std::size_t rest = text.size() - limit / 3;
  while (inside_character(text, rest)) ++rest;
  return std::string(text.substr(0, head)) + "\n… " + std::to_string(rest - head) +
         " bytes left out …\n" + std::string(text.substr(rest));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool too_deep(std::string_view json_text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t at = 0; at < json_text.size(); ++at) {
    char c = json_text[at];
    if (quoted && c == '\\')
      ++at;
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted && (c == '[' || c == '{') && ++depth > 64)
      return true;
    else if (!quoted && (c == ']' || c == '}'))
      --depth;
  }
  return false;
}

std::string python_string(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    auto [value, length] = decode(text, at);
    if (value == '"' || value == '\\')
      out += {'\\', static_cast<char>(value)};
    else if (value == 0xfffd && length == 1)
      out += "\\ufffd";
    else if (is_shown(value) && value >= 0x20)
      out += text.substr(at, length);
    else
      out += {'\\',
              'u',
              kHex[(value >> 12) & 15],
              kHex[(value >> 8) & 15],
              kHex[(value >> 4) & 15],
              kHex[value & 15]};
    at += length;
  }
  return out + "\"";
}

}  // namespace jailrun::agent
