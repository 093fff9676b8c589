#include "agent/jails/interpreter.h"

namespace jailrun::agent {
namespace {

Error no_states() {
  return Error{Stage::None, "state", 0, "every run is a fresh jail: there is no state to save",
               "start jaild for sessions"};
}

class FreshJails : public Interpreter {
 public:
  explicit FreshJails(const JailClient& client) : client_(client) {}

  Expected<JailResult> run(const std::string& code, const std::string& out_dir,
                           Deadline deadline) override {
    return client_.run(code, {}, out_dir, deadline);
  }
  bool lasting() const override { return false; }
  Expected<std::uint32_t> save() override { return std::unexpected(no_states()); }
  Expected<void> rollback(std::uint32_t) override { return std::unexpected(no_states()); }

 private:
  const JailClient& client_;
};

}  // namespace

Expected<void> Interpreter::mark() { return std::unexpected(no_states()); }
Expected<void> Interpreter::back() { return std::unexpected(no_states()); }
Expected<std::unique_ptr<Interpreter>> Interpreter::branch() {
  return std::unexpected(no_states());
}

std::unique_ptr<Interpreter> make_fresh_jails(const JailClient& client) {
  return std::make_unique<FreshJails>(client);
}

}  // namespace jailrun::agent
