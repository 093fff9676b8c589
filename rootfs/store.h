// Store: the built images of this user.
//
//   STATE/rootfs/.lock             held while an image is built, by the builder and all its
//   children STATE/rootfs/NAME              symbolic link to the current generation, replaced in
//   one step STATE/rootfs/NAME-KEY/tree     a root file system STATE/rootfs/NAME-KEY/manifest.json
//   STATE/rootfs/.building-…       being made; a leftover is swept by the next build
//   STATE/rootfs/.removing-…       on its way out; likewise
//   STATE/cache                    downloaded packages and wheels, for the next build
//
// The runtime needs none of this: it opens STATE/rootfs/NAME/tree by descriptor.
#pragma once

#include <string>
#include <vector>

#include "jail/sys/error.h"
#include "jail/sys/fd.h"
#include "rootfs/manifest.h"

namespace jailrun::rootfs {

struct Generation {
  std::string name, key;
  std::string path;      // of NAME-KEY
  bool current = false;  // what NAME points to
};

class Store {
 public:
  // $JAILRUN_STATE_DIR; else /var/lib/jailrun for root and ~/.local/share/jailrun for others. Makes
  // nothing.
  static Expected<Store> of_user();
  explicit Store(std::string state) : state_(std::move(state)) {}

  const std::string& state() const { return state_; }
  std::string root() const { return state_ + "/rootfs"; }
  std::string cache() const { return state_ + "/cache"; }

  Expected<void> make_directories() const;
  // The lock of the store, waiting for a build that runs. Without CLOEXEC: children inherit it on
  // purpose.
  Expected<Fd> lock() const;

  // All generations of all images, by name, the current one of each first.
  Expected<std::vector<Generation>> generations() const;
  // The current generation, or an Error that says how to build one.
  Expected<Generation> current(const std::string& name) const;

  // Makes a finished directory the current generation NAME-KEY, durably. The lock is held.
  Expected<void> publish(const std::string& built, const std::string& name,
                         const std::string& key) const;
  // Removes what interrupted builds left and generations of `name` that are neither current nor in
  // use. The lock is held. Returns the paths removed.
  Expected<std::vector<std::string>> sweep(const std::string& name) const;

 private:
  std::string state_;
};

// "python" and the like: lower-case letters, digits, '-', '_', and a letter first.
bool valid_image_name(const std::string& name);

// Whether a live process has a mount of the generation's tree in sight, as every jail on it has.
bool in_use(const Generation& generation);

Expected<Manifest> read_manifest(const Generation& generation);

}  // namespace jailrun::rootfs
