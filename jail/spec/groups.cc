#include "jail/spec/groups.h"

namespace jailrun {
namespace {

// The policies that `source` may be based on. One that cannot be read is none.
void load_bases(const PolicySource& source, GroupTexts& groups) {
  for (const std::string& directory : base_dirs(source)) {
    for (const std::string& file : policy_files(directory)) {
      std::string name = file.substr(0, file.size() - kPolicySuffix.size());
      if (groups.policies.contains(name)) continue;
      const std::string path = directory + "/" + file;
      if (auto text = read_policy_file(path))
        groups.policies.emplace(std::move(name), GroupText{path, std::move(*text)});
    }
  }
}

}  // namespace

Expected<GroupTexts> load_groups(const PolicySource& source) {
  GroupTexts groups;
  for (const std::string& directory : source.group_dirs) {
    for (const std::string& file : policy_files(directory)) {
      std::string name = file.substr(0, file.size() - kPolicySuffix.size());
      if (groups.contains(name)) continue;
      TRY(std::string text, read_policy_file(directory + "/" + file));
      groups.emplace(std::move(name), GroupText{directory + "/" + file, std::move(text)});
    }
  }
  load_bases(source, groups);
  return groups;
}

}  // namespace jailrun
