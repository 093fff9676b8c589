#include "agent/jails/jail_client.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "agent/base/subprocess.h"
#include "agent/base/text.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

// Two streams of at most a few MiB each, six bytes per escaped character at worst.
constexpr std::size_t kResultLimitBytes = 64 << 20;

// What the runtime needs of our environment. A list of what passes, so that no key ever does: not
// to jailrun and so not to a jail.
std::vector<std::string> passed_environment(const std::string& socket) {
  static constexpr const char* kNames[] = {"PATH",
                                           "HOME",
                                           "USER",
                                           "LANG",
                                           "LC_ALL",
                                           "TMPDIR",
                                           "XDG_DATA_HOME",
                                           "XDG_CACHE_HOME",
                                           "XDG_CONFIG_HOME",
                                           "XDG_RUNTIME_DIR",
                                           "JAILRUN_SOCKET",
                                           "JAILRUN_POLICY_DIR",
                                           "JAILRUN_STATE_DIR"};
  std::vector<std::string> out;
  for (const char* name : kNames) {
    if (!socket.empty() && std::string_view(name) == "JAILRUN_SOCKET") continue;
    if (const char* value = std::getenv(name)) out.push_back(std::string(name) + "=" + value);
  }
  if (!socket.empty()) out.push_back("JAILRUN_SOCKET=" + socket);
  return out;
}

template <typename T>
T field(const json& object, const char* name, T otherwise) {
  auto found = object.find(name);
  if (found == object.end()) return otherwise;
  if constexpr (std::is_same_v<T, std::string>)
    return found->is_string() ? found->get<std::string>() : otherwise;
  else if constexpr (std::is_same_v<T, bool>)
    return found->is_boolean() ? found->get<bool>() : otherwise;
  else
    return found->is_number_unsigned() ? found->get<T>() : otherwise;
}

Error reported_error(const json& error) {
  Error out;
  out.object = field<std::string>(error, "object", "jail");
  out.message = "no jail: " + field<std::string>(error, "message", "it did not say why");
  out.remedy = field<std::string>(error, "remedy", "");
  if (out.remedy.empty()) out.remedy = "`jailrun doctor` tells what is missing";
  auto name = field<std::string>(error, "errno", "");
  if (!name.empty()) out.message += " (" + name + ")";
  return out;
}

Error unreadable(std::string message) {
  return Error{Stage::None, "jailrun run", 0, std::move(message),
               "`jailrun doctor` tells what is missing"};
}

void read_files(const json& files, JailResult& result) {
  for (const json& file : files)
    if (file.is_object())
      result.files.push_back({field<std::string>(file, "name", ""),
                              field<std::uint64_t>(file, "bytes", 0),
                              field<std::string>(file, "media_type", "application/octet-stream")});
}

}  // namespace

Expected<JailResult> parse_result(std::string_view text) {
  json top = json::parse(text, nullptr, false);
  if (!top.is_object()) return std::unexpected(unreadable("jailrun printed no Result"));
  if (auto error = top.find("error"); error != top.end() && error->is_object())
    return std::unexpected(reported_error(*error));

  JailResult result;
  result.verdict = field<std::string>(top, "verdict", "");
  if (result.verdict.empty())
    return std::unexpected(unreadable("jailrun printed a Result without a verdict"));
  result.reason = field<std::string>(top, "reason", "");
  if (auto code = top.find("exit_code"); code != top.end() && code->is_number_integer())
    result.exit_code = code->get<int>();
  result.out = field<std::string>(top, "stdout", "");
  result.err = field<std::string>(top, "stderr", "");
  result.out_truncated = field(top, "stdout_truncated", false);
  result.err_truncated = field(top, "stderr_truncated", false);
  if (auto files = top.find("files"); files != top.end() && files->is_array())
    read_files(*files, result);
  if (auto warnings = top.find("warnings"); warnings != top.end() && warnings->is_array())
    for (const json& warning : *warnings)
      if (warning.is_string()) result.warnings.push_back(warning.get<std::string>());
  if (auto usage = top.find("usage"); usage != top.end() && usage->is_object()) {
    result.wall_ns = field<std::uint64_t>(*usage, "wall_ns", 0);
    if (auto peak = usage->find("memory_peak_bytes");
        peak != usage->end() && peak->is_number_unsigned())
      result.memory_peak_bytes = peak->get<std::uint64_t>();
  }
  return result;
}

