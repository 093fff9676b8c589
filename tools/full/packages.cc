// jailrun packages ls|add|check|rm: layers of approved packages.
#include "jail/launch/packages.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "jail/plan/nearest.h"
#include "jail/sys/units.h"
#include "rootfs/recipe.h"
#include "rootfs/store.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using rootfs::Generation;
using rootfs::Store;

constexpr int kNotUsable = 1, kOurFailure = 125;

struct Asked {
  std::string image = "python";
  std::vector<std::string> names;
  bool json = false, all = false;
};

Error about(const std::string& name, std::string message, std::string remedy) {
  return Error{Stage::None, name, 0, std::move(message), std::move(remedy)};
}

int fail(const Error& error) {
  std::fprintf(stderr, "jailrun packages: %s\n", error.line().c_str());
  return kOurFailure;
}

// What the layer of a package says of itself; null where there is none.
Json layer_of(const Asked& asked, const std::string& name) {
  std::ifstream file(package_link(asked.image, name) + "/layer.json");
  return Json::parse(file, nullptr, false);
}

std::string version_in(const Json& layer, const std::string& name) {
  for (const Json& wheel : layer.value("wheels", Json::array()))
    if (package_name(wheel.value("name", "")) == name) return wheel.value("version", "");
  return "";
}

Json describe(const Asked& asked, const ApprovedPackage& package) {
  Json row = {{"name", package.name}};
  if (package.origin == PackageOrigin::Image) {
    row["state"] = "in the image";
  } else if (package.origin == PackageOrigin::None) {
    row["state"] = "not available";
    row["reason"] = package.reason;
  } else if (const Json layer = layer_of(asked, package.name); layer.is_object()) {
    row["state"] = "prepared";
    row["version"] = version_in(layer, package.name);
    row["bytes"] = layer.value("bytes", 0);
    row["digest"] = layer.value("digest", "");
  } else {
    row["state"] = "not prepared";
  }
  return row;
}

int list(const Asked& asked) {
  Json rows = Json::array();
  for (const ApprovedPackage& package : approved_packages())
    rows.push_back(describe(asked, package));
  if (asked.json) {
    std::printf("%s\n", rows.dump(2).c_str());
    return 0;
  }
  for (const Json& row : rows) {
    std::string more = row.value("reason", row.value("version", ""));
    if (row.contains("bytes")) more += "  " + format_bytes(row["bytes"].get<std::uint64_t>());
    std::printf("%-15s  %-13s%s%s\n", row["name"].get<std::string>().c_str(),
                row["state"].get<std::string>().c_str(), more.empty() ? "" : "  ", more.c_str());
  }
  return 0;
}

// Of the approved ones, by name; what is not usable at all is an Error.
Expected<ApprovedPackage> find(const std::string& text) {
  const std::string name = package_name(text);
  const std::vector<ApprovedPackage> approved = approved_packages();
  const auto found = std::ranges::find(approved, name, &ApprovedPackage::name);
  if (found == approved.end()) {
    std::vector<std::string> known;
    for (const ApprovedPackage& each : approved) known.push_back(each.name);
    return std::unexpected(about(name,
                                 "package " + in_quotes(name) + " is not in the approved list",
                                 did_you_mean(name, known, "`jailrun packages ls` shows what is")));
  }
  if (found->origin == PackageOrigin::None) {
    return std::unexpected(
        about(name, "package " + name + " is approved, but not available: " + found->reason,
              "`jailrun packages ls` shows what is"));
  }
  return *found;
}

// packages.py to its end; its last line is JSON, those before it are for people.
Expected<Json> run_script(std::vector<std::string> command, int lock) {
  TRY(const std::string recipe, rootfs::find_recipe());
  // Mounts that it makes are its own, and gone with it.
  std::vector<std::string> words = {"unshare", "--mount", "--propagation", "private"};
  if (::geteuid() != 0) words.insert(words.end(), {"--user", "--map-root-user"});
  words.insert(words.end(), {"--", "python3", "-B", recipe + "/packages.py"});
  words.insert(words.end(), command.begin(), command.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe(ends) != 0) {
    return std::unexpected(
        sys_error(Stage::None, "pipe", "cannot make a pipe", "raise the limit of open files"));
  }
  const Fd out(ends[0]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::setenv("JAILRUN_LOCK_FD", std::to_string(lock).c_str(), 1);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string text, last;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(out.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t end = 0; (end = text.find('\n')) != std::string::npos;) {
      last = text.substr(0, end);
      if (!last.starts_with('{')) std::fprintf(stderr, "%s\n", last.c_str());
      text.erase(0, end + 1);
    }
  }
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  Json told = Json::parse(last, nullptr, false);
  if (!told.is_object()) {
    return std::unexpected(about("packages.py", "the builder of layers failed",
                                 "its own words stand above; python3, pip and unshare are needed"));
  }
  if (told.contains("error"))
    return std::unexpected(about("packages.py", told["error"], told.value("remedy", "")));
  return told;
}

std::string packages_dir(const Store& store) { return store.state() + "/packages"; }

