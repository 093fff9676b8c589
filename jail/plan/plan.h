// Plan: a Spec turned into the exact arguments of the system calls that build a jail.
//
// Trivially copyable and of fixed size, so that it is cached by one write(2), loaded by one
// read(2), and launching it allocates nothing in the child. Everything that can be decided before
// clone is decided here.
#pragma once

#include <linux/filter.h>
#include <sys/resource.h>

#include <array>
#include <cstdint>
#include <type_traits>

namespace jailrun {

// What the guest sees itself as: uid and gid.
inline constexpr std::uint32_t kGuestUid = 1000;

enum class NetworkMode : std::uint8_t { None, Loopback };

// Bits of Plan::may_lack: limits that a `danger` block lets the host not enforce.
inline constexpr std::uint32_t kLackMemory = 1, kLackPids = 2, kLackCpu = 4;

struct TmpfsPlan {
  std::uint64_t bytes;
  std::uint32_t inodes;
};

struct RlimitPlan {
  std::int32_t resource;
  std::uint64_t value;  // soft and hard
};

// Jails made ahead, and how long one interpreter serves. max 0: never.
struct PoolPlan {
  std::uint32_t min, max, children;
  std::uint64_t age_ns;
  bool share_policy;  // one interpreter for all owners
};

// Landlock rights, narrowed to what the running kernel's ABI knows. abi 0: not available.
struct LandlockPlan {
  std::int32_t abi;
  std::uint64_t handled_fs, read_fs, write_fs;  // LANDLOCK_ACCESS_FS_*
  std::uint64_t handled_net, scoped;
};

struct Plan {
  static constexpr std::uint32_t kMagic = 0x6a72706c;  // "jrpl"
  static constexpr std::uint32_t kVersion = 4;

  std::uint32_t magic, version, size;
  char policy[64];
  char image[64];

  std::uint64_t memory_bytes;
  std::uint32_t pids;
  std::uint32_t cpu_millis;  // thousandths of a CPU
  std::uint64_t wall_ns, cpu_ns, output_bytes;
  std::uint32_t collect_files;
  std::uint64_t collect_bytes;
  std::uint32_t may_lack;

  TmpfsPlan tmp, work, shm;
  bool exec_writable;  // tmpfs without noexec
  NetworkMode network;
  bool packages;  // whether layers of approved packages may be mounted

  std::array<RlimitPlan, 12> rlimits;
  std::uint32_t rlimit_count;

  LandlockPlan landlock;

  // The environment: env_count strings NAME=VALUE, each ended by NUL, one after the other.
  std::uint32_t env_count, env_bytes;
  std::array<char, 8192> env;

  std::uint32_t filter_length;  // instructions
  std::array<sock_filter, 1024> filter;

  PoolPlan pool;
};

static_assert(std::is_trivially_copyable_v<Plan>);

}  // namespace jailrun
