// jailrun rootfs build|ls|verify: the images that jails run on.
#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "jail/sys/units.h"
#include "rootfs/build.h"
#include "rootfs/recipe.h"
#include "rootfs/store.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using nlohmann::json;
using rootfs::Generation;
using rootfs::Manifest;
using rootfs::Store;

constexpr int kDamaged = 1, kOurFailure = 125, kCancelled = 130;

struct Options {
  std::string image = "python";
  std::string mirror;
  bool rebuild = false;
  bool json = false;
};

int fail(const Error& error) {
  std::fprintf(stderr, "jailrun rootfs: %s\n", error.line().c_str());
  return error.errno_value == EINTR ? kCancelled : kOurFailure;
}

void print_line(std::string_view line) {
  std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
  std::fflush(stdout);
}

Expected<int> build(const Options& options) {
  TRY(const Store store, Store::of_user());
  TRY(const std::string recipe, rootfs::find_recipe());
  if (!rootfs::valid_image_name(options.image))
    return std::unexpected(Error{Stage::None, options.image, 0,
                                 "bad image name '" + options.image + "'",
                                 "use lower-case letters, digits, '-' and '_', a letter first"});
  rootfs::BuildOptions wanted{.image = options.image,
                              .mirror = options.mirror,
                              .rebuild = options.rebuild,
                              .progress = print_line};
  TRY(const rootfs::Built built, rootfs::build(store, recipe, wanted));
  const std::string size = format_bytes(built.bytes);
  print_line(built.up_to_date ? "image " + options.image + " is up to date (" + size + ")"
                              : "image " + options.image + " is built: " + size + ", key " +
                                    built.generation.key);
  return 0;
}

std::string state_of(const Generation& generation) {
  return std::string(generation.current ? "current" : "old") +
         (rootfs::in_use(generation) ? ", in use" : "");
}

json describe(const Generation& generation) {
  json row = {{"name", generation.name},
              {"key", generation.key},
              {"path", generation.path},
              {"current", generation.current},
              {"in_use", rootfs::in_use(generation)}};
  const Expected<Manifest> manifest = rootfs::read_manifest(generation);
  if (!manifest) {
    row["error"] = manifest.error().line();
    return row;
  }
  row["bytes"] = manifest->bytes;
  row["files"] = manifest->entries.size();
  row["created"] = manifest->created;
  row["python"] = manifest->python;
  row["pandas"] = rootfs::version_of(*manifest, "pandas");
  return row;
}

Expected<int> list(const Options& options) {
  TRY(const Store store, Store::of_user());
  TRY(const std::vector<Generation> generations, store.generations());
  json rows = json::array();
  for (const Generation& generation : generations) rows.push_back(describe(generation));
  if (options.json) {
    print_line(rows.dump(2));
    return 0;
  }
  if (rows.empty()) {
    print_line("no images in " + store.root() + "; build one: jailrun rootfs build");
    return 0;
  }
  constexpr const char* kRow = "%-10s %-16s %10s  %-7s %-7s %-20s  %s\n";
  std::printf(kRow, "NAME", "KEY", "SIZE", "PYTHON", "PANDAS", "BUILT", "STATE");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const json& row = rows[i];
    const bool whole = !row.contains("error");
    std::printf(kRow, generations[i].name.c_str(), generations[i].key.c_str(),
                whole ? format_bytes(row["bytes"].get<std::uint64_t>()).c_str() : "?",
                row.value("python", "?").c_str(), row.value("pandas", "?").c_str(),
                row.value("created", "?").c_str(),
                (state_of(generations[i]) + (whole ? "" : ", no manifest")).c_str());
  }
  return 0;
}

Expected<int> verify(const Options& options) {
  TRY(const Store store, Store::of_user());
  TRY(const Generation generation, store.current(options.image));
  TRY(const Manifest manifest, rootfs::read_manifest(generation));
  TRY(const std::vector<rootfs::Entry> actual, rootfs::scan(generation.path + "/tree"));
  const std::vector<rootfs::Difference> found = rootfs::compare(manifest.entries, actual);
  if (options.json) {
    json differences = json::array();
    for (const rootfs::Difference& d : found)
      differences.push_back({{"path", d.path}, {"what", d.what}});
    const json result = {{"image", options.image},
                         {"key", generation.key},
                         {"ok", found.empty()},
                         {"entries", manifest.entries.size()},
                         {"differences", std::move(differences)}};
    print_line(result.dump(2, ' ', false, json::error_handler_t::replace));
  } else {
    for (const rootfs::Difference& d : found) print_line(d.path + ": " + d.what);
    if (found.empty())
      print_line("image " + options.image +
                 " is whole: " + std::to_string(manifest.entries.size()) + " entries, " +
                 format_bytes(manifest.bytes));
  }
  if (found.empty()) return 0;
  std::fprintf(stderr,
               "jailrun rootfs: image %s differs from its manifest in %zu places; "
               "make it anew: jailrun rootfs build --rebuild\n",
               options.image.c_str(), found.size());
  return kDamaged;
}

}  // namespace

void add_rootfs(CLI::App& app, int& status) {
  auto options = std::make_shared<Options>();
  CLI::App* verb =
      app.add_subcommand("rootfs", "Build, list and check the images that jails run on");
  verb->require_subcommand(1);
  verb->footer(
      "An image is Debian with Python and the libraries of data analysis, made from a recipe "
      "whose\n"
      "wheels are locked by digest. Images lie in /var/lib/jailrun for root and in\n"
      "~/.local/share/jailrun for others; JAILRUN_STATE_DIR names another place.\n"
      "JAILRUN_RECIPE_DIR names another recipe.");

  const auto add = [&](const char* name, const char* what, Expected<int> (*work)(const Options&)) {
    CLI::App* sub = verb->add_subcommand(name, what);
    sub->callback([options, work, &status] {
      const Expected<int> result = work(*options);
      status = result ? *result : fail(result.error());
    });
    return sub;
  };
  const auto image = [&](CLI::App* sub) {
    sub->add_option("--image", options->image, "Name of the image")->capture_default_str();
  };

  CLI::App* make = add("build", "Build an image, unless it is up to date", build);
  image(make);
  make->add_option("--mirror", options->mirror,
                   "URL of a Debian mirror. Default: the host's own if the host is Debian, else\n"
                   "mmdebstrap's");
  make->add_flag("--rebuild", options->rebuild,
                 "Build even if up to date: takes in Debian's security updates, repairs damage");
  make->footer(
      "Needs python3 with pip, mmdebstrap, and network for what is not in the cache. Takes one to\n"
      "three minutes and about 2 GiB; with the image up to date it takes no time at all. The new\n"
      "image becomes current in one step; running jails keep the one they started with. An\n"
      "interrupted build leaves nothing behind. Old images go when no process runs on them.");

  CLI::App* ls = add("ls", "List the images: name, key, size, versions, date", list);
  ls->add_flag("--json", options->json, "Print JSON");

  CLI::App* check = add("verify", "Compare every file of an image with its manifest", verify);
  image(check);
  check->add_flag("--json", options->json, "Print JSON");
  check->footer(
      "Exit status: 0 whole, 1 damaged (every changed, missing or extra file is named), 125\n"
      "if it could not be checked.");
}

}  // namespace jailrun::full
