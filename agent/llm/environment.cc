#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "agent/llm/settings.h"
#include "jail/sys/fd.h"

namespace jailrun::agent {
namespace {

constexpr std::size_t kMostFile = 64 << 10;

constexpr const char* kNames[] = {"LLM_PROVIDER",      "LLM_BASE_URL",         "LLM_API_KEY",
                                  "LLM_MODEL",         "LLM_REASONING_EFFORT", "LLM_PRICES",
                                  "LLM_TRANSCRIPT",    "LLM_RECORD",           "OPENAI_API_KEY",
                                  "OPENAI_BASE_URL",   "OPENAI_MODEL",         "OPENAI_API",
                                  "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL",   "ANTHROPIC_MODEL"};

std::string_view trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\r");
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\r") - from + 1);
}

std::string value_of(std::string_view text) {
  text = trimmed(text);
  if (!text.empty() && (text[0] == '"' || text[0] == '\'')) {
    const auto end = text.find(text[0], 1);
    return std::string(text.substr(1, end == std::string_view::npos ? end : end - 1));
  }
  const auto comment = text.find(" #");
  return std::string(trimmed(text.substr(0, comment)));
}

// Whoever can write it chooses where keys are sent. sudo keeps the directory of whoever called it.
bool others_can_write(const struct stat& status) {
  const char* caller = std::getenv("SUDO_UID");
  const bool ours =
      status.st_uid == 0 || status.st_uid == geteuid() ||
      (geteuid() == 0 && caller != nullptr && std::to_string(status.st_uid) == caller);
  return !ours || (status.st_mode & 022) != 0;
}

Error file_error(const std::string& file, int errno_value, std::string message,
                 std::string remedy) {
  return Error{Stage::None, file, errno_value, std::move(message), std::move(remedy)};
}

}  // namespace

std::map<std::string, std::string> parse_env_file(const std::string& text) {
  std::map<std::string, std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    auto end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    auto line = trimmed(std::string_view(text).substr(at, end - at));
    at = end + 1;
    if (line.starts_with("export ")) line = trimmed(line.substr(7));
    const auto equals = line.find('=');
    if (line.empty() || line[0] == '#' || equals == std::string_view::npos) continue;
    out[std::string(trimmed(line.substr(0, equals)))] = value_of(line.substr(equals + 1));
  }
  return out;
}

Expected<Environment> Environment::load(const std::string& file) {
  Environment made;
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const Fd opened(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status{};
  if (!opened.valid() && errno != ENOENT)
    return std::unexpected(file_error(file, errno, "cannot read " + file,
                                      "check its permissions, or go to another directory"));
  if (opened.valid() && fstat(opened.get(), &status) == 0 && S_ISREG(status.st_mode)) {
    std::string text(kMostFile, '\0');
    const ssize_t got = read(opened.get(), text.data(), text.size());
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    const auto found = parse_env_file(text);
    for (const char* name : kNames)
      if (auto value = found.find(name); value != found.end())
        made.values_[name] = {value->second, true};
    if (!made.values_.empty() && others_can_write(status))
      return std::unexpected(
          file_error(file, 0,
                     file + " names a model's server or key, but somebody else owns it or may "
                            "write it",
                     "make it yours (chown, chmod 600), or go to another directory"));
  }
  for (const char* name : kNames)
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0')
      made.values_[name] = {value, false};
  return made;
}

Environment::Value Environment::get(const std::string& name) const {
  const auto found = values_.find(name);
  return found != values_.end() ? found->second : Value{};
}

}  // namespace jailrun::agent
