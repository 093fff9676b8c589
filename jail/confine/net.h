// Networks that lead nowhere.
#pragma once

#include <sys/types.h>

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

// Moves the calling thread into a network namespace for as long as the object lives, so that a
// child cloned meanwhile is born there.
class InNetwork {
 public:
  static Expected<InNetwork> enter(const Fd& network);
  InNetwork(InNetwork&&) = default;
  InNetwork& operator=(InNetwork&&) = delete;
  ~InNetwork();

 private:
  explicit InNetwork(Fd home) : home_(std::move(home)) {}
  Fd home_;
};

}  // namespace jailrun
