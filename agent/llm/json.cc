#include "agent/llm/json.h"

#include "agent/base/text.h"

namespace jailrun::agent {

using nlohmann::json;

json parse_json(std::string_view text) {
  return too_deep(text) ? json(json::value_t::discarded) : json::parse(text, nullptr, false);
}

std::string dump_json(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

const json* member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  auto found = object.find(name);
  return found != object.end() ? &*found : nullptr;
}

std::string text_member(const json& object, const char* name) {
  const json* found = member(object, name);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

std::uint64_t count_member(const json& object, const char* name) {
  const json* found = member(object, name);
  return found != nullptr && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

const json& list_member(const json& object, const char* name) {
  static const json kNone = json::array();
  const json* found = member(object, name);
  return found != nullptr && found->is_array() ? *found : kNone;
}

}  // namespace jailrun::agent