Expected<void> add_one(const Asked& asked, const ApprovedPackage& package, const Store& store) {
  TRY(const Generation image, store.current(asked.image));
  TRY(const std::string recipe, rootfs::find_recipe());
  TRY_VOID(store.make_directories());
  TRY(const Fd lock, store.lock());
  TRY(const Json told,
      run_script({"add", "--recipe", recipe, "--lock", package.lock, "--image", image.path,
                  "--store", packages_dir(store), "--cache", store.cache()},
                 lock.get()));
  std::printf("package %s %s is ready: %s\n", package.name.c_str(),
              version_in(told, package.name).c_str(),
              format_bytes(told.value("bytes", std::uint64_t{0})).c_str());
  return {};
}

Expected<void> add(const Asked& asked) {
  TRY(const Store store, Store::of_user());
  std::vector<ApprovedPackage> wanted;
  for (const std::string& name : asked.names) {
    TRY(ApprovedPackage package, find(name));
    wanted.push_back(std::move(package));
  }
  for (const ApprovedPackage& each : asked.all ? approved_packages() : wanted) {
    if (each.origin == PackageOrigin::Layer) {
      TRY_VOID(add_one(asked, each, store));
    } else if (!asked.all) {
      std::printf("package %s is in the image\n", each.name.c_str());
    }
  }
  return {};
}

// Approved, prepared, and what it was when it was prepared.
Expected<void> check_one(const Asked& asked, const std::string& text) {
  TRY(const ApprovedPackage package, find(text));
  if (package.origin == PackageOrigin::Image) return {};
  const Json layer = layer_of(asked, package.name);
  if (!layer.is_object()) {
    return std::unexpected(about(
        package.name, "package " + package.name + " is approved, but not prepared for this image",
        "`jailrun packages add " + package.name + "` prepares it"));
  }
  TRY(const Json now,
      run_script({"digest", "--tree", package_link(asked.image, package.name) + "/tree"}, -1));
  if (now.value("digest", "") != layer.value("digest", "-")) {
    return std::unexpected(about(
        package.name, "the layer of package " + package.name + " has changed since it was made",
        "`jailrun packages rm " + package.name + "`, then add it anew"));
  }
  return {};
}

int check(const Asked& asked) {
  int status = 0;
  for (const std::string& name : asked.names) {
    const Expected<void> fine = check_one(asked, name);
    if (fine) {
      std::printf("package %s is usable\n", package_name(name).c_str());
    } else {
      std::fprintf(stderr, "jailrun packages: %s\n", fine.error().line().c_str());
      status = kNotUsable;
    }
  }
  return status;
}

// Whether a live process sees a mount of the layer, as a jail that has it does.
bool is_mounted(const std::string& digest) {
  std::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    std::ifstream mounts(process->path() / "mountinfo");
    for (std::string line; std::getline(mounts, line);)
      if (line.find("/layers/" + digest + "/") != std::string::npos) return true;
  }
  return false;
}

// Layers that no generation of the image has a name for, and no jail has mounted.
void sweep(const std::string& packages) {
  std::error_code error;
  std::vector<fs::path> kept;
  for (const auto& generation : fs::directory_iterator(packages, error)) {
    if (generation.path().filename() == "layers") continue;
    for (const auto& link : fs::directory_iterator(generation, error))
      kept.push_back(fs::read_symlink(link, error).filename());
  }
  for (const auto& layer : fs::directory_iterator(packages + "/layers", error)) {
    if (std::ranges::find(kept, layer.path().filename()) != kept.end()) continue;
    if (is_mounted(layer.path().filename())) continue;
    fs::remove_all(layer, error);
  }
}

Expected<void> remove(const Asked& asked) {
  TRY(const Store store, Store::of_user());
  TRY_VOID(store.make_directories());
  TRY(const Fd lock, store.lock());
  for (const std::string& text : asked.names) {
    const std::string name = package_name(text), link = package_link(asked.image, name);
    if (::unlink(link.c_str()) != 0) {
      return std::unexpected(about(name, "package " + name + " is not prepared for this image",
                                   "`jailrun packages ls` shows what is"));
    }
  }
  sweep(packages_dir(store));
  return {};
}

int status_of(const Expected<void>& done) { return done ? 0 : fail(done.error()); }

}  // namespace

void add_packages(CLI::App& app, int& status) {
  const auto asked = std::make_shared<Asked>();
  CLI::App* packages =
      app.add_subcommand("packages", "approved packages beside the image, as read-only layers");
  packages->require_subcommand(1);
  packages->add_option("--image", asked->image, "the image that they go with")
      ->capture_default_str();
  const auto names = [asked](CLI::App* verb) {
    verb->add_option("NAME", asked->names, "as the package index calls it");
    return verb;
  };
  CLI::App* ls = packages->add_subcommand("ls", "what is approved, and what of it is ready");
  ls->add_flag("--json", asked->json, "as JSON");
  ls->callback([asked, &status] { status = list(*asked); });
  CLI::App* more = names(packages->add_subcommand(
      "add", "prepare layers, from hash-checked wheels of the package index"));
  more->add_flag("--all", asked->all, "of every approved package");
  more->callback([asked, &status] { status = status_of(add(*asked)); });
  names(packages->add_subcommand("check", "whether packages are usable; 1 if one is not"))
      ->callback([asked, &status] { status = check(*asked); });
  names(packages->add_subcommand("rm", "remove layers"))->callback([asked, &status] {
    status = status_of(remove(*asked));
  });
}

}  // namespace jailrun::full
