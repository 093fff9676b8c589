// Numbers that an operator sets by an environment variable.
#pragma once

#include <algorithm>
#include <cstdlib>

namespace jailrun::agent {

// Unset: `otherwise`. Beyond the bounds: the nearer bound; `jailrun config check` names such.
inline std::size_t number_from_environment(const char* name, std::size_t otherwise,
                                           std::size_t least, std::size_t most) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  return std::clamp<std::size_t>(std::strtoul(text, nullptr, 10), least, most);
}

}  // namespace jailrun::agent
