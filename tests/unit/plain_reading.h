// A condition of a rule as policy.proto promises it: what tests hold compiled filters against. On
// purpose not jail/trace's, which is tested against the filters itself.
#pragma once

#include <cstdint>

#include "jail/spec/rules.h"

namespace jailrun {

inline bool holds(const Condition& condition, std::uint64_t argument) {
  switch (condition.compare) {
    case Compare::Equal:
      return argument == condition.value;
    case Compare::NotEqual:
      return argument != condition.value;
    case Compare::Less:
      return argument < condition.value;
    case Compare::Greater:
      return argument > condition.value;
    case Compare::MaskedEqual:
      return (argument & condition.mask) == condition.value;
  }
  return false;
}

}  // namespace jailrun
