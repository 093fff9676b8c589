#include "agent/store/manifest.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <nlohmann/json.hpp>

namespace jailrun::store {

Expected<Fd> open_manifest(const std::vector<std::pair<std::string, std::string>>& ids_and_names) {
  using Json = nlohmann::ordered_json;
  Json all = Json::object();
  for (const auto& [id, name] : ids_and_names) all[id] = name;
  const std::string text = all.dump(-1, ' ', true, Json::error_handler_t::replace);
  const Fd file(::memfd_create("files", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  constexpr int kSeals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
  if (!file.valid() || write_all(file.get(), text.data(), text.size()) != 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, kSeals) != 0)
    return std::unexpected(sys_error(Stage::None, kManifestName, "cannot list the stored files",
                                     "give them without ids, by their paths"));
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  Fd readable(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!readable.valid())
    return std::unexpected(
        sys_error(Stage::None, path, "cannot open the list of stored files", "mount /proc"));
  return readable;
}

}  // namespace jailrun::store
