// What tells a guest's load_file() which stored file has which id: {"id": "name"} as an input named
// kManifestName below /data.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "jail/sys/error.h"
#include "jail/sys/fd.h"

namespace jailrun::store {

inline constexpr const char* kManifestName =
    ".files.json";  // as in rootfs/guest/site/jailrun_files.py

// A sealed file, open for reading only, as any input.
Expected<Fd> open_manifest(const std::vector<std::pair<std::string, std::string>>& ids_and_names);

}  // namespace jailrun::store
