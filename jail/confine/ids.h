// Host ids for guests: one unprivileged uid (and the gid of the same number) per live jail.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "jail/sys/fd.h"

namespace jailrun {

// The range lies above what login.defs, container engines and systemd hand out by default.
inline constexpr std::uint32_t kUidBase = 1'900'000'000, kUidCount = 65'536;
inline constexpr std::uint32_t kWorldUids = 1024, kWorldCount = 256;
// A plain user's range is shorter: so many for single jails, the rest in blocks for warm worlds.
inline constexpr std::uint32_t kPlainUidCount = 1024;

// The directory of run-time state, mode 0700, owned by the effective user: /run/jailrun for root,
// $XDG_RUNTIME_DIR/jailrun otherwise. Created where missing.
Expected<Fd> open_run_dir();

// How many ids from kUidBase on exist in this process's user namespace: all of them for root; for a
// plain user that has entered one of its own (launch/plain.h) as many as /etc/subuid gives it; 0
// where it gives none, then guests have the caller's own id.
std::uint32_t mapped_uids();

// A uid that no other live jail on this host has. The lease is a byte-range lock on an open file
// description: whoever holds a copy of the descriptor holds it, and the kernel ends it with the
// last one, also after kill -9. Nothing is ever stale.
class UidLease {
 public:
  static Expected<UidLease> acquire(const Fd& run_dir);
  // A block of kWorldUids for a world of warm jails; uid() is its first. The blocks lie above the
  // single ones and are leased in the same way; a plain user has as many as its range holds.
  static Expected<UidLease> acquire_block(const Fd& run_dir);
  std::uint32_t uid() const { return uid_; }
  std::uint32_t slot() const { return slot_; }
  // The caller's own id, for want of others: it has the caller's groups as well, which nobody
  // without a range of /etc/subgid can give up.
  bool is_own() const { return uid_ < kUidBase; }

 private:
  UidLease(Fd file, std::uint32_t uid, std::uint32_t slot)
      : file_(std::move(file)), uid_(uid), slot_(slot) {}
  static Expected<Fd> open_locks(const Fd& run_dir);
  Fd file_;
  std::uint32_t uid_, slot_;
};

// Writes the maps of a child's user namespace: kGuestUid inside is `host_uid` outside, nothing
// else. With them ends what protection from the out-of-memory killer it had from this process.
Expected<void> map_ids(pid_t child, std::uint32_t host_uid);
// For a keeper: 0 to kWorldUids - 1 inside are the block from `host_uid` outside.
Expected<void> map_block(pid_t child, std::uint32_t host_uid);

}  // namespace jailrun
