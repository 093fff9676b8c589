// Reading JSON that nobody has checked: a field of the wrong type counts as absent.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace jailrun::agent {

// The value, or a discarded one for text that is no JSON or nests deeper than any honest one.
nlohmann::json parse_json(std::string_view text);
// On one line; bytes that are no UTF-8 are replaced.
std::string dump_json(const nlohmann::json& value);

const nlohmann::json* member(const nlohmann::json& object, const char* name);
std::string text_member(const nlohmann::json& object, const char* name);
std::uint64_t count_member(const nlohmann::json& object, const char* name);
// An empty array where there is none.
const nlohmann::json& list_member(const nlohmann::json& object, const char* name);

}  // namespace jailrun::agent
