// Building an image: the recipe's build.py makes the tree, this makes it a generation of the store.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "jail/sys/error.h"
#include "rootfs/store.h"

namespace jailrun::rootfs {

struct BuildOptions {
  std::string image = "python";
  // Of Debian; empty: the host's own if it is Debian's, else the tool's default.
  std::string mirror = {};
  bool rebuild = false;  // even if the current generation has the recipe's key
  std::function<void(std::string_view line)> progress = {};
};

struct Built {
  Generation generation;
  bool up_to_date = false;  // nothing had to be done
  std::uint64_t bytes = 0;
};

// Builds the image unless its current generation is made from this very recipe. Waits for a build
// that runs. An interruption (SIGINT, SIGTERM) ends the builder, removes what it made and gives an
// Error with errno EINTR; after SIGKILL the next build sweeps. Not for programs with threads: it
// forks.
Expected<Built> build(const Store& store, const std::string& recipe, const BuildOptions& options);

}  // namespace jailrun::rootfs
