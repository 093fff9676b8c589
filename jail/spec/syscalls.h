// System calls by name. libseccomp's table, and the calls that are newer than the libseccomp of
// Debian 12: a policy may name them today, a typo stays a fault.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace jailrun {

// The x86-64 number of a name that is known; none for calls that x86-64 has not (such as
// socketcall).
std::optional<int> syscall_number(std::string_view name);

// "read"; "call NNN" for one without a name.
std::string syscall_name(int number);

// All names, in order of their numbers.
const std::vector<std::string>& syscall_names();

}  // namespace jailrun
