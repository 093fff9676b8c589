// What `explain` and `plan` have in common: POLICY and --set, read to a Spec.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdio>
#include <optional>
#include <string>

#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"

namespace jailrun::full {

struct PolicyArgs {
  std::string policy = "python";
  Overrides sets;
};

// Adds POLICY and --set to a subcommand.
inline void add_policy_args(CLI::App& command, PolicyArgs& args) {
  command.add_option("POLICY", args.policy, "name of a policy, or a path with a '/'")
      ->capture_default_str();
  command
      .add_option("--set", args.sets,
                  "set a field by its path: limits.memory=256MiB, network.mode=LOOPBACK, "
                  "environment.NAME=text; a repeated field (syscalls.groups) is appended to; "
                  "a block is written as in a policy: danger='{missing_limit: PIDS why: \"…\"}'")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
}

struct ReadPolicy {
  PolicySource source;
  GroupTexts groups;
  Spec spec;
};

// The policy; otherwise all faults have been written to stderr.
inline std::optional<ReadPolicy> read_policy(const PolicyArgs& args) {
  auto source = find_policy(args.policy);
  if (!source) {
    std::fprintf(stderr, "jailrun: %s\n", source.error().line().c_str());
    return std::nullopt;
  }
  auto groups = load_groups(*source);
  if (!groups) {
    std::fprintf(stderr, "jailrun: %s\n", groups.error().line().c_str());
    return std::nullopt;
  }
  auto spec = parse(source->text, source->path, *groups, args.sets);
  if (spec) return ReadPolicy{std::move(*source), std::move(*groups), std::move(*spec)};
  for (const Fault& fault : spec.error()) std::fprintf(stderr, "%s\n", fault.text().c_str());
  return std::nullopt;
}

inline std::optional<Spec> load_spec(const PolicyArgs& args) {
  auto policy = read_policy(args);
  if (!policy) return std::nullopt;
  return std::move(policy->spec);
}

}  // namespace jailrun::full
