// A capsule: one question and all that came of it, as one JSON document; what is kept, exported and
// run again. Texts in it are bounded; the members are listed in agent/record/README.md.
#pragma once

#include "agent/agents/inquiry.h"

namespace jailrun::agent {

// What a run ran under: the same again should give the same again.
struct Circumstances {
  std::string policy, policy_sha256;  // of the policy as `jailrun explain --json` has it
  std::string image;                  // the generation of the root file system
  std::vector<std::string> sets;      // path=value
  std::string timeout;
  nlohmann::json data;  // [{name, bytes, sha256, origin}]
  std::string dataset_id{}, dataset_hash{};
};

// Reads the data files once. Error: one that cannot be read, a policy that is none.
Expected<Circumstances> circumstances(const JailOptions& jails, const std::vector<Input>& inputs,
                                      const Cancel& cancel);

// Contents of files that steps left, for who keeps them beside the capsule.
struct KeptFile {
  std::size_t step = 0;  // from 1
  std::string name, media_type, content;
};

struct Captured {
  nlohmann::json capsule;
  std::vector<KeptFile> files;
};

// `status`: succeeded or failed. Reads the files that steps left: up to 8 MiB each, 32 in all.
Captured capture(const Answered& answered, const Circumstances& around);
// Of a question that ended with our own failure, or a cancellation.
Captured capture(const std::string& question, const Error& error, const Circumstances& around);

// The first table in what a program printed, Markdown as pandas writes it: {columns, rows}, cells
// as numbers where they are; null where there is none.
nlohmann::json table_in(const std::string& out);

// One line that says how long ago, or when: 2026-01-02T03:04:05Z.
std::string time_text(std::int64_t ms);
std::int64_t now_ms();

}  // namespace jailrun::agent
