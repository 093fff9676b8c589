#include "rootfs/recipe.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "rootfs/disk.h"
#include "rootfs/sha256.h"

namespace jailrun::rootfs {
namespace {

namespace fs = std::filesystem;

// Part of every key: raised when the same inputs would give another tree or manifest.
constexpr std::string_view kFormat = "jailrun rootfs 1\n";

constexpr const char* kInputs[] = {"build.py",    "common.py",         "debian.py",
                                   "recipe.toml", "requirements.lock", "wheels.py"};

std::string program_directory() {
  std::string path(4096, '\0');
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size());
  path.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return path.substr(0, path.rfind('/'));
}

}  // namespace

Expected<std::string> find_recipe() {
  std::vector<std::string> places;
  if (const char* own = std::getenv("JAILRUN_RECIPE_DIR"); own != nullptr && *own != '\0') {
    places = {own};
  } else {
    places = {program_directory() + "/../share/jailrun/rootfs", JAILRUN_SOURCE_DIR "/rootfs"};
  }
  for (const std::string& place : places)
    if (::access((place + "/recipe.toml").c_str(), R_OK) == 0) return place;
  return std::unexpected(
      Error{Stage::None, places.front(), 0, "no recipe.toml in " + places.front(),
            "install jailrun whole, or let JAILRUN_RECIPE_DIR name the directory "
            "rootfs of its source"});
}

Expected<std::vector<std::string>> recipe_inputs(const std::string& directory) {
  std::vector<std::string> inputs(std::begin(kInputs), std::end(kInputs));
  std::error_code code;
  // Not guest/zygote: that is mounted beside the image, and changes with the programs.
  for (const char* part : {"/guest/bake", "/guest/site"}) {
    for (fs::directory_iterator item(directory + part, code), end; !code && item != end;
         item.increment(code)) {
      const std::string path = item->path().string();
      // Byte code that some tool has left beside a script is no input.
      if (path.ends_with(".py")) inputs.push_back(path.substr(directory.size() + 1));
    }
    if (code) break;
  }
  if (code)
    return std::unexpected(Error{Stage::None, directory, code.value(),
                                 "cannot read " + directory + "/guest", "install jailrun whole"});
  std::ranges::sort(inputs);
  return inputs;
}

Expected<std::string> recipe_key(const std::string& directory) {
  TRY(const std::vector<std::string> inputs, recipe_inputs(directory));
  Sha256 hash;
  hash.update(kFormat);
  for (const std::string& input : inputs) {
    TRY(const std::string content, read_file(directory + "/" + input));
    // Lengths keep one input's end from being another's beginning.
    hash.update(input + "\n" + std::to_string(content.size()) + "\n");
    hash.update(content);
  }
  return hash.hex().substr(0, 16);
}

}  // namespace jailrun::rootfs
