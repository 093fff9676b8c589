// Which Landlock the running kernel lets this process use.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

namespace jailrun {

// Its ABI; 0: none, or it is switched off at boot, or a sandbox around this process refuses it.
inline int landlock_abi() {
  constexpr unsigned kVersion = 1;  // LANDLOCK_CREATE_RULESET_VERSION
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kVersion);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

}  // namespace jailrun