JailClient::JailClient(JailOptions options, std::vector<Input> inputs, const Cancel& cancel)
    : options_(std::move(options)), inputs_(std::move(inputs)), cancel_(cancel) {}

Expected<JailResult> JailClient::run(const std::string& code,
                                     const std::vector<std::string>& arguments,
                                     const std::string& out_dir, Deadline deadline) const {
  std::vector<std::string> argv = {options_.jailrun, "run", "--json"};
  if (!options_.policy.empty()) argv.insert(argv.end(), {"--policy", options_.policy});
  for (const auto& set : options_.sets) argv.insert(argv.end(), {"--set", set});
  if (!options_.timeout.empty()) argv.insert(argv.end(), {"--timeout", options_.timeout});
  for (const auto& input : inputs_)
    argv.insert(argv.end(), {"--file", input.source + ":" + input.name});
  if (!out_dir.empty()) argv.insert(argv.end(), {"--out", out_dir});
  argv.emplace_back("-");
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  // jaild has an interpreter for each policy, which the first of its runs starts: on a busy host
  // that takes longer than the ten seconds after which jaild says so. Nothing has run then.
  for (int patience = 6;; --patience) {
    auto result = finish(argv, code, deadline);
    const bool early = !result && result.error().message.find("the interpreter is not ready yet") !=
                                      std::string::npos;
    if (!early || patience <= 1 || Clock::now() >= deadline) return result;
  }
}

Expected<JailResult> JailClient::exec(const GuestCommand& guest, Deadline deadline) const {
  std::vector<std::string> argv = {options_.jailrun, "exec", "--json"};
  if (!guest.policy.empty()) argv.insert(argv.end(), {"--policy", guest.policy});
  if (!guest.timeout.empty()) argv.insert(argv.end(), {"--timeout", guest.timeout});
  for (const auto& file : guest.files)
    argv.insert(argv.end(), {"--file", file.source + ":" + file.name});
  if (guest.with_inputs)
    for (const auto& input : inputs_)
      argv.insert(argv.end(), {"--file", input.source + ":" + input.name});
  argv.emplace_back("--");
  argv.insert(argv.end(), guest.argv.begin(), guest.argv.end());
  return finish(std::move(argv), guest.input, deadline);
}

Expected<JailResult> JailClient::finish(std::vector<std::string> argv, std::string input,
                                        Deadline deadline) const {
  Command command;
  command.argv = std::move(argv);
  command.environment = passed_environment(options_.socket);
  command.input = std::move(input);
  command.stdout_limit_bytes = kResultLimitBytes;
  command.deadline = deadline;

  TRY(Finished done, run_command(command, cancel_));
  if (done.late)
    return std::unexpected(Error{Stage::None, "the question", ETIMEDOUT, "out of time during a run",
                                 "allow more with --within"});
  if (done.stdout_over) return std::unexpected(unreadable("jailrun printed more than 64 MiB"));
  auto result = parse_result(done.out);
  if (!result && !done.err.empty() && result.error().object == "jailrun run")
    result.error().message += ": " + tail(printable(done.err), 400);
  return result;
}

Expected<std::string> find_jailrun() {
  std::error_code failed;
  auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  auto beside = self.parent_path() / "jailrun";
  if (failed || access(beside.c_str(), X_OK) != 0)
    return std::unexpected(sys_error(Stage::None, beside.string(), "cannot run " + beside.string(),
                                     "install jailrun and jailrun-full in the same directory"));
  return beside.string();
}

}  // namespace jailrun::agent
