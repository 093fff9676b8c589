#include "agent/llm/schema.h"

#include <algorithm>

#include "agent/base/text.h"
#include "agent/llm/json.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

bool is_type(const json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "number") return value.is_number();
  if (type == "integer") return value.is_number_integer();
  return true;
}

std::string type_fault(const json& schema, const json& value, const std::string& what) {
  const json* type = member(schema, "type");
  if (type == nullptr) return "";
  if (type->is_string())
    return is_type(value, type->get<std::string>())
               ? ""
               : what + " must be of type " + type->get<std::string>();
  bool fits = !type->is_array();
  std::string names;
  for (const json& each : list_member(schema, "type")) {
    if (!each.is_string()) continue;
    fits = fits || is_type(value, each.get<std::string>());
    names += (names.empty() ? "" : " or ") + each.get<std::string>();
  }
  return fits ? "" : what + " must be of type " + names;
}

std::string bounds_fault(const json& schema, const json& value, const std::string& what) {
  const json* most = member(schema, value.is_array() ? "maxItems" : "maximum");
  const json* least = member(schema, value.is_array() ? "minItems" : "minimum");
  if (value.is_number() || value.is_array()) {
    const double number =
        value.is_array() ? static_cast<double>(value.size()) : value.get<double>();
    const std::string unit = value.is_array() ? " elements" : "";
    if (most != nullptr && most->is_number() && number > most->get<double>())
      return what + " must be at most " + most->dump() + unit;
    if (least != nullptr && least->is_number() && number < least->get<double>())
      return what + " must be at least " + least->dump() + unit;
  }
  const json* length = member(schema, "maxLength");
  if (value.is_string() && length != nullptr && length->is_number_unsigned() &&
      value.get_ref<const std::string&>().size() > length->get<std::size_t>())
    return what + " is longer than " + length->dump() + " bytes";
  return "";
}

std::string object_fault(const json& schema, const json& value, const std::string& what) {
  for (const json& name : list_member(schema, "required"))
    if (name.is_string() && !value.contains(name.get<std::string>()))
      return name.get<std::string>() + " is missing from " + what;
  const json* properties = member(schema, "properties");
  const json* others = member(schema, "additionalProperties");
  for (const auto& [key, inner] : value.items()) {
    const json* known = properties != nullptr ? member(*properties, key.c_str()) : nullptr;
    if (known == nullptr && others != nullptr && *others == false)
      return what + " have an unknown member " + clip(printable(key), 80);
    if (known == nullptr) continue;
    if (auto fault = schema_fault(*known, inner, key); !fault.empty()) return fault;
  }
  return "";
}

}  // namespace

std::string schema_fault(const json& schema, const json& value, const std::string& what) {
  if (auto fault = type_fault(schema, value, what); !fault.empty()) return fault;
  const json& allowed = list_member(schema, "enum");
  if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), value) == allowed.end())
    return what + " must be one of " + dump_json(allowed);
  if (auto fault = bounds_fault(schema, value, what); !fault.empty()) return fault;
  if (value.is_object()) return object_fault(schema, value, what);
  const json* items = member(schema, "items");
  if (!value.is_array() || items == nullptr) return "";
  for (std::size_t i = 0; i < value.size(); ++i)
    if (auto fault = schema_fault(*items, value[i], what + "[" + std::to_string(i) + "]");
        !fault.empty())
      return fault;
  return "";
}

}  // namespace jailrun::agent
