// Rules made of the bytes, compiled, against a plain reading of them: KILL, ERRNO with conditions,
// ALLOW, ERRNO without, ENOSYS; a later rule for the same arguments replaces an earlier one.
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "jail/compile/compile.h"
#include "jail/compile/filter.h"
#include "jail/spec/syscalls.h"
#include "tests/fuzz/input.h"
#include "tests/unit/bpf_eval.h"
#include "tests/unit/plain_reading.h"

namespace {

using namespace jailrun;
using fuzz::check;
using fuzz::Input;

constexpr std::uint32_t kX32 = 0x40000000;
constexpr std::array kCalls = {SYS_read,  SYS_ioctl,  SYS_socket, SYS_clone,
                               SYS_prctl, SYS_openat, SYS_mmap,   SYS_seccomp};

std::uint64_t value_of(Input& bytes) {
  switch (bytes.byte() % 4) {
    case 0:
      return bytes.byte();
    case 1:
      return std::uint64_t{bytes.byte()} << 32;
    case 2:
      return ~std::uint64_t{bytes.byte()};
    default:
      return bytes.number<std::uint64_t>();
  }
}

Condition condition_of(Input& bytes, std::uint32_t index) {
  Condition condition;
  condition.index = *Within<std::uint32_t, 0, 5>::of(index);
  condition.compare = static_cast<Compare>(bytes.byte() % 5);
  condition.value = value_of(bytes);
  if (condition.compare == Compare::MaskedEqual) {
    condition.mask = value_of(bytes);
    condition.value &= condition.mask;
  }
  return condition;
}

Spec spec_of(Input& bytes) {
  Spec spec;
  for (int count = bytes.byte() % 8; count >= 0; --count) {
    Rule rule;
    const auto number = static_cast<int>(kCalls[bytes.byte() % kCalls.size()]);
    rule.calls.push_back({number, syscall_name(number)});
    const std::uint8_t what = bytes.byte();
    rule.action = static_cast<Action>(what % 3);
    if (rule.action == Action::Errno) rule.errno_value = 1 + what / 3 % 100;
    const std::uint8_t indices = bytes.byte();
    for (std::uint32_t index = 0; index < 3; ++index)
      if ((indices >> index & 1) != 0) rule.conditions.push_back(condition_of(bytes, index));
    rule.why = "fuzzed";
    spec.rules.push_back(std::move(rule));
  }
  return spec;
}

std::uint32_t verdict(const Rule& rule) {
  if (rule.action == Action::Allow) return SECCOMP_RET_ALLOW;
  if (rule.action == Action::Kill) return SECCOMP_RET_KILL_PROCESS;
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(rule.errno_value);
}

std::uint32_t expected(const Spec& spec, const seccomp_data& data) {
  const auto number = static_cast<std::uint32_t>(data.nr);
  if (data.arch != AUDIT_ARCH_X86_64) return SECCOMP_RET_KILL_PROCESS;
  if (number >= kX32 && number != ~0u) return SECCOMP_RET_KILL_PROCESS;
  std::vector<const Rule*> in_force;
  for (const Rule& rule : spec.rules) {
    if (rule.calls[0].number != data.nr) continue;
    std::erase_if(in_force, [&](const Rule* other) {
      return other->action != Action::Kill && other->conditions == rule.conditions;
    });
    in_force.push_back(&rule);
  }
  const auto first = [&](Action action, bool bare, bool either) -> const Rule* {
    for (const Rule* rule : in_force)
      if (rule->action == action && (either || rule->conditions.empty() == bare) &&
          std::ranges::all_of(rule->conditions, [&](const auto& one) {
            return holds(one, data.args[one.index.get()]);
          }))
        return rule;
    return nullptr;
  };
  if (const Rule* rule = first(Action::Kill, false, true)) return verdict(*rule);
  if (const Rule* rule = first(Action::Errno, false, false)) return verdict(*rule);
  if (const Rule* rule = first(Action::Allow, false, true)) return verdict(*rule);
  if (const Rule* rule = first(Action::Errno, true, false)) return verdict(*rule);
  return SECCOMP_RET_ERRNO | ENOSYS;
}

// At and around what the rules name, in either half.
std::uint64_t argument_near(const Spec& spec, Input& bytes) {
  const Rule& rule = spec.rules[bytes.byte() % spec.rules.size()];
  const std::uint8_t how = bytes.byte();
  if (rule.conditions.empty()) return value_of(bytes);
  const Condition& condition = rule.conditions[how / 8 % rule.conditions.size()];
  const std::uint64_t around[] = {condition.value,
                                  condition.value + 1,
                                  condition.value - 1,
                                  condition.value ^ (1ULL << 32),
                                  condition.value ^ (1ULL << 63),
                                  condition.value | ~condition.mask,
                                  condition.value << 32 | condition.value >> 32,
                                  ~condition.value};
  return around[how % 8];
}

// The conditions of two rules may be met together and ask for different errors; which one counts
// is not promised.
bool is_promised(const Spec& spec) {
  const auto narrow = [](const Rule& rule) {
    return rule.action == Action::Errno && !rule.conditions.empty();
  };
  for (const Rule& one : spec.rules)
    for (const Rule& other : spec.rules)
      if (narrow(one) && narrow(other) && one.calls == other.calls &&
          one.errno_value != other.errno_value)
        return false;
  return true;
}

void compare(const Spec& spec, const std::vector<sock_filter>& program, const seccomp_data& data,
             const char* which) {
  const auto got = test::evaluate(program, data);
  const std::uint32_t wanted = expected(spec, data);
  if (got && got->action == wanted) return;
  std::fprintf(stderr, "%s: call %d arch %x (%llx, %llx, %llx): %x, not %x\n", which, data.nr,
               data.arch, data.args[0], data.args[1], data.args[2], wanted, got ? got->action : 0);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input bytes(data, size);
  const Spec spec = spec_of(bytes);
  const auto linear = spelled_filter(spec, Spelling::Linear);
  const auto tree = spelled_filter(spec, Spelling::Tree);
  const auto compiled = compile_filter(spec);
  if (!linear || !tree || !compiled) {
    check(linear || !linear.error().remedy.empty());
    return 0;
  }
  if (!is_promised(spec)) return 0;
  for (int i = 0; i < 24; ++i) {
    seccomp_data call{};
    call.nr = spec.rules[bytes.byte() % spec.rules.size()].calls[0].number;
    call.arch = AUDIT_ARCH_X86_64;
    const std::uint8_t odd = bytes.byte();
    if (odd % 16 == 1) call.arch = AUDIT_ARCH_I386;
    if (odd % 16 == 2) call.nr = static_cast<int>(static_cast<std::uint32_t>(call.nr) | kX32);
    if (odd % 16 == 3) call.nr = bytes.number<std::int32_t>();
    for (auto& argument : call.args) argument = argument_near(spec, bytes);
    compare(spec, *linear, call, "linear");
    compare(spec, *tree, call, "tree");
    compare(spec, *compiled, call, "compiled");
  }
  return 0;
}
