// Data sets by name. A registry is a directory with a registry.json:
//
//   {"datasets": [{"id": "support", "name": "…", "description": "…",
//      "as_of": "2026-01-01T00:00:00",       what "today" and "last week" are counted from
//      "version_hash": "…",                  SHA-256 of the files, joined in the order of their
//      paths "prompts": ["…"],                     questions to begin with "files": [{"name":
//      "tickets.csv",     as it lies in /data
//                 "path": "support/tickets.csv",
//                 "schema": {"ticket_id": "INTEGER", …}, "sample_rows": [{"ticket_id": 1, …}]}]}]}
//
// A path is one below the registry's directory, or "image:/PATH" in the image that jails run on. A
// link that leads out of it is refused: who may add to a registry may not read with it.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "agent/data/data.h"

namespace jailrun::agent {

struct DatasetFile {
  std::string name, path;
  std::string source;                // on the host
  std::shared_ptr<const Fd> held{};  // of an opened set: the file whose hash was found right
  std::vector<std::pair<std::string, std::string>> schema;  // column, type of DuckDB
  nlohmann::ordered_json sample_rows;                       // at most three objects
};

struct Dataset {
  std::string id, name, description, as_of, version_hash;
  std::vector<std::string> prompts;
  std::vector<DatasetFile> files;
  std::string registry;  // path of the registry.json that it stands in
};

// Where registries are looked for, in order; of two data sets of one id the first counts:
// $JAILRUN_DATASETS (or $DATASETS_DIR; several with ':'), the user's own, /etc/jailrun/datasets,
// share/jailrun/datasets of the installation, the source tree's.
std::vector<std::string> dataset_dirs();
// Where `datasets generate` and `datasets add` write if they are not told otherwise.
std::string own_dataset_dir();

class DatasetRegistry {
 public:
  // A directory without a registry.json is passed over; one that makes no sense is an Error that
  // names the file and the place.
  static Expected<DatasetRegistry> load(const std::vector<std::string>& dirs = dataset_dirs());

  const std::vector<Dataset>& all() const { return datasets_; }
  const Dataset* find(const std::string& id) const;
  // The same, its files there and with the hash that the registry has, and held open: a jail gets
  // the very files that were hashed, whatever takes their names meanwhile. Errors: no such id (the
  // remedy names the nearest), a file that is missing or not its own, changed since.
  Expected<Dataset> open(const std::string& id) const;

 private:
  std::vector<Dataset> datasets_;
};

// Reads one registry.json. Nothing of the files is looked at.
Expected<std::vector<Dataset>> read_registry(const std::string& path);

// SHA-256 of the files, joined in the order of their paths, in hexadecimal. Of those that are held:
// of what is held.
Expected<std::string> version_hash(const Dataset& dataset);

// Its files as a jail gets them.
std::vector<Input> inputs_of(const Dataset& dataset);

// Its tables as the registry tells them, without a look into the files: enough for SQL. Empty where
// the registry does not tell: then describe() does.
std::vector<DataTable> tables_of(const Dataset& dataset);

// What a model should know besides its tables: name, description, as_of. Empty lines left out.
std::string dataset_text(const Dataset& dataset);

// {id, name, description, prompts, version_hash} and {id, name, files: [{name, path, schema,
// sample_rows}]}, as programs of the replaced service know them.
nlohmann::ordered_json summary_json(const Dataset& dataset);
nlohmann::ordered_json schema_json(const Dataset& dataset);

}  // namespace jailrun::agent
