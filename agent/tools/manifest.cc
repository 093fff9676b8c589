#include "agent/tools/manifest.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "agent/base/text.h"
#include "agent/jails/failure.h"
#include "agent/llm/json.h"
#include "agent/llm/schema.h"
#include "jail/sys/fd.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
constexpr std::size_t kMostManifest = 256 << 10;

const json& manifest_schema() {
  static const json kSchema = json::parse(R"({
    "type": "object", "additionalProperties": false,
    "required": ["name", "description", "parameters", "command"],
    "properties": {
      "name": {"type": "string", "maxLength": 64},
      "description": {"type": "string", "maxLength": 4096},
      "parameters": {"type": "object"},
      "command": {"type": "array", "items": {"type": "string"}, "minItems": 1},
      "files": {"type": "array", "items": {"type": "string"}, "maxItems": 64},
      "data": {"type": "boolean"},
      "policy": {"type": "string"},
      "timeout": {"type": "string"}}})");
  return kSchema;
}

Error manifest_error(const std::string& path, int errno_value, std::string message) {
  return Error{Stage::None, path, errno_value, std::move(message),
               "agent/README.md shows what a manifest looks like"};
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

class ManifestTool : public Tool {
 public:
  ManifestTool(ToolSpec spec, const JailClient& client, GuestCommand command)
      : Tool(std::move(spec)), client_(client), command_(std::move(command)) {}

  Expected<ToolOutcome> call(const json& arguments, const ToolContext& context) override {
    if (context.progress) context.progress(spec().name + " in a fresh jail");
    GuestCommand command = command_;
    command.input = dump_json(arguments);
    TRY(const JailResult result, client_.exec(command, context.deadline));
    if (!result.ok()) return ToolOutcome{feedback(result), true, false};
    return ToolOutcome{clip(printable(result.out), 16 << 10), false, false};
  }

 private:
  const JailClient& client_;
  GuestCommand command_;
};

}  // namespace

Expected<std::unique_ptr<Tool>> read_manifest(const std::string& path, const JailClient& client) {
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (!file.valid() || fstat(file.get(), &status) != 0)
    return std::unexpected(manifest_error(path, errno, "cannot read the manifest " + path));
  const json top = S_ISREG(status.st_mode)
                       ? parse_json(read_file_at(AT_FDCWD, path.c_str(), kMostManifest))
                       : json();
  if (const auto fault = schema_fault(manifest_schema(), top, "its members"); !fault.empty())
    return std::unexpected(manifest_error(path, 0, path + " is no manifest of a tool: " + fault));
  ToolSpec spec{text_member(top, "name"), text_member(top, "description"), top["parameters"]};
  if (!is_plain_name(spec.name) || text_member(spec.parameters, "type") != "object")
    return std::unexpected(manifest_error(
        path, 0,
        path + " is no manifest of a tool: its name is letters, digits, _ and -, and its "
               "parameters are of type object"));
  GuestCommand command;
  for (const json& word : top["command"]) command.argv.push_back(word.get<std::string>());
  for (const json& each : list_member(top, "files")) {
    const auto name = each.get<std::string>();
    if (fs::path(name).filename() != name || name == ".." || name == ".")
      return std::unexpected(manifest_error(path, 0, path + ": " + name + " is not beside it"));
    command.files.push_back({(fs::path(path).parent_path() / name).string(), name});
  }
  command.with_inputs = top.value("data", false);
  command.policy = text_member(top, "policy");
  command.timeout = text_member(top, "timeout");
  return std::make_unique<ManifestTool>(std::move(spec), client, std::move(command));
}

}  // namespace jailrun::agent
