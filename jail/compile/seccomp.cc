// The filter. libseccomp compiles; what it cannot say is said by layers; what it says at length is
// said again in short.
//
// libseccomp gives a call one action for each set of arguments, all else the filter's default, so
// neither "ioctl, but not TIOCSTI" nor "socket(AF_UNIX), else EAFNOSUPPORT" fits in one of its
// filters. Here each layer is a filter of its own whose default is to go on to the next layer;
// behind the last one stands ENOSYS. A call that has one kind of rule is decided in the first
// layer: the second is a handful of calls.
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "jail/compile/compile.h"
#include "jail/compile/decision.h"
#include "jail/compile/filter.h"
#include "jail/spec/rules.h"
#include "jail/sys/fd.h"

namespace jailrun {
namespace {

// "Go on": an action that no rule can ask for, replaced by a jump before the kernel sees it.
constexpr std::uint32_t kNext = SCMP_ACT_TRACE(0x4e58);
constexpr std::uint32_t kDefault = SECCOMP_RET_ERRNO | ENOSYS;

using Layer = std::vector<const FlatRule*>;

std::uint32_t action_of(const FlatRule& rule) {
  if (rule.action == Action::Allow) return SCMP_ACT_ALLOW;
  if (rule.action == Action::Kill) return SCMP_ACT_KILL_PROCESS;
  return SCMP_ACT_ERRNO(static_cast<std::uint32_t>(rule.errno_value));
}

// The order in which rules for one call are judged, as policy.proto promises it.
int rank(const FlatRule& rule) {
  if (rule.action == Action::Kill) return 0;
  if (rule.action == Action::Allow) return 2;
  return rule.conditions.empty() ? 3 : 1;
}

// libseccomp 2.5 joins the rules of a call into one tree, and does not come back from some that
// compare for order, or several arguments for difference. Of what joins, this much is plain.
bool compares_one_value(const FlatRule& rule) {
  return rule.conditions.size() == 1 && rule.conditions.front().compare == Compare::Equal;
}

bool share_a_layer(const FlatRule& before, const FlatRule& rule) {
  if (action_of(before) != action_of(rule)) return false;
  if (rule.conditions.empty()) return true;
  return compares_one_value(before) && compares_one_value(rule) &&
         before.conditions.front().index == rule.conditions.front().index;
}

// Puts each rule into the first layer where nothing that comes before it in rank can be overtaken.
std::vector<Layer> layers_of(const std::vector<FlatRule>& rules) {
  std::map<int, Layer> by_call;
  for (const FlatRule& rule : rules) by_call[rule.call.number].push_back(&rule);
  std::vector<Layer> layers;
  for (auto& [number, of_call] : by_call) {
    std::stable_sort(of_call.begin(), of_call.end(),
                     [](const FlatRule* a, const FlatRule* b) { return rank(*a) < rank(*b); });
    std::size_t layer = 0;
    const FlatRule* before = nullptr;
    for (const FlatRule* rule : of_call) {
      // What no rule decides ends there anyway.
      if (rule->conditions.empty() && action_of(*rule) == kDefault) break;
      if (before != nullptr && !share_a_layer(*before, *rule)) ++layer;
      before = rule;
      if (layers.size() <= layer) layers.resize(layer + 1);
      layers[layer].push_back(rule);
      // Whatever follows can never be reached.
      if (rule->conditions.empty()) break;
    }
  }
  return layers;
}

scmp_arg_cmp comparison(const Condition& condition) {
  scmp_arg_cmp compare{};
  compare.arg = condition.index.get();
  compare.datum_a = condition.value;
  switch (condition.compare) {
    case Compare::Equal:
      compare.op = SCMP_CMP_EQ;
      break;
    case Compare::NotEqual:
      compare.op = SCMP_CMP_NE;
      break;
    case Compare::Less:
      compare.op = SCMP_CMP_LT;
      break;
    case Compare::Greater:
      compare.op = SCMP_CMP_GT;
      break;
    case Compare::MaskedEqual:
      compare.op = SCMP_CMP_MASKED_EQ;
      compare.datum_a = condition.mask;
      compare.datum_b = condition.value;
  }
  return compare;
}

Error refused(const std::string& object, int error) {
  return {Stage::None, object, -error, "libseccomp refuses " + object,
          "report the policy: its rules for this call do not go together"};
}

Expected<void> add_rules(scmp_filter_ctx filter, const Layer& layer) {
  for (const FlatRule* rule : layer) {
    // A rule for the whole call says what its narrower ones of the same layer say.
    const bool covered =
        !rule->conditions.empty() &&
        std::any_of(layer.begin(), layer.end(), [&](const FlatRule* other) {
          return other->call.number == rule->call.number && other->conditions.empty();
        });
    if (covered) continue;
    std::vector<scmp_arg_cmp> compares;
    for (const Condition& condition : rule->conditions) compares.push_back(comparison(condition));
    const int error =
        seccomp_rule_add_exact_array(filter, action_of(*rule), rule->call.number,
                                     static_cast<unsigned>(compares.size()), compares.data());
    if (error != 0) return std::unexpected(refused(rule->call.name, error));
  }
  return {};
}

Expected<std::vector<sock_filter>> exported(scmp_filter_ctx filter) {
  const auto failed = [](const char* what) {
    return std::unexpected(
        sys_error(Stage::None, "filter", what, "check memory and open descriptors"));
  };
  const Fd file(memfd_create("filter", MFD_CLOEXEC));
  if (!file.valid()) return failed("cannot create a memory file for the filter");
  if (const int error = seccomp_export_bpf(filter, file.get()); error != 0) {
    return std::unexpected(refused("the filter", error));
  }
  const off_t bytes = lseek(file.get(), 0, SEEK_END);
  if (bytes <= 0) return failed("cannot read the filter back");
  std::vector<sock_filter> program(static_cast<std::size_t>(bytes) / sizeof(sock_filter));
  const std::size_t size = program.size() * sizeof(sock_filter);
  if (pread(file.get(), program.data(), size, 0) != static_cast<ssize_t>(size)) {
    return failed("cannot read the filter back");
  }
  return program;
}

Expected<std::vector<sock_filter>> compile_layer(const Layer& layer, Spelling spelling) {
  // Foreign architectures die (the attribute's default is only the thread), x32 numbers too.
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter(seccomp_init(kNext),
                                                                seccomp_release);
  if (filter == nullptr) return std::unexpected(refused("the filter", -ENOMEM));
  int error = 0;
  if (seccomp_arch_native() != SCMP_ARCH_X86_64) error = -EOPNOTSUPP;
  if (error == 0)
    error = seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  if (error == 0) {
    error = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE,
                             spelling == Spelling::Tree ? 2U : 1U);
  }
  if (error != 0) return std::unexpected(refused("the filter", error));
  TRY_VOID(add_rules(filter.get(), layer));
  return exported(filter.get());
}

}  // namespace

