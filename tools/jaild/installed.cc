#include "tools/jaild/installed.h"

#include <set>

#include "jail/daemon/catalog.h"
#include "jail/launch/packages.h"
#include "jail/launch/parts.h"
#include "jail/plan/find_policy.h"
#include "jail/pool/world.h"

namespace jailrun {

std::vector<std::string> installed_files() {
  std::vector<std::string> files = World::program_files();
  std::set<std::string> images;
  Catalog catalog;
  for (const std::string& directory : policy_dirs()) files.push_back(directory);
  for (const std::string& name : policy_names()) {
    if (const auto source = find_policy(name)) files.push_back(source->path);
    if (const auto found = catalog.find(name)) images.emplace((*found)->plan->image);
  }
  std::vector<std::string> packages;
  for (const ApprovedPackage& package : approved_packages()) packages.push_back(package.name);
  for (const std::string& image : images) {
    files.push_back(image_path(image));
    const std::vector<std::string> layers = layer_paths(image, packages);
    files.insert(files.end(), layers.begin(), layers.end());
  }
  return files;
}

}  // namespace jailrun
