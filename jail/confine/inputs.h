// Inputs: the caller's files as the guest will see them, opened with the caller's rights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jail/sys/fd.h"

namespace jailrun {

struct Input {
  std::string name;         // one path component, below /data
  Fd tree;                  // a detached read-only mount of the file itself, or empty
  std::string content;      // the copy, where there is no mount
  bool is_package = false;  // a layer, below /packages: `tree` is a directory
};

struct InputSource {
  std::string path;  // as the caller wrote it
  std::string name;  // wanted below /data; empty: the last component of the path
};

// Largest file that is copied where it cannot be mounted for the guest's id.
inline constexpr std::uint64_t kMaxCopyBytes = 64ull << 20;
inline constexpr std::uint64_t kMaxScriptBytes = 16ull << 20;

// A file that the caller may read, under its name below /data.
struct OpenedInput {
  Fd file;
  std::string name;
};

// Errors: missing, unreadable, a directory, no regular file, a name that is no component.
Expected<OpenedInput> open_source(const InputSource& source);

// Opens one input. A file that everybody may read is mounted as it is; another one through an
// id-mapped mount that shows it as the guest's own (`host_uid`); where the file system cannot do
// that it is copied, and `warnings` says so. Errors: missing, unreadable, a directory, no regular
// file, a name that is no component.
Expected<Input> open_input(const InputSource& source, std::uint32_t host_uid,
                           std::vector<std::string>& warnings);

// The same for a file that a client has opened: only what the descriptor itself lets one read (an
// O_PATH or write-only one is refused). It is mounted, never read here: where it cannot be mounted
// the Error says so (object "mount"), except for a memfd sealed against writing, which is copied.
Expected<Input> open_input_fd(Fd file, const std::string& name, std::uint32_t host_uid,
                              std::vector<std::string>& warnings);

// Reads a script whole and checks that it is text: UTF-8, unless its first lines declare an
// encoding (PEP 263). `path` "-" is standard input.
Expected<std::string> read_script(const std::string& path);

}  // namespace jailrun
