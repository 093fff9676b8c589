#include "jail/spec/environment.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "jail/spec/python.h"

namespace jailrun {
namespace {

struct Figures {
  std::uint64_t cpus, memory_bytes;
};

// What stands for the inside of one ${…}; none if it means nothing.
std::optional<std::string> expand(std::string_view inside, const Figures& figures) {
  if (inside == "cpus") return std::to_string(figures.cpus);
  constexpr std::string_view memory = "memory:";
  if (!inside.starts_with(memory) || !inside.ends_with('%')) return std::nullopt;
  const std::string_view digits = inside.substr(memory.size(), inside.size() - memory.size() - 1);
  unsigned percent = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), percent);
  if (error != std::errc{} || rest != digits.data() + digits.size()) return std::nullopt;
  if (percent < 1 || percent > 100) return std::nullopt;
  return std::to_string(figures.memory_bytes / 100 * percent);
}

// The value with every ${…} replaced; in `fault`, if given, what cannot be.
std::string expand_all(std::string_view value, const Figures& figures, std::string* fault) {
  std::string result;
  while (true) {
    const std::size_t open = value.find("${");
    result += value.substr(0, open);
    if (open == std::string_view::npos) return result;
    const std::size_t close = value.find('}', open);
    if (close == std::string_view::npos) {
      if (fault != nullptr) *fault = "a '${' without '}'";
      return result;
    }
    const auto text = expand(value.substr(open + 2, close - open - 2), figures);
    if (text) {
      result += *text;
    } else if (fault != nullptr) {
      *fault = std::string(value.substr(open, close - open + 1)).append(" stands for nothing");
    }
    value.remove_prefix(close + 1);
  }
}

}  // namespace

bool is_variable_name(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  for (const char c : name) {
    const bool fine =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!fine) return false;
  }
  return true;
}

std::string fault_in_value(std::string_view value) {
  if (value.find('\0') != std::string_view::npos) return "a NUL in the value";
  std::string fault;
  expand_all(value, {1, 1}, &fault);
  return fault;
}

std::vector<std::string> expanded_environment(const Spec& spec) {
  const Figures figures{static_cast<std::uint64_t>(std::ceil(spec.limits.cpus.get())),
                        spec.limits.memory_bytes.get()};
  std::vector<std::string> all;
  for (const auto& [name, value] : spec.environment) {
    all.push_back(name + "=" + expand_all(value, figures, nullptr));
  }
  if (const std::string python = python_for_guest(spec); !python.empty())
    all.push_back("JAILRUN_PYTHON=" + python);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace jailrun
