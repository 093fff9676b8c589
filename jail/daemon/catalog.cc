#include "jail/daemon/catalog.h"

#include <sys/stat.h>
#include <unistd.h>

#include "jail/compile/compile.h"
#include "jail/launch/plain.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"
#include "jail/spec/reader.h"

namespace jailrun {
namespace {

std::unexpected<Refusal> refuse(std::string_view name, std::string message, std::string remedy) {
  return std::unexpected(Refusal{0, std::string(name), std::move(message), std::move(remedy)});
}

// Whoever can write a policy can have anything run under it.
bool only_ours(const std::string& path) {
  struct stat st{};
  return ::stat(path.c_str(), &st) == 0 && only_we_could_change(st);
}

std::string stamp_of(const PolicySource& source) {
  return source.path + "\n" + group_stamp(source) + source.text;
}

}  // namespace

std::expected<Catalog::Found, Refusal> Catalog::load(const std::string& name) const {
  // A client names policies, never paths.
  if (!is_name(name, false)) {
    return refuse(refusal::kUnknownPolicy, "no policy of that name is installed",
                  "`jailrun explain NAME` shows one; paths run with --cold only");
  }
  const Expected<PolicySource> source = find_policy(name);
  if (!source)
    return refuse(refusal::kUnknownPolicy, source.error().message, source.error().remedy);
  const std::string directory = source->path.substr(0, source->path.rfind('/'));
  if (!only_ours(source->path) || !only_ours(directory)) {
    return refuse(refusal::kBadPolicy,
                  "policy " + source->path + " can be written by others than the daemon's user",
                  "chown root, chmod go-w for it and its directory");
  }
  const Expected<GroupTexts> groups = load_groups(*source);
  if (!groups) return refuse(refusal::kBadPolicy, groups.error().message, groups.error().remedy);
  auto spec = parse(source->text, source->path, *groups);
  if (!spec) {
    return refuse(refusal::kBadPolicy, spec.error().front().text(),
                  "`jailrun explain " + name + "` shows all faults");
  }
  Expected<std::unique_ptr<Plan>> plan = compile(*spec);
  if (!plan) return refuse(refusal::kBadPolicy, plan.error().message, plan.error().remedy);
  auto found = std::make_shared<InstalledPolicy>();
  found->stamp = stamp_of(*source);
  found->spec = std::move(*spec);
  found->plan = std::move(*plan);
  return found;
}

std::expected<Catalog::Found, Refusal> Catalog::find(const std::string& name) {
  const auto known = known_.find(name);
  if (known != known_.end()) return known->second;
  auto found = load(name);
  if (found) known_[name] = *found;
  return found;
}

std::vector<Catalog::Change> Catalog::refresh() {
  std::vector<Change> changes;
  for (auto& [name, policy] : known_) {
    const Expected<PolicySource> source = find_policy(name);
    const std::string stamp = source ? stamp_of(*source) : "";
    if (stamp == policy->stamp) continue;
    auto again = load(name);
    if (again) {
      refused_.erase(name);
      policy = *again;
      changes.push_back({name, policy, {}});
    } else if (refused_[name] != stamp + again.error().message) {
      refused_[name] = stamp + again.error().message;
      changes.push_back({name, nullptr, again.error()});
    }
  }
  return changes;
}

}  // namespace jailrun
