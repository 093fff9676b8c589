// The collector's side of taking files out of /work: a process with the jail's own host uid, no
// capability and a filter of its own, that walks the tree and sends descriptors of regular files.
// What it says is checked again by the owner: it has looked at a hostile tree.
#pragma once

#include <cstdint>

namespace jailrun {

enum class Found : std::uint32_t {
  File,        // with a descriptor
  NotRegular,  // link, fifo, socket, device
  Unreadable,
  TooDeep,
  TooMany,  // the walk ended here
  End,      // the last message: what has none was cut off
};

struct FoundMessage {
  Found found;
  std::uint32_t path_bytes;
  char path[4096];  // below /work, no leading slash
};

struct CollectorLimits {
  std::uint32_t entries;  // that are looked at
  std::uint32_t depth;    // directories below /work
};

// Its exit status where the kernel lacks openat2 (5.6), without which no path of a guest's is
// followed.
inline constexpr int kNoOpenat2 = 3;

// Runs in a forked child; sends FoundMessages on `socket` (SOCK_SEQPACKET) and exits. Never
// returns.
[[noreturn]] void collector_main(int work, int socket, std::uint32_t host_uid,
                                 CollectorLimits limits);

}  // namespace jailrun
