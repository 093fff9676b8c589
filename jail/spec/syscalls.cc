#include "jail/spec/syscalls.h"

#include <seccomp.h>

#include <array>
#include <cstdlib>
#include <utility>

namespace jailrun {
namespace {

// Kernel 6.5 to 6.17, arch/x86/entry/syscalls/syscall_64.tbl.
constexpr std::array<std::pair<std::string_view, int>, 21> kNewer = {{
    {"futex_waitv", 449},       {"set_mempolicy_home_node", 450},
    {"cachestat", 451},         {"fchmodat2", 452},
    {"map_shadow_stack", 453},  {"futex_wake", 454},
    {"futex_wait", 455},        {"futex_requeue", 456},
    {"statmount", 457},         {"listmount", 458},
    {"lsm_get_self_attr", 459}, {"lsm_set_self_attr", 460},
    {"lsm_list_modules", 461},  {"mseal", 462},
    {"setxattrat", 463},        {"getxattrat", 464},
    {"listxattrat", 465},       {"removexattrat", 466},
    {"open_tree_attr", 467},    {"file_getattr", 468},
    {"file_setattr", 469},
}};
constexpr int kNumbers = 512;

}  // namespace

std::optional<int> syscall_number(std::string_view name) {
  const int number = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, std::string(name).c_str());
  if (number >= 0) return number;
  for (const auto& [newer, its_number] : kNewer) {
    if (newer == name) return its_number;
  }
  return std::nullopt;
}

std::string syscall_name(int number) {
  char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
  if (name != nullptr) {
    std::string copy = name;
    std::free(name);
    return copy;
  }
  for (const auto& [newer, its_number] : kNewer) {
    if (its_number == number) return std::string(newer);
  }
  return "call " + std::to_string(number);
}

const std::vector<std::string>& syscall_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (int number = 0; number < kNumbers; ++number) {
      std::string name = syscall_name(number);
      if (!name.starts_with("call ")) all.push_back(std::move(name));
    }
    return all;
  }();
  return names;
}

}  // namespace jailrun
