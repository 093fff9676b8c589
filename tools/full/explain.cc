#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "jail/spec/environment.h"
#include "jail/spec/explain.h"
#include "jail/sys/error.h"
#include "tools/full/explain_trace.h"
#include "tools/full/policy_args.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using Json = nlohmann::ordered_json;

struct ExplainArgs {
  PolicyArgs policy;
  bool json = false, calls = false, list = false;
};

Json rules_json(const std::vector<Rule>& rules) {
  Json all = Json::array();
  for (const Rule& rule : rules) {
    Json calls = Json::array();
    for (const Syscall& call : rule.calls)
      calls.push_back(call_in_words(call.name, rule.conditions));
    all.push_back({{"action", action_in_words(rule.action, rule.errno_value)},
                   {"calls", calls},
                   {"why", rule.why}});
  }
  return all;
}

Json to_json(const Spec& spec) {
  Json danger = Json::array();
  for (const SpecDanger& each : spec.dangers) {
    danger.push_back({{"weakening", danger_in_words(each)}, {"why", each.why}});
  }
  Json groups = Json::array();
  for (const RuleGroup& group : spec.groups) {
    groups.push_back({{"name", group.name},
                      {"description", group.description},
                      {"rules", rules_json(group.rules)}});
  }
  const CallCounts counts = count_calls(spec);
  const SpecLimits& limits = spec.limits;
  return {{"danger", danger},
          {"name", spec.name},
          {"description", spec.description},
          {"image", spec.image},
          {"limits",
           {{"memory_bytes", limits.memory_bytes.get()},
            {"pids", limits.pids.get()},
            {"cpus", limits.cpus.get()},
            {"wall_ns", limits.wall_ns.get()},
            {"wall_most_ns", limits.wall_most_ns.get()},
            {"cpu_ns", limits.cpu_ns.get()},
            {"output_bytes", limits.output_bytes.get()},
            {"open_files", limits.open_files.get()},
            {"file_size_bytes", limits.file_size_bytes.get()},
            {"collect_files", limits.collect_files.get()},
            {"collect_bytes", limits.collect_bytes.get()}}},
          {"writable",
           {{"/work", {{"bytes", spec.files.work_bytes.get()}}},
            {"/tmp", {{"bytes", spec.files.tmp_bytes.get()}}},
            {"/dev/shm", {{"bytes", spec.files.shm_bytes.get()}}}}},
          {"writable_inodes", spec.files.inodes.get()},
          {"writable_exec", spec.files.exec},
          {"network", spec.network == SpecNetwork::None ? "none" : "loopback"},
          {"environment", expanded_environment(spec)},
          {"syscalls",
           {{"allowed", counts.allowed},
            {"refused", counts.refused},
            {"killed", counts.killed},
            {"default", "ENOSYS"},
            {"groups", groups},
            {"rules", rules_json(spec.rules)}}},
          {"pool",
           {{"min", spec.pool.min.get()},
            {"max", spec.pool.max.get()},
            {"share", spec.pool.share == PoolShare::Owner ? "owner" : "policy"},
            {"children", spec.pool.children.get()},
            {"age_ns", spec.pool.age_ns.get()}}},
          {"python",
           {{"preload", spec.python.preload},
            {"imports", spec.python.imports},
            {"language", spec.python.language == CodeLanguage::Sql ? "sql" : "python"},
            {"code",
             {{"only_imports", spec.python.code.only_imports},
              {"refused_imports", spec.python.code.refused_imports},
              {"refused_calls", spec.python.code.refused_calls},
              {"refused_attributes", spec.python.code.refused_attributes},
              {"bytes", spec.python.code.bytes.get()},
              {"warn", spec.python.code.warn}}}}},
          {"packages", spec.packages},
          {"overridable", spec.overridable}};
}

constexpr int kOurFailure = 125;

// Every installed policy with what it is for. One with faults is named, and makes the status 125.
int list_policies() {
  int status = 0;
  for (const std::string& name : policy_names()) {
    const auto spec = load_spec({.policy = name, .sets = {}});
    if (!spec) status = kOurFailure;
    std::printf("%-16s %s\n", name.c_str(), spec ? spec->description.c_str() : "has faults");
  }
  return status;
}

int explain_policy(const ExplainArgs& args) {
  if (args.list) return list_policies();
  const auto spec = load_spec(args.policy);
  if (!spec) return kOurFailure;
  const std::string text = args.json ? to_json(*spec).dump(2) + "\n" : explain(*spec, {args.calls});
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return 0;
  std::perror("jailrun: cannot write to stdout");
  return kOurFailure;
}

}  // namespace

void add_explain(CLI::App& app, int& status) {
  const auto args = std::make_shared<ExplainArgs>();
  CLI::App* command =
      app.add_subcommand("explain", "say in words what a policy allows, dangers first");
  add_policy_args(*command, args->policy);
  command->add_flag("--list", args->list, "the installed policies, and what each is for");
  command->add_flag("--calls", args->calls, "name each system call");
  command->add_flag("--json", args->json, "as JSON");
  add_trace_options(*command);
  command->callback([args, &status] { status = explain_policy(*args); });
}

}  // namespace jailrun::full
