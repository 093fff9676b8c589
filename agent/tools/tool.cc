#include "agent/tools/tool.h"

#include <algorithm>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/llm/schema.h"

namespace jailrun::agent {

using nlohmann::json;

ToolOutcome misuse(std::string text) { return ToolOutcome{std::move(text), true, false}; }

json Tool::definition() const {
  return {{"type", "function"},
          {"function",
           {{"name", spec_.name},
            {"description", spec_.description},
            {"parameters", spec_.parameters}}}};
}

void ToolTable::add(std::unique_ptr<Tool> tool) {
  for (auto& known : tools_) {
    if (known->spec().name != tool->spec().name) continue;
    known = std::move(tool);
    return;
  }
  tools_.push_back(std::move(tool));
}

Tool* ToolTable::find(const std::string& name) const {
  for (const auto& tool : tools_)
    if (tool->spec().name == name) return tool.get();
  return nullptr;
}

std::vector<ToolSpec> ToolTable::specs() const {
  std::vector<ToolSpec> out;
  for (const auto& tool : tools_) out.push_back(tool->spec());
  return out;
}

json ToolTable::definitions() const {
  json out = json::array();
  for (const auto& tool : tools_) out.push_back(tool->definition());
  return out;
}

Expected<ToolOutcome> ToolTable::call(const ToolCall& call, const ToolContext& context) const {
  Tool* tool = find(call.name);
  if (tool == nullptr) {
    std::string names;
    for (const auto& known : tools_) names += (names.empty() ? "" : ", ") + known->spec().name;
    return misuse("Error: The requested tool '" + clip(printable(call.name), 80) +
                  "' is not registered. There are: " + (names.empty() ? "none" : names) + ".");
  }
  // No arguments at all stand for none.
  json arguments = call.arguments.empty() ? json::object() : parse_json(call.arguments);
  const std::string& name = tool->spec().name;
  if (!arguments.is_object())
    return misuse("The arguments of " + name + " are not a JSON object; send them again.");
  const auto fault = schema_fault(tool->spec().parameters, arguments);
  if (!fault.empty()) return misuse(name + ": " + fault + "; send the call again.");
  return tool->call(arguments, context);
}

json strings_schema(const std::vector<StringMember>& members) {
  json out = {{"type", "object"},
              {"properties", json::object()},
              {"required", json::array()},
              {"additionalProperties", false}};
  for (const auto& [name, description] : members) {
    out["properties"][name] = {{"type", "string"}, {"description", description}};
    out["required"].push_back(name);
  }
  return out;
}

std::string clean_code(std::string code) {
  std::erase(code, '\0');
  const auto from = code.find_first_not_of(" \t\r\n");
  if (from == std::string::npos || code.compare(from, 3, "```") != 0) return code;
  const auto begin = code.find('\n', from);
  const auto end = code.rfind("```");
  if (begin == std::string::npos || end <= begin) return code;
  return code.substr(begin + 1, end - begin - 1);
}

}  // namespace jailrun::agent
