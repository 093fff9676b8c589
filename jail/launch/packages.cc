#include "jail/launch/packages.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <sstream>

#include "jail/confine/mounts.h"
#include "jail/launch/parts.h"
#include "jail/launch/plain.h"
#include "jail/plan/find_policy.h"
#include "jail/plan/nearest.h"

namespace jailrun {
namespace {

constexpr std::size_t kMostPackages = 32;

Error unavailable(const std::string& name, int error, std::string message, std::string remedy) {
  return Error{Stage::OpenInputs, name, error, std::move(message), std::move(remedy)};
}

void read_approved(const std::string& directory, std::vector<ApprovedPackage>& all) {
  const Expected<std::string> text = read_policy_file(directory + "/approved.txt");
  if (!text) return;  // most policy directories approve nothing
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    ApprovedPackage package;
    std::string origin;
    if (!(words >> package.name >> origin)) continue;
    package.name = package_name(package.name);
    const auto same = [&](const ApprovedPackage& other) { return other.name == package.name; };
    if (std::ranges::any_of(all, same)) continue;
    package.origin = origin == "image"   ? PackageOrigin::Image
                     : origin == "layer" ? PackageOrigin::Layer
                                         : PackageOrigin::None;
    std::getline(words >> std::ws, package.reason);
    package.lock = directory + "/" + package.name + ".lock";
    all.push_back(std::move(package));
  }
}

Error not_approved(const std::string& name, const std::vector<ApprovedPackage>& approved) {
  std::vector<std::string> known;
  for (const ApprovedPackage& each : approved) known.push_back(each.name);
  return unavailable(name, 0, "package " + in_quotes(name) + " is not in the approved list",
                     did_you_mean(name, known, "`jailrun packages ls` shows what is"));
}

std::string layer_path(const std::string& image, const std::string& name) {
  return package_link(image, name) + "/tree/" + name;
}

// A detached mount of the layer. Its libraries are mapped executable, so it is not noexec.
Expected<Input> open_layer(const Plan& plan, const std::string& name) {
  const std::string path = layer_path(plan.image, name);
  const Fd dir(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat st{};
  if (!dir.valid() || ::fstat(dir.get(), &st) != 0) {
    return std::unexpected(
        unavailable(name, 0, "package " + name + " is approved, but not prepared for this image",
                    "`jailrun packages add " + name + "` prepares it"));
  }
  if (!only_we_could_change(st)) {
    return std::unexpected(unavailable(name, 0,
                                       "layer " + path + " could be changed by other users",
                                       "`jailrun packages rm " + name + "`, then add it anew"));
  }
  Input layer;
  layer.name = name;
  layer.is_package = true;
  layer.tree = read_only_mount(dir);
  if (!layer.tree.valid()) {
    return std::unexpected(unavailable(name, errno, "layer " + path + " cannot be mounted",
                                       "run `jailrun doctor` to see what this host allows"));
  }
  return layer;
}

}  // namespace

std::vector<ApprovedPackage> approved_packages() {
  std::vector<ApprovedPackage> all;
  for (const std::string& directory : policy_dirs()) read_approved(directory + "/packages", all);
  std::ranges::sort(all, {}, &ApprovedPackage::name);
  return all;
}

std::string package_name(std::string_view text) {
  std::string name;
  for (const char c : text) {
    const bool joint = c == '-' || c == '_' || c == '.';
    if (joint && name.ends_with('-')) continue;
    name += joint ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return name;
}

std::string package_link(const std::string& image, const std::string& name) {
  const std::string tree = image_path(image);                  // STATE/rootfs/NAME/tree
  const std::string link = tree.substr(0, tree.rfind('/'));    // STATE/rootfs/NAME
  const std::string rootfs = link.substr(0, link.rfind('/'));  // STATE/rootfs
  const std::string state = rootfs.substr(0, rootfs.rfind('/'));
  char generation[PATH_MAX];
  const ssize_t n = ::readlink(link.c_str(), generation, sizeof generation);
  if (n <= 0 || static_cast<std::size_t>(n) == sizeof generation) return "";
  return state + "/packages/" + std::string(generation, static_cast<std::size_t>(n)) + "/" + name;
}

std::vector<std::string> layer_paths(const std::string& image,
                                     const std::vector<std::string>& names) {
  std::vector<std::string> paths;
  for (const std::string& name : names) paths.push_back(layer_path(image, package_name(name)));
  return paths;
}

Expected<std::vector<Input>> open_packages(const Plan& plan,
                                           const std::vector<std::string>& names) {
  std::vector<Input> layers;
  if (!plan.packages) {
    return std::unexpected(unavailable(names.front(), 0,
                                       "policy " + std::string(plan.policy) + " takes no packages",
                                       "use a policy with packages: true, such as python"));
  }
  if (names.size() > kMostPackages) {
    return std::unexpected(unavailable(names.front(), 0, "more than 32 packages at once",
                                       "ask for those that the code imports"));
  }
  const std::vector<ApprovedPackage> approved = approved_packages();
  for (const std::string& text : names) {
    const std::string name = package_name(text);
    const auto found = std::ranges::find(approved, name, &ApprovedPackage::name);
    if (found == approved.end()) return std::unexpected(not_approved(name, approved));
    if (found->origin == PackageOrigin::None) {
      return std::unexpected(unavailable(
          name, 0, "package " + name + " is approved, but not available: " + found->reason,
          "`jailrun packages ls` shows what is"));
    }
    const bool again = std::ranges::any_of(layers, [&](const Input& i) { return i.name == name; });
    if (found->origin == PackageOrigin::Image || again) continue;
    TRY(Input layer, open_layer(plan, name));
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace jailrun
