// branch and rollback: a model may try one way, go back and try another.
#include "agent/tools/bench.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

class Branch : public Tool {
 public:
  explicit Branch(Bench& bench)
      : Tool({"branch",
              "Saves the session's variables and files as they are and returns the state's number, "
              "for rollback. At most 16 states are held.",
              strings_schema({})}),
        bench_(bench) {}

  Expected<ToolOutcome> call(const json&, const ToolContext&) override {
    const auto state = bench_.interpreter.save();
    if (!state) return misuse("No state was saved: " + state.error().line());
    bench_.moves.push_back({bench_.steps.size(), false, *state});
    return ToolOutcome{"State " + std::to_string(*state) + " is saved.", false, false};
  }

 private:
  Bench& bench_;
};

class Rollback : public Tool {
 public:
  explicit Rollback(Bench& bench)
      : Tool({"rollback",
              "Brings back a state that branch has saved; what came after it is gone.",
              {{"type", "object"},
               {"properties",
                {{"state", {{"type", "integer"}, {"minimum", 0}, {"maximum", 4'294'967'295U}}}}},
               {"required", json::array({"state"})},
               {"additionalProperties", false}}}),
        bench_(bench) {}

  Expected<ToolOutcome> call(const json& arguments, const ToolContext&) override {
    const auto state = arguments["state"].get<std::uint32_t>();
    const auto done = bench_.interpreter.rollback(state);
    if (!done) return misuse("Nothing was changed: " + done.error().line());
    bench_.moves.push_back({bench_.steps.size(), true, state});
    return ToolOutcome{"State " + std::to_string(state) + " is back.", false, false};
  }

 private:
  Bench& bench_;
};

}  // namespace

std::unique_ptr<Tool> make_branch(Bench& bench) { return std::make_unique<Branch>(bench); }
std::unique_ptr<Tool> make_rollback(Bench& bench) { return std::make_unique<Rollback>(bench); }

}  // namespace jailrun::agent
