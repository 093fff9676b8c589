// Spec: what a guest may do, fully checked. A value: compared, printed and tested without
// privileges. Every field means what policy.proto says of it; a number cannot leave its range.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "jail/spec/within.h"

namespace jailrun {

inline constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB,
                               kTiB = 1024 * kGiB;
inline constexpr std::uint64_t kMs = 1'000'000, kSecond = 1000 * kMs, kDay = 24 * 3600 * kSecond;

using Bytes = std::uint64_t;
using WallNs = Within<std::uint64_t, kMs, kDay>;
using CpuNs = Within<std::uint64_t, kMs, 1024 * kDay>;
using TmpfsBytes = Within<Bytes, 64 * kKiB, 64 * kGiB>;

struct SpecLimits {
  Within<Bytes, 16 * kMiB, kTiB> memory_bytes = 512 * kMiB;
  Within<std::uint32_t, 1, 32768> pids = 64;
  Within<double, 0.01, 1024.0> cpus = 1.0;
  WallNs wall_ns = 60 * kSecond;
  WallNs wall_most_ns = 60 * kSecond;  // what a client may raise wall_ns to
  CpuNs cpu_ns = 60 * kSecond;
  Within<Bytes, kKiB, kGiB> output_bytes = kMiB;
  Within<std::uint32_t, 16, 20000> open_files = 1024;
  TmpfsBytes file_size_bytes = 256 * kMiB;
  Within<std::uint32_t, 0, 100000> collect_files = 1000;
  Within<Bytes, 0, 64 * kGiB> collect_bytes = 256 * kMiB;
  bool operator==(const SpecLimits&) const = default;
};

struct SpecFiles {
  TmpfsBytes tmp_bytes = 64 * kMiB;
  TmpfsBytes work_bytes = 256 * kMiB;
  TmpfsBytes shm_bytes = 64 * kMiB;
  Within<std::uint32_t, 16, 10'000'000> inodes = 16384;
  bool exec = false;
  bool operator==(const SpecFiles&) const = default;
};

enum class SpecNetwork : std::uint8_t { None, Loopback };

enum class PoolShare : std::uint8_t { Owner, Policy };

struct SpecPool {
  Within<std::uint32_t, 0, 512> min = 0, max = 0;
  PoolShare share = PoolShare::Owner;
  Within<std::uint32_t, 1, 1'000'000> children = 5000;
  Within<std::uint64_t, kSecond, kDay> age_ns = 1800 * kSecond;
  bool operator==(const SpecPool&) const = default;
};

enum class CodeLanguage : std::uint8_t { Python, Sql };

// Patterns in the guest's terms: module names, dotted names, attributes.
struct SpecCode {
  std::vector<std::string> only_imports, refused_imports, refused_calls, refused_attributes;
  Within<Bytes, 0, 16 * kMiB> bytes = 0;  // 0: no such rule
  bool warn = false;
  bool operator==(const SpecCode&) const = default;
};

struct SpecPython {
  std::vector<std::string> preload, imports;  // imports: whole statements
  CodeLanguage language = CodeLanguage::Python;
  SpecCode code;
  bool operator==(const SpecPython&) const = default;
};

// A system call by its x86-64 number; made only from a name that is known (jail/spec/syscalls.h).
struct Syscall {
  int number;
  std::string name;
  bool operator==(const Syscall&) const = default;
};

enum class Compare : std::uint8_t { Equal, NotEqual, MaskedEqual, Less, Greater };

// A condition on all 64 bits of one argument.
struct Condition {
  Within<std::uint32_t, 0, 5> index = 0;
  Compare compare = Compare::Equal;
  std::uint64_t value = 0;
  std::uint64_t mask = 0;  // MaskedEqual: (argument & mask) == value
  auto operator<=>(const Condition&) const = default;
};

enum class Action : std::uint8_t { Allow, Errno, Kill };

struct Rule {
  std::vector<Syscall> calls;
  Action action = Action::Allow;
  int errno_value = 0;                // with Errno
  std::vector<Condition> conditions;  // sorted by index, one per argument; all must hold
  std::string why;
  bool operator==(const Rule&) const = default;
};

struct RuleGroup {
  std::string name, description;
  std::vector<Rule> rules;
  bool operator==(const RuleGroup&) const = default;
};

enum class LimitKind : std::uint8_t { Memory, Pids, Cpu };

struct SpecDanger {
  std::variant<LimitKind, Syscall> weakened;
  std::string why;
  bool operator==(const SpecDanger&) const = default;
};

struct Spec {
  std::string name, description, image;
  SpecLimits limits;
  SpecFiles files;
  SpecNetwork network = SpecNetwork::None;
  std::vector<RuleGroup> groups;  // as the policy names them, with their rules
  std::vector<Rule> rules;        // of the policy alone
  std::map<std::string, std::string> environment;
  std::vector<std::string> overridable;
  std::vector<SpecDanger> dangers;
  SpecPool pool;
  SpecPython python;
  bool packages = false;
  bool operator==(const Spec&) const = default;
};

}  // namespace jailrun
