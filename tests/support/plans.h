// Plans for tests that launch jails without the programs.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "jail/compile/compile.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"

namespace jailrun::test {

// The Plan of a policy of the source tree; null where it has faults, which are then printed.
inline std::unique_ptr<Plan> plan_of(const std::string& policy, const Overrides& sets = {}) {
  const auto source =
      find_policy(std::string(JAILRUN_SOURCE_DIR) + "/policies/" + policy + ".textproto");
  if (!source) return nullptr;
  const auto groups = load_groups(*source);
  if (!groups) return nullptr;
  const auto spec = parse(source->text, source->path, *groups, sets);
  if (!spec) {
    for (const Fault& fault : spec.error()) std::fprintf(stderr, "%s\n", fault.text().c_str());
    return nullptr;
  }
  auto plan = compile(*spec);
  return plan ? std::move(*plan) : nullptr;
}

}  // namespace jailrun::test
