#include "agent/record/replay.h"

#include <algorithm>
#include <filesystem>

#include "agent/base/text.h"
#include "agent/jails/workspace.h"
#include "agent/llm/json.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

Error no_replay(std::string message, std::string remedy) {
  return Error{Stage::None, "replay", 0, std::move(message), std::move(remedy)};
}

const json* find_by_name(const json& list, const std::string& name) {
  for (const json& each : list)
    if (text_member(each, "name") == name) return &each;
  return nullptr;
}

void compare_circumstances(const json& then, const Circumstances& now,
                           std::vector<std::string>& told) {
  const json* policy = member(then, "policy");
  if (policy != nullptr && text_member(*policy, "sha256") != now.policy_sha256)
    told.push_back("the policy " + now.policy + " is not what it was");
  if (text_member(then, "image") != now.image)
    told.push_back("the image was " + text_member(then, "image") + ", now " + now.image);
  for (const json& file : list_member(then, "data")) {
    const auto name = text_member(file, "name");
    const json* current = find_by_name(now.data, name);
    if (current == nullptr)
      told.push_back("the data file " + name + " is missing");
    else if (text_member(*current, "sha256") != text_member(file, "sha256"))
      told.push_back("the data file " + name + " has changed");
  }
}

// Where two texts part, in a line.
std::string first_difference(const std::string& then, const std::string& now) {
  const auto at = static_cast<std::size_t>(
      std::mismatch(then.begin(), then.end(), now.begin(), now.end()).first - then.begin());
  const auto line = then.rfind('\n', at == 0 ? 0 : at - 1);
  const auto from = line == std::string::npos || line > at ? 0 : line + 1;
  const auto piece = [&](const std::string& text) {
    if (from >= text.size()) return std::string("nothing");
    const auto end = std::min(text.find('\n', from), text.size());
    return "\"" + clip(printable(text.substr(from, end - from)), 120) + "\"";
  };
  const auto number =
      1 + std::count(then.begin(), then.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  return "line " + std::to_string(number) + " was " + piece(then) + ", now " + piece(now);
}

void compare_files(const std::string& step, const json& then, const json& now,
                   std::vector<std::string>& told) {
  for (const json& file : then) {
    const auto name = text_member(file, "name");
    const json* current = find_by_name(now, name);
    if (current == nullptr)
      told.push_back(step + "left no file " + name);
    else if (text_member(*current, "sha256") != text_member(file, "sha256"))
      told.push_back(step + "left another " + name);
  }
  for (const json& file : now)
    if (find_by_name(then, text_member(file, "name")) == nullptr)
      told.push_back(step + "left a file " + text_member(file, "name") + " that was not there");
}

void compare_step(const json& then, const json& now, std::vector<std::string>& told) {
  const auto step = "step " + std::to_string(count_member(then, "number")) + " ";
  for (const char* name : {"verdict", "exit_code"}) {
    const json *old = member(then, name), *current = member(now, name);
    if (old != nullptr && current != nullptr && *old != *current) {
      told.push_back(step + name + " was " + dump_json(*old) + ", now " + dump_json(*current));
      return;  // the rest differs for that reason
    }
  }
  for (const char* name : {"stdout", "stderr"})
    if (text_member(then, name) != text_member(now, name))
      told.push_back(step + "has another " + name + ": " +
                     first_difference(text_member(then, name), text_member(now, name)));
  compare_files(step, list_member(then, "files"), list_member(now, "files"), told);
}

// What a user wrote himself has a way of its own into a jail, and its result another way out.
Expected<Answered> play_direct(const json& capsule, const JailClient& client,
                               const JailOptions& jails, const Cancel& cancel, Deadline deadline) {
  const auto question = text_member(capsule, "question");
  const auto message = direct_message(question).value_or(DirectMessage{DirectMode::Plan, question});
  JailOptions plain = jails;  // its policy may not let describe.py through
  plain.policy.clear();
  plain.timeout.clear();
  TRY(const auto tables, describe(JailClient(plain, client.inputs(), cancel), deadline));
  DirectLimits limits;
  limits.deadline = deadline;
  TRY(Answered again, answer_directly(message, jails, client.inputs(), tables, cancel, {}, limits));
  again.asked.question = question;
  return again;
}

class Player {
 public:
  Player(const json& capsule, Interpreter& fresh, Interpreter* session, Workspace& workspace)
      : capsule_(capsule), fresh_(fresh), session_(session), workspace_(workspace) {}

  Expected<std::vector<Step>> play(Deadline deadline) {
    std::vector<Step> steps;
    for (const json& then : list_member(capsule_, "steps")) {
      TRY_VOID(move(steps.size()));
      const json* lasting = member(then, "lasting");
      Step step{text_member(then, "code"), text_member(then, "sql")};
      step.lasting = lasting != nullptr && *lasting == true && session_ != nullptr;
      TRY(std::string out_dir, workspace_.new_run());
      Interpreter& where = step.lasting ? *session_ : fresh_;
      TRY(step.result, where.run(step.code, out_dir, deadline));
      if (step.result.ok()) {
        TRY(step.files, workspace_.keep(out_dir));
      }
      steps.push_back(std::move(step));
    }
    return steps;
  }

 private:
  Expected<void> move(std::size_t after) {
    for (const json& each : list_member(capsule_, "moves")) {
      if (session_ == nullptr || count_member(each, "after") != after) continue;
      const json* back = member(each, "back");
      if (back != nullptr && *back == true)
        TRY_VOID(session_->rollback(static_cast<std::uint32_t>(count_member(each, "state"))));
      else
        TRY_VOID(session_->save());
    }
    return {};
  }

  const json& capsule_;
  Interpreter& fresh_;
  Interpreter* session_;
  Workspace& workspace_;
};

}  // namespace

