// Where the recipe of the image lies, and the key that stands for all of it.
#pragma once

#include <string>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun::rootfs {

// The directory with recipe.toml: $JAILRUN_RECIPE_DIR, else ../share/jailrun/rootfs beside the
// directory of the running program, else the source tree that it was compiled from.
Expected<std::string> find_recipe();

// The files that make an image what it is, relative to `directory` and sorted: recipe.toml,
// requirements.lock, the build scripts, and everything in guest/.
Expected<std::vector<std::string>> recipe_inputs(const std::string& directory);

// 16 hex digits: SHA-256 over names and contents of all inputs. Equal keys, equal recipe.
Expected<std::string> recipe_key(const std::string& directory);

}  // namespace jailrun::rootfs
