// Workspace: where the files of a question land. Nothing of the user's is ever overwritten, and no
// directory is made before there is a file to put in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun::agent {

struct SavedFile {
  std::string path;  // on the host
  std::string name;  // below the directory
  std::uint64_t bytes = 0;
};

class Workspace {
 public:
  // `out`: the directory asked for, or empty for ./jailrun-out-ID.
  static Expected<Workspace> open(const std::string& out);
  Workspace(Workspace&& other) noexcept;
  Workspace& operator=(Workspace&&) = delete;
  ~Workspace();  // removes what was not kept

  // A new empty directory for one run, on the file system of the final one.
  Expected<std::string> new_run();
  // Moves the regular files below `run` to the directory; a name that is taken gets a number
  // ("plot-2.png"). Symbolic links and devices are left behind.
  Expected<std::vector<SavedFile>> keep(const std::string& run);

 private:
  Workspace() = default;
  std::string target_, staging_;
  int runs_ = 0;
};

}  // namespace jailrun::agent
