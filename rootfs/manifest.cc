#include "rootfs/manifest.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "jail/sys/fd.h"
#include "rootfs/disk.h"
#include "rootfs/sha256.h"

namespace jailrun::rootfs {
namespace {

using nlohmann::json;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

std::unexpected<Error> unreadable(const std::string& path) {
  return std::unexpected(sys_error(Stage::None, path, "cannot read " + path,
                                   "run this as the user who built the image"));
}

std::string octal(unsigned mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}

// Walks one tree; files get their digests later.
class Walk {
 public:
  explicit Walk(std::string tree) : tree_(std::move(tree)) {}

  Expected<std::vector<Entry>> run() {
    struct stat root;
    if (::lstat(tree_.c_str(), &root) != 0) return unreadable(tree_);
    owner_ = root.st_uid;
    TRY_VOID(add(".", tree_));
    for (std::size_t next = 0; next < directories_.size(); ++next)
      TRY_VOID(list(directories_[next]));
    std::ranges::sort(entries_, {}, &Entry::path);
    return std::move(entries_);
  }

 private:
  Expected<void> add(const std::string& relative, const std::string& path) {
    struct stat status;
    if (::lstat(path.c_str(), &status) != 0) return unreadable(path);
    Entry entry{
        .path = relative, .mode = status.st_mode & 07777u, .foreign = status.st_uid != owner_};
    if (S_ISREG(status.st_mode)) {
      entry.type = Entry::Type::File;
      entry.size = static_cast<std::uint64_t>(status.st_size);
    } else if (S_ISDIR(status.st_mode)) {
      entry.type = Entry::Type::Directory;
      directories_.push_back(relative);
    } else if (S_ISLNK(status.st_mode)) {
      entry.type = Entry::Type::Link;
      entry.mode = 0;
      entry.target.resize(4096);
      const ssize_t n = ::readlink(path.c_str(), entry.target.data(), entry.target.size());
      if (n < 0) return unreadable(path);
      entry.target.resize(static_cast<std::size_t>(n));
    }
    entries_.push_back(std::move(entry));
    return {};
  }

  // By value: directories_ grows meanwhile.
  Expected<void> list(const std::string relative) {
    const std::string directory = relative == "." ? tree_ : tree_ + "/" + relative;
    const std::unique_ptr<DIR, CloseDir> dir(::opendir(directory.c_str()));
    if (!dir) return unreadable(directory);
    for (errno = 0; const dirent* item = ::readdir(dir.get()); errno = 0) {
      const std::string name = item->d_name;
      if (name == "." || name == "..") continue;
      TRY_VOID(add(relative == "." ? name : relative + "/" + name, directory + "/" + name));
    }
    if (errno != 0) return unreadable(directory);
    return {};
  }

