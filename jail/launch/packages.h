// Packages: read-only layers of modules beside the image, prepared by `jailrun packages add` and
// mounted on /packages/NAME of a jail that asks for them.
//
//   POLICIES/packages/approved.txt     what may be asked for, and where it comes from
//   STATE/packages/layers/DIGEST/tree  a layer
//   STATE/packages/GENERATION/NAME     link to the layer that fits this generation of the image
#pragma once

#include <string>
#include <vector>

#include "jail/confine/inputs.h"
#include "jail/plan/plan.h"

namespace jailrun {

enum class PackageOrigin : std::uint8_t { Image, Layer, None };

struct ApprovedPackage {
  std::string name;
  PackageOrigin origin = PackageOrigin::None;
  std::string reason;  // of None
  std::string lock;    // of Layer: path of the file with its wheels
};

// What policy_dirs() approve, by name.
std::vector<ApprovedPackage> approved_packages();

// As the package index spells it: "Scikit_Learn" is scikit-learn.
std::string package_name(std::string_view text);

// The link that stands for a layer of this image, there or not; "" where there is no image.
std::string package_link(const std::string& image, const std::string& name);
// Where these layers would lie.
std::vector<std::string> layer_paths(const std::string& image,
                                     const std::vector<std::string>& names);

// The layers, each once; of what is in the image already, none. Errors, with the package as object:
// not approved, approved but not available, not prepared; the policy takes none; more than 32.
Expected<std::vector<Input>> open_packages(const Plan& plan, const std::vector<std::string>& names);

}  // namespace jailrun
