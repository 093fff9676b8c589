// Where policies are: a policy is asked for by name and looked up in a list of directories, or by a
// path (anything with a '/'). Reads files, parses nothing: the thin binary needs the text for its
// cache key.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun {

inline constexpr std::string_view kPolicySuffix = ".textproto";
inline constexpr std::size_t kPolicyMaxBytes = std::size_t{1} << 20;

struct PolicySource {
  std::string path;  // as messages name it
  std::string text;  // whole, at most kPolicyMaxBytes
  // Where the groups of system calls that it names are looked up, in this order.
  std::vector<std::string> group_dirs;
};

// The directories, in order: $JAILRUN_POLICY_DIR (else /etc/jailrun/policies),
// share/jailrun/policies of the installation this program lies in, the source tree it was built
// from.
std::vector<std::string> policy_dirs();

// Names of the files in a directory that end in kPolicySuffix, sorted; none where it cannot be
// read.
std::vector<std::string> policy_files(const std::string& directory);

// Names of all policies in policy_dirs(), sorted, each once.
std::vector<std::string> policy_names();

// Errors: no such policy (the remedy names the known ones and the nearest), unreadable, too large,
// no file.
Expected<PolicySource> find_policy(std::string_view name);

// One file, regular and at most kPolicyMaxBytes.
Expected<std::string> read_policy_file(const std::string& path);

// Where the policy that it is based on may lie, in order; none where its text names none.
std::vector<std::string> base_dirs(const PolicySource& source);

// Changes whenever a group file or a possible base does: name, inode, size and change time of each.
// With the policy's text it says all that a Plan is compiled from.
std::string group_stamp(const PolicySource& source);

}  // namespace jailrun
