#include "tests/support/schema.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>

namespace jailrun::test {
namespace {

using Json = nlohmann::json;

class Validator {
 public:
  explicit Validator(const Json& root) : root_(root) {}

  void check(const Json& schema, const Json& value, const std::string& at) {
    static const std::set<std::string> known = {
        "$schema", "title", "description", "$defs",      "$ref",
        "oneOf",   "enum",  "type",        "pattern",    "minimum",
        "maximum", "items", "required",    "properties", "additionalProperties"};
    for (const auto& [keyword, unused] : schema.items()) {
      if (!known.contains(keyword))
        fault(at, "the schema says " + keyword + ", which is not understood");
    }
    if (schema.contains("$ref")) {
      // "#/$defs/name"
      const std::string reference = schema["$ref"];
      check(root_.at(Json::json_pointer(reference.substr(1))), value, at);
    }
    if (schema.contains("oneOf")) check_one_of(schema["oneOf"], value, at);
    if (schema.contains("enum")) {
      const Json& values = schema["enum"];
      if (std::ranges::find(values, value) == values.end())
        fault(at, value.dump() + " is none of " + values.dump());
    }
    if (schema.contains("type") && !has_type(schema["type"], value)) {
      fault(at, value.dump().substr(0, 60) + " is no " + schema["type"].dump());
    }
    check_scalar(schema, value, at);
    if (value.is_array() && schema.contains("items")) {
      for (std::size_t i = 0; i < value.size(); ++i)
        check(schema["items"], value[i], at + "/" + std::to_string(i));
    }
    if (value.is_object()) check_object(schema, value, at);
  }

  std::vector<std::string> faults;

 private:
  void fault(const std::string& at, const std::string& what) { faults.push_back(at + ": " + what); }

  void check_one_of(const Json& choices, const Json& value, const std::string& at) {
    int fitting = 0;
    std::vector<std::string> all;
    for (const Json& choice : choices) {
      Validator validator(root_);
      validator.check(choice, value, at);
      fitting += validator.faults.empty() ? 1 : 0;
      all.insert(all.end(), validator.faults.begin(), validator.faults.end());
    }
    if (fitting == 1) return;
    fault(at, std::to_string(fitting) + " of the choices fit instead of one");
    if (fitting == 0) faults.insert(faults.end(), all.begin(), all.end());
  }

  void check_scalar(const Json& schema, const Json& value, const std::string& at) {
    if (value.is_string() && schema.contains("pattern")) {
      const std::string pattern = schema["pattern"];
      if (!std::regex_search(value.get<std::string>(), std::regex(pattern)))
        fault(at, value.dump() + " does not match " + pattern);
    }
    if (!value.is_number()) return;
    if (schema.contains("minimum") && value < schema["minimum"])
      fault(at, value.dump() + " is too small");
    if (schema.contains("maximum") && value > schema["maximum"])
      fault(at, value.dump() + " is too large");
  }

  void check_object(const Json& schema, const Json& value, const std::string& at) {
    if (schema.contains("required")) {
      for (const std::string name : schema["required"]) {
        if (!value.contains(name)) fault(at, name + " is missing");
      }
    }
    for (const auto& [name, member] : value.items()) {
      const std::string below = at + "/" + name;
      if (schema.contains("properties") && schema["properties"].contains(name)) {
        check(schema["properties"][name], member, below);
      } else if (schema.contains("additionalProperties")) {
        const Json& other = schema["additionalProperties"];
        if (other.is_object()) check(other, member, below);
        if (other == false) fault(below, "no such member");
      }
    }
  }

  static bool has_type(const Json& type, const Json& value) {
    if (type.is_array()) {
      return std::ranges::any_of(type, [&](const Json& each) { return has_type(each, value); });
    }
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_boolean();
    if (type == "null") return value.is_null();
    if (type == "integer") return value.is_number_integer();
    return type == "number" && value.is_number();
  }

  const Json& root_;
};

}  // namespace

std::vector<std::string> schema_faults(const Json& schema, const Json& document) {
  Validator validator(schema);
  validator.check(schema, document, "");
  return validator.faults;
}

Json result_schema() {
  std::ifstream file(std::string(JAILRUN_SOURCE_DIR) + "/jail/run/result.schema.json");
  return Json::parse(file);
}

}  // namespace jailrun::test
