#include "agent/record/redact.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <filesystem>

#include "agent/base/text.h"
#include "agent/llm/settings.h"
#include "jail/sys/fd.h"

extern char** environ;

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr std::size_t kShortest = 8, kShortestLook = 16;
constexpr const char* kShown = "[key]";

// How keys of well-known services begin.
constexpr std::array<std::string_view, 13> kLooks{"sk-",         "jr_",     "ghp_",  "gho_", "ghs_",
                                                  "github_pat_", "glpat-",  "xoxb-", "AKIA", "AIza",
                                                  "hf_",         "Bearer ", "npm_"};

bool names_a_secret(const std::string& name) {
  const auto text = lower(name);
  for (const char* word : {"key", "token", "secret", "password", "passwd", "credential"})
    if (text.find(word) != std::string::npos) return true;
  return false;
}

bool is_key_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

std::string without_looks(const std::string& from, std::string_view look) {
  std::string out;
  std::size_t at = 0;
  while (true) {
    const auto found = from.find(look, at);
    if (found == std::string::npos) break;
    auto end = found + look.size();
    while (end < from.size() && is_key_character(from[end])) ++end;
    const bool inside = found > 0 && std::isalnum(static_cast<unsigned char>(from[found - 1])) != 0;
    const bool is_key = !inside && end - found - look.size() >= kShortestLook;
    out += from.substr(at, found - at);
    out += is_key ? kShown : from.substr(found, end - found);
    at = end;
  }
  return out.empty() ? from : out + from.substr(at);
}

}  // namespace

Redactor Redactor::from_environment() {
  Redactor made;
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    const std::string entry = *each;
    const auto equals = entry.find('=');
    if (equals != std::string::npos && names_a_secret(entry.substr(0, equals)))
      made.add(entry.substr(equals + 1));
  }
  // Not of a FIFO, which would wait for a writer.
  std::error_code none;
  const bool is_file = std::filesystem::is_regular_file(".env", none);
  const auto file = is_file ? read_file_at(AT_FDCWD, ".env", 64 << 10) : std::string();
  for (const auto& [name, value] : parse_env_file(file))
    if (names_a_secret(name)) made.add(value);
  return made;
}

void Redactor::add(const std::string& secret) {
  if (secret.size() < kShortest) return;
  secrets_.push_back(secret);
  // One may begin with another.
  std::ranges::sort(secrets_, [](const auto& a, const auto& b) { return a.size() > b.size(); });
}

std::string Redactor::text(std::string from) const {
  for (const auto& secret : secrets_)
    for (std::size_t at = 0; (at = from.find(secret, at)) != std::string::npos;
         at += std::strlen(kShown))
      from.replace(at, secret.size(), kShown);
  for (const auto look : kLooks)
    if (from.find(look) != std::string::npos) from = without_looks(from, look);
  return from;
}

json Redactor::value(json from) const {
  if (from.is_string()) return text(from.get<std::string>());
  if (from.is_array())
    for (json& each : from) each = value(std::move(each));
  if (!from.is_object()) return from;
  json out = json::object();
  for (auto& [name, member] : from.items()) out[text(name)] = value(std::move(member));
  return out;
}

}  // namespace jailrun::agent
