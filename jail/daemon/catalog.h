// Catalog: the installed policies, compiled, and read again when their files have changed.
#pragma once

#include <expected>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "jail/daemon/refusal.h"
#include "jail/plan/plan.h"
#include "jail/spec/spec.h"

namespace jailrun {

struct InstalledPolicy {
  Spec spec;
  std::unique_ptr<Plan> plan;
  std::string stamp;  // changes with its text and its groups of system calls
};

class Catalog {
 public:
  using Found = std::shared_ptr<const InstalledPolicy>;

  // By name, from policy_dirs() where only the daemon's user can write. Refusals: UnknownPolicy,
  // BadPolicy.
  std::expected<Found, Refusal> find(const std::string& name);

  struct Change {
    std::string name;
    Found now;  // null: it cannot be read any more, then the old one goes on
    Refusal fault;
  };
  // Looks at the files of every policy that was ever found.
  std::vector<Change> refresh();

 private:
  std::expected<Found, Refusal> load(const std::string& name) const;
  std::map<std::string, Found> known_;
  std::map<std::string, std::string> refused_;  // stamps of what could not be read, told once
};

}  // namespace jailrun
