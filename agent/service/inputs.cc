#include "agent/service/inputs.h"

#include <set>

#include "agent/service/service.h"
#include "agent/store/manifest.h"

namespace jailrun::service {

std::expected<Inputs, HttpReply> open_files(store::FileStore& store, const std::string& owner,
                                            const std::vector<std::string>& ids) {
  Inputs inputs;
  std::vector<std::pair<std::string, std::string>> names;
  std::set<std::string> taken;
  for (const std::string& id : ids) {
    auto opened = store.get(owner, id);
    if (!opened) return std::unexpected(failure(404, "there is no file " + id));
    std::string name = opened->file.name;
    if (!taken.insert(name).second) name = id + "-" + name;
    names.emplace_back(id, name);
    inputs.files.push_back({name, opened->content.get()});
    inputs.open.push_back(std::move(opened->content));
  }
  if (names.empty()) return inputs;
  auto manifest = store::open_manifest(names);
  if (!manifest) return std::unexpected(reply_from(manifest.error()));
  inputs.files.push_back({store::kManifestName, manifest->get()});
  inputs.open.push_back(std::move(*manifest));
  return inputs;
}

}  // namespace jailrun::service
