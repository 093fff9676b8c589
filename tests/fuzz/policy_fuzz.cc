// Any bytes as a policy: a Spec that survives printing, or at least one fault; never a crash.
//
// What stands before a NUL is the policy, each further NUL-ended text a --set.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "jail/compile/compile.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"

namespace {

const jailrun::GroupTexts& groups() {
  static const jailrun::GroupTexts all =
      jailrun::load_groups({"", "", {JAILRUN_SOURCE_DIR "/policies/seccomp"}}).value();
  return all;
}

void check(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view text = input.substr(0, input.find('\0'));
  jailrun::Overrides sets;
  while (input.find('\0') != std::string_view::npos && sets.size() < 8) {
    input.remove_prefix(input.find('\0') + 1);
    sets.emplace_back(input.substr(0, input.find('\0')));
  }
  const auto spec = jailrun::parse(text, "fuzz", groups(), sets);
  if (!spec) {
    check(!spec.error().empty());
    for (const jailrun::Fault& fault : spec.error())
      check(!fault.text().empty() && !fault.remedy.empty());
    return 0;
  }
  const auto again = jailrun::parse(jailrun::print(*spec), "fuzz", groups());
  check(again.has_value() && *again == *spec);
  const auto plan = jailrun::compile(*spec);
  check(plan.has_value() || !plan.error().remedy.empty());
  return 0;
}
