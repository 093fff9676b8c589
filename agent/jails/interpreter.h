// Interpreter: where the code of a model runs. Either a fresh jail for each run, or one session of
// jaild for all of them, in which a run that fails is undone.
#pragma once

#include <functional>
#include <memory>

#include "agent/jails/jail_client.h"

namespace jailrun::agent {

// Hears what a run prints as it comes, where it can be heard before the end; each may be empty.
struct Live {
  std::function<void(std::string_view)> out{}, err{};
};

class Interpreter {
 public:
  virtual ~Interpreter() = default;
  void listen(Live live) { live_ = std::move(live); }
  // Files that the run leaves in /work land in `out_dir`, an existing empty directory. Error: ours,
  // cancelled, or past `deadline`.
  virtual Expected<JailResult> run(const std::string& code, const std::string& out_dir,
                                   Deadline deadline) = 0;
  // Whether variables and files stay from one run to the next.
  virtual bool lasting() const = 0;
  // Saved states, where it is lasting.
  virtual Expected<std::uint32_t> save() = 0;
  virtual Expected<void> rollback(std::uint32_t state) = 0;

  // Marks, for who uses the interpreter rather than for the model: mark() the state that it is in,
  // of which the last few are held; back() to the latest, which is one no more.
  virtual Expected<void> mark();
  virtual Expected<void> back();
  // A second one that goes on from this one's state, and may not outlive it.
  virtual Expected<std::unique_ptr<Interpreter>> branch();

 protected:
  Live live_;
};

// `client` must outlive it.
std::unique_ptr<Interpreter> make_fresh_jails(const JailClient& client);

// Error: jaild is not there, or refuses; then fresh jails do.
Expected<std::unique_ptr<Interpreter>> make_session(const JailOptions& options,
                                                    const std::vector<Input>& inputs,
                                                    const Cancel& cancel);

}  // namespace jailrun::agent
