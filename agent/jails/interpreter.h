// Interpreter: where the code of a model runs. Either a fresh jail for each run, or one session of
// jaild for all of them, in which a run that fails is undone.
#pragma once

#include <memory>

#include "agent/jails/jail_client.h"

namespace jailrun::agent {

class Interpreter {
 public:
  virtual ~Interpreter() = default;
  // Files that the run leaves in /work land in `out_dir`, an existing empty directory. Error: ours,
  // cancelled, or past `deadline`.
  virtual Expected<JailResult> run(const std::string& code, const std::string& out_dir,
                                   Deadline deadline) = 0;
  // Whether variables and files stay from one run to the next.
  virtual bool lasting() const = 0;
  // Saved states, where it is lasting.
  virtual Expected<std::uint32_t> save() = 0;
  virtual Expected<void> rollback(std::uint32_t state) = 0;
};

// `client` must outlive it.
std::unique_ptr<Interpreter> make_fresh_jails(const JailClient& client);

// Error: jaild is not there, or refuses; then fresh jails do.
Expected<std::unique_ptr<Interpreter>> make_session(const JailOptions& options,
                                                    const std::vector<Input>& inputs,
                                                    const Cancel& cancel);

}  // namespace jailrun::agent