Expected<Replayed> replay(const json& capsule, const Redactor& redactor, const JailOptions& jails,
                          const std::vector<Input>& inputs, const Cancel& cancel,
                          Deadline deadline) {
  const json& steps = list_member(capsule, "steps");
  if (steps.empty() || member(capsule, "result_json") == nullptr)
    return std::unexpected(no_replay("the run has no steps: there is nothing to run again",
                                     "`jailrun runs show` tells what it was"));
  TRY(const Circumstances now, circumstances(jails, inputs, cancel));
  Replayed out;
  compare_circumstances(capsule, now, out.circumstances);
  const bool lasting = std::ranges::any_of(steps, [](const json& step) {
    const json* found = member(step, "lasting");
    return found != nullptr && *found == true;
  });
  const JailClient client(jails, inputs, cancel);
  const auto fresh = make_fresh_jails(client);
  std::unique_ptr<Interpreter> session;
  if (lasting) {
    TRY(session, make_session(jails, inputs, cancel));
  }
  // What the steps leave is compared, and goes.
  std::error_code failed;
  std::string pattern = (std::filesystem::temp_directory_path(failed) / "jailrun-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr)
    return std::unexpected(sys_error(Stage::None, pattern, "cannot make " + pattern,
                                     "let TMPDIR name a directory you can write"));
  const struct Sweep {
    const std::string& path;
    ~Sweep() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  } sweep{pattern};
  TRY(Workspace workspace, Workspace::open(pattern));
  Answered again;
  if (text_member(capsule, "provider") == "direct") {
    TRY(again, play_direct(capsule, client, jails, cancel, deadline));
  } else {
    Player player(capsule, *fresh, session.get(), workspace);
    TRY(again.asked.steps, player.play(deadline));
  }
  out.steps = again.asked.steps;
  const json replayed = redactor.value(capture(again, now).capsule);
  const json& fresh_steps = list_member(replayed, "steps");
  for (std::size_t i = 0; i < steps.size() && i < fresh_steps.size(); ++i)
    compare_step(steps[i], fresh_steps[i], out.differences);
  if (again.direct && *member(capsule, "result_json") != *member(replayed, "result_json"))
    out.differences.push_back("the table of the result is another");
  return out;
}

}  // namespace jailrun::agent
