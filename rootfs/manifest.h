// Manifest: what an image consists of, file by file, and how a tree differs from it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun::rootfs {

struct Entry {
  enum class Type : char { File = 'f', Directory = 'd', Link = 'l', Other = 'o' };

  std::string path = {};  // relative to the root of the tree; "." is the root itself
  Type type = Type::Other;
  unsigned mode = 0;        // the lower 12 bits; 0 for links, whose mode means nothing
  std::uint64_t size = 0;   // of files, in bytes
  std::string sha256 = {};  // of files
  std::string target = {};  // of links
  bool foreign = false;     // owned by somebody else than the root of the tree: never in a manifest
};

struct Package {
  std::string origin;  // "debian" or "wheel"
  std::string name, version, license;
};

struct Manifest {
  std::string image = {}, key = {};
  std::string created = {};  // UTC, "2025-08-09T12:00:00Z"
  std::string python = {};   // version, "3.13.5"
  std::uint64_t bytes = 0;   // of all files
  std::vector<Package> packages = {};
  std::vector<Entry> entries = {};  // sorted by path
};

// One way in which a tree is not what its manifest says.
struct Difference {
  std::string path;
  std::string what;  // "missing", "extra", "content changed", …
};

// Every entry of the tree at `tree`, sorted by path, files with their digests (two threads: a
// gigabyte is read). Does not follow links.
Expected<std::vector<Entry>> scan(const std::string& tree);

std::uint64_t total_bytes(const std::vector<Entry>& entries);

std::vector<Difference> compare(const std::vector<Entry>& expected,
                                const std::vector<Entry>& actual);

std::string to_json(const Manifest& manifest);
// `path` is for messages only.
Expected<Manifest> from_json(std::string_view text, const std::string& path);

// The version of a package by name, "" if it is not there.
std::string version_of(const Manifest& manifest, std::string_view package);

}  // namespace jailrun::rootfs
