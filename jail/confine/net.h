// Networks that lead nowhere.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "jail/sys/fd.h"

namespace jailrun {

// The null network namespace: empty, lo down, owned by the initial user namespace so that no guest
// has a right over it, shared by all jails without a network. Making a network namespace costs more
// than the rest of a jail; sharing this one is sound only where Landlock scopes abstract sockets
// (ABI 6), because those are the one thing that it would join.
//
// It is kept alive by a mount of its nsfs file in the run directory; made on first use; checked at
// each hand-out. An empty Fd means that it cannot be had here and the jail needs one of its own.
Fd open_null_network(const Fd& run_dir);

// The same for a plain user that has entered a network namespace of its own (launch/plain.h), for
// as long as the Fd lives. Owned by a user namespace of its own that maps the block of a world: its
// tables belong to that one's root, and without such a root nobody could close them.
Fd make_null_network(std::uint32_t block);

// Moves the calling thread into a network namespace for as long as the object lives, so that a
// child cloned meanwhile is born there.
class InNetwork {
 public:
  // `just_made`: known to be empty; its tables are closed to plain users.
  static Expected<InNetwork> enter(const Fd& network, bool just_made = false);
  InNetwork(InNetwork&&) = default;
  InNetwork& operator=(InNetwork&&) = delete;
  ~InNetwork();

 private:
  explicit InNetwork(Fd home) : home_(std::move(home)) {}
  Fd home_;
};

}  // namespace jailrun
