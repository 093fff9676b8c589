// File-system steps that must survive a crash, with messages that name the path.
#pragma once

#include <string>
#include <string_view>

#include "jail/sys/error.h"
#include "jail/sys/fd.h"

namespace jailrun::rootfs {

// Makes `path` and its parents, each with `mode` less the umask; existing ones are left as they
// are.
Expected<void> make_directories(const std::string& path, unsigned mode);

Expected<Fd> open_directory(const std::string& path);

// Whole content of a file of any size.
Expected<std::string> read_file(const std::string& path);
Expected<void> write_file(const std::string& path, std::string_view text);

// Everything written to the file system of `path` is on disk afterwards.
Expected<void> sync_file_system(const std::string& path);
Expected<void> sync_directory(const std::string& path);

Expected<void> rename_path(const std::string& from, const std::string& to);
// Two existing paths change places in one step.
Expected<void> exchange_paths(const std::string& a, const std::string& b);
// Makes `link` point to `target`, replacing what it pointed to in one step.
Expected<void> replace_symlink(const std::string& link, const std::string& target);

// Removes a tree; a path that does not exist is fine. Symbolic links are not followed.
Expected<void> remove_tree(const std::string& path);

}  // namespace jailrun::rootfs
