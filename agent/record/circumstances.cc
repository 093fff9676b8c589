// What a run depends on besides its code: data, policy, image.
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <mutex>

#include "agent/base/subprocess.h"
#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/record/capsule.h"
#include "jail/plan/find_policy.h"
#include "rootfs/sha256.h"
#include "rootfs/store.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

struct Policy {
  std::string sha256, image;
};

Expected<Policy> explain(const JailOptions& jails, const std::string& name, const Cancel& cancel) {
  Command command;
  command.argv = {jails.jailrun, "explain", "--json", name};
  for (const auto& set : jails.sets) command.argv.insert(command.argv.end(), {"--set", set});
  for (const char* variable : {"PATH", "HOME", "JAILRUN_POLICY_DIR", "JAILRUN_STATE_DIR"})
    if (const char* value = std::getenv(variable))
      command.environment.push_back(std::string(variable) + "=" + value);
  TRY(Finished told, run_command(command, cancel));
  const json policy = parse_json(told.out);
  if (told.wait_status != 0 || !policy.is_object())
    return std::unexpected(Error{Stage::None, name, 0,
                                 "no policy " + name + ": " + tail(printable(told.err), 400),
                                 "`jailrun explain --list` names those that are installed"});
  rootfs::Sha256 digest;
  digest.update(dump_json(policy));
  return Policy{digest.hex(), text_member(policy, "image")};
}

// Asked once for as long as no file of policies changes: it takes a process of 14 ms.
Expected<Policy> policy_of(const JailOptions& jails, const std::string& name,
                           const Cancel& cancel) {
  constexpr std::size_t kMost = 64;
  static std::mutex mutex;
  static std::map<std::string, Policy> known;
  const auto source = find_policy(name);
  if (!source) return explain(jails, name, cancel);
  std::string key = jails.jailrun + '\0' + source->path + '\0' + source->text + '\0';
  for (const auto& set : jails.sets) key += set + '\0';
  key += group_stamp(*source);
  {
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(key); found != known.end()) return found->second;
  }
  TRY(Policy policy, explain(jails, name, cancel));
  const std::lock_guard lock(mutex);
  if (known.size() >= kMost) known.clear();
  known[key] = policy;
  return policy;
}

}  // namespace

Expected<Circumstances> circumstances(const JailOptions& jails, const std::vector<Input>& inputs,
                                      const Cancel& cancel) {
  Circumstances around;
  around.policy = jails.policy.empty() ? "python" : jails.policy;
  around.sets = jails.sets;
  around.timeout = jails.timeout;
  around.data = json::array();
  for (const auto& input : inputs) {
    const Fd file(open(input.source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status{};
    if (!file.valid() || fstat(file.get(), &status) != 0)
      return std::unexpected(sys_error(Stage::None, input.source,
                                       "cannot read data file " + input.source,
                                       "check its permissions"));
    TRY(std::string digest, rootfs::sha256_of(file.get(), input.source));
    std::error_code failed;
    const auto origin = input.origin.empty()
                            ? std::filesystem::absolute(input.source, failed).string()
                            : input.origin;
    around.data.push_back({{"name", input.name},
                           {"bytes", static_cast<std::uint64_t>(status.st_size)},
                           {"sha256", std::move(digest)},
                           {"origin", origin}});
  }
  TRY(const Policy policy, policy_of(jails, around.policy, cancel));
  around.policy_sha256 = policy.sha256;
  if (const auto store = rootfs::Store::of_user())
    if (const auto now = store->current(policy.image)) around.image = now->name + "-" + now->key;
  return around;
}

}  // namespace jailrun::agent