  std::string tree_;
  uid_t owner_ = 0;
  std::vector<Entry> entries_;
  std::vector<std::string> directories_;
};

Expected<void> digest(const std::string& tree, Entry& entry) {
  const std::string path = tree + "/" + entry.path;
  const Fd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return unreadable(path);
  TRY(entry.sha256, sha256_of(fd.get(), path));
  return {};
}

const char* type_name(Entry::Type type) {
  switch (type) {
    case Entry::Type::File:
      return "file";
    case Entry::Type::Directory:
      return "directory";
    case Entry::Type::Link:
      return "link";
    case Entry::Type::Other:
      break;
  }
  return "device, socket or pipe";
}

void compare_entry(const Entry& expected, const Entry& actual, std::vector<Difference>& found) {
  const auto differs = [&](std::string what) { found.push_back({expected.path, std::move(what)}); };
  if (expected.type != actual.type)
    return differs(std::string("was a ") + type_name(expected.type) + ", is a " +
                   type_name(actual.type));
  if (expected.mode != actual.mode)
    differs("mode was " + octal(expected.mode) + ", is " + octal(actual.mode));
  if (actual.foreign) differs("belongs to another user");
  if (expected.target != actual.target)
    differs("pointed to " + expected.target + ", points to " + actual.target);
  if (expected.size != actual.size || expected.sha256 != actual.sha256) differs("content changed");
}

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

json entry_json(const Entry& entry) {
  json object = {{"path", entry.path}, {"type", std::string(1, static_cast<char>(entry.type))}};
  if (entry.type != Entry::Type::Link) object["mode"] = octal(entry.mode);
  if (entry.type == Entry::Type::Link) object["target"] = entry.target;
  if (entry.type == Entry::Type::File) {
    object["size"] = entry.size;
    object["sha256"] = entry.sha256;
  }
  return object;
}

// Nothing for an object that is no entry.
bool parse_entry(const json& object, Entry& entry) {
  if (!object.is_object()) return false;
  const std::string type = text_of(object, "type"), mode = text_of(object, "mode");
  entry.path = text_of(object, "path");
  if (entry.path.empty() || type.size() != 1 || std::strchr("fdl", type[0]) == nullptr)
    return false;
  entry.type = static_cast<Entry::Type>(type[0]);
  entry.mode = static_cast<unsigned>(std::strtoul(mode.c_str(), nullptr, 8));
  entry.target = text_of(object, "target");
  entry.sha256 = text_of(object, "sha256");
  const auto size = object.find("size");
  if (size != object.end() && size->is_number_unsigned()) entry.size = size->get<std::uint64_t>();
  return true;
}

}  // namespace

Expected<std::vector<Entry>> scan(const std::string& tree) {
  TRY(std::vector<Entry> entries, Walk(tree).run());
  std::atomic<std::size_t> next = 0;
  const auto work = [&]() -> Expected<void> {
    for (std::size_t i; (i = next++) < entries.size();)
      if (entries[i].type == Entry::Type::File) TRY_VOID(digest(tree, entries[i]));
    return {};
  };
  Expected<void> other;
  std::thread thread([&] { other = work(); });
  const Expected<void> own = work();
  thread.join();
  TRY_VOID(own);
  TRY_VOID(other);
  return entries;
}

std::uint64_t total_bytes(const std::vector<Entry>& entries) {
  std::uint64_t bytes = 0;
  for (const Entry& entry : entries) bytes += entry.size;
  return bytes;
}

std::vector<Difference> compare(const std::vector<Entry>& expected,
                                const std::vector<Entry>& actual) {
  std::vector<Difference> found;
  auto e = expected.begin();
  auto a = actual.begin();
  while (e != expected.end() || a != actual.end()) {
    if (a == actual.end() || (e != expected.end() && e->path < a->path)) {
      found.push_back({(e++)->path, "missing"});
    } else if (e == expected.end() || a->path < e->path) {
      found.push_back({(a++)->path, "extra"});
    } else {
      compare_entry(*e++, *a++, found);
    }
  }
  return found;
}

std::string to_json(const Manifest& manifest) {
  json packages = json::array(), entries = json::array();
  for (const Package& p : manifest.packages)
    packages.push_back(
        {{"origin", p.origin}, {"name", p.name}, {"version", p.version}, {"license", p.license}});
  for (const Entry& entry : manifest.entries) entries.push_back(entry_json(entry));
  const json whole = {{"format", 1},
                      {"image", manifest.image},
                      {"key", manifest.key},
                      {"created", manifest.created},
                      {"python", manifest.python},
                      {"bytes", manifest.bytes},
                      {"packages", std::move(packages)},
                      {"entries", std::move(entries)}};
  // File names need not be UTF-8; a dump must not throw for that.
  return whole.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Expected<Manifest> from_json(std::string_view text, const std::string& path) {
  const json whole = json::parse(text, nullptr, false);
  const auto damaged = [&](const std::string& what) {
    return std::unexpected(Error{Stage::None, path, 0, path + " " + what, "build the image anew"});
  };
  if (!whole.is_object()) return damaged("is not a manifest");
  if (whole.value("format", json()) != 1)
    return damaged("is of a format that this jailrun does not know");
  Manifest manifest{.image = text_of(whole, "image"),
                    .key = text_of(whole, "key"),
                    .created = text_of(whole, "created"),
                    .python = text_of(whole, "python")};
  for (const json& object : whole.value("packages", json::array()))
    if (object.is_object())
      manifest.packages.push_back({text_of(object, "origin"), text_of(object, "name"),
                                   text_of(object, "version"), text_of(object, "license")});
  for (const json& object : whole.value("entries", json::array())) {
    Entry entry;
    if (!parse_entry(object, entry)) return damaged("holds an entry that is none");
    manifest.entries.push_back(std::move(entry));
  }
  if (manifest.entries.empty()) return damaged("lists no files");
  std::ranges::sort(manifest.entries, {}, &Entry::path);
  manifest.bytes = total_bytes(manifest.entries);
  return manifest;
}

std::string version_of(const Manifest& manifest, std::string_view package) {
  const auto found = std::ranges::find(manifest.packages, package, &Package::name);
  return found != manifest.packages.end() ? found->version : std::string();
}

}  // namespace jailrun::rootfs
