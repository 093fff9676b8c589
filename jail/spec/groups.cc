#include "jail/spec/groups.h"

namespace jailrun {

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
  return groups;
}

}  // namespace jailrun
