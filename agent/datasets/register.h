// Registering a data set: its files are looked at in a jail, once.
#pragma once

#include "agent/datasets/registry.h"

namespace jailrun::agent {

struct NewDataset {
  std::string id, name, description, as_of;
  std::vector<std::string> prompts;
  std::vector<std::string> files;  // SRC[:NAME], copied; or image:/PATH
};

// Copies the files to `dir`/ID and puts the entry, with schema, first rows and hash, into the
// registry.json of `dir`. Error: a file that is none or holds no table, no jail.
Expected<void> register_dataset(const NewDataset& wanted, const std::string& dir,
                                const JailOptions& jails, const Cancel& cancel, Deadline deadline);

}  // namespace jailrun::agent