Expected<std::vector<sock_filter>> spelled_filter(const Spec& spec, Spelling spelling) {
  const std::vector<FlatRule> rules = effective_rules(spec);
  std::vector<sock_filter> whole;
  for (const Layer& layer : layers_of(rules)) {
    TRY(const std::vector<sock_filter> program, compile_layer(layer, spelling));
    const std::size_t begin = whole.size();
    const std::size_t next = begin + program.size();
    for (const sock_filter& instruction : program) {
      const bool go_on = instruction.code == (BPF_RET | BPF_K) && instruction.k == kNext;
      const std::size_t skip = next - whole.size() - 1;
      whole.push_back(go_on
                          ? sock_filter BPF_STMT(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(skip))
                          : instruction);
    }
  }
  whole.push_back(BPF_STMT(BPF_RET | BPF_K, kDefault));
  return whole;
}

Expected<std::vector<sock_filter>> shrink_filter(std::span<const sock_filter> program) {
  TRY(const Decision decision, read_decision(program));
  return write_decision(decision);
}

Expected<std::vector<sock_filter>> compile_filter(const Spec& spec) {
  TRY(const std::vector<sock_filter> spelled, spelled_filter(spec, Spelling::Linear));
  return shrink_filter(spelled);
}

}  // namespace jailrun
