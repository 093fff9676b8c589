// The guest's environment: names, and values with ${cpus} and ${memory:NN%} in them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jail/spec/spec.h"

namespace jailrun {

inline constexpr std::size_t kEnvironmentMaxBytes = 8000;  // expanded it fits 8 KiB

bool is_variable_name(std::string_view name);

// What is wrong with the ${…} of a value; "" if nothing is.
std::string fault_in_value(std::string_view value);

// NAME=VALUE, expanded, sorted by name.
std::vector<std::string> expanded_environment(const Spec& spec);

}  // namespace jailrun
