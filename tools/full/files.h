// Files of the store as other verbs take them: `--file store:ID` or `store:ID:NAME`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "jail/confine/inputs.h"

namespace jailrun::full {

// Opens stored files of the caller's, and remembers which name has which id.
class StoredInputs {
 public:
  // Empty where `text` does not begin with "store:".
  Expected<std::optional<OpenedInput>> open(const std::string& text);

  // What tells the guest's load_file() the ids: a sealed file {"id": "name"} for /data/.files.json;
  // empty where nothing was opened.
  Expected<std::optional<OpenedInput>> manifest() const;

 private:
  std::vector<std::pair<std::string, std::string>> names_;  // id, name
};

// `run` and `exec` are the thin program's, which links no database: where such a command line names
// stored files, this program opens them and becomes the thin one again. Empty: it names none;
// otherwise the exit status of a failure.
std::optional<int> run_with_stored_files(int argc, char** argv);

}  // namespace jailrun::full
