// What a policy says of one call: its rules read as policy.proto promises it, a pure function. The
// kernel judges by the filter compiled from the same rules; whoever traces compares the two.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "jail/spec/rules.h"

namespace jailrun {

struct Call {
  std::uint32_t arch = 0;  // AUDIT_ARCH_*
  int number = 0;
  std::array<std::uint64_t, 6> args{};
  auto operator<=>(const Call&) const = default;
};

struct Answer {
  Action action = Action::Allow;
  int errno_value = 0;             // with Errno
  const FlatRule* rule = nullptr;  // the one that counts; null: none does (ENOSYS, another ABI)
};

// 32-bit and x32 calls: no policy can allow one.
bool is_foreign(const Call& call);

bool holds(std::span<const Condition> conditions, const Call& call);
// Those of a rule's conditions that decide about this call: up to the first that does not hold.
std::span<const Condition> decisive(std::span<const Condition> conditions, const Call& call);

class Judge {
 public:
  explicit Judge(std::vector<FlatRule> rules);
  Judge(const Judge&) = delete;  // answers point into it
  Judge& operator=(const Judge&) = delete;

  Answer answer(const Call& call) const;
  // All, in the order in which they were given.
  std::span<const FlatRule> rules() const { return rules_; }
  // In the order in which they count; none where no rule names the call.
  std::span<const FlatRule* const> rules_of(int number) const;

 private:
  std::vector<FlatRule> rules_;
  std::map<int, std::vector<const FlatRule*>> by_call_;
};

}  // namespace jailrun
