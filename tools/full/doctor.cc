// `jailrun doctor`: can the default policy run here, what enforces what, and what to do where it
// cannot.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "jail/launch/parts.h"
#include "jail/launch/plain.h"
#include "tools/full/help.h"
#include "tools/full/probes.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

constexpr std::size_t kNameColumn = 26, kStateColumn = 9, kWidth = 100;

const char* word(State state) {
  switch (state) {
    case State::Ok:
      return "ok";
    case State::Weak:
      return "weak";
    case State::Missing:
      return "missing";
  }
  return "";
}

// A plain user's jails are built from inside a user namespace, and in a delegated cgroup: what can
// be had there is what counts. Comes back only where it cannot be entered.
Expected<void> enter(bool as_json) {
  std::string words[] = {"jailrun", "doctor", "--json"};
  char* argv[] = {words[0].data(), words[1].data(), as_json ? words[2].data() : nullptr, nullptr};
  return enter_as_plain_user(argv, {image_path("python")}, false);
}

Mechanisms examine(const Error* not_entered) {
  Mechanisms all;
  probe_kernel(all);
  probe_rights(all, not_entered);
  probe_namespaces(all);
  probe_ids(all);
  probe_network(all);
  probe_mounts(all);
  probe_filters(all);
  probe_cgroups(all);
  probe_image(all);
  probe_policy(all);
  probe_jail(all);
  return all;
}

std::size_t count(const Mechanisms& all, State state) {
  return static_cast<std::size_t>(
      std::ranges::count_if(all, [&](const Mechanism& each) { return each.state == state; }));
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size() + 1, width), ' ');
  return text;
}

std::string table(const Mechanisms& all) {
  constexpr std::size_t kIndent = kNameColumn + kStateColumn;
  std::string text =
      padded("mechanism", kNameColumn) + padded("state", kStateColumn) + "what it enforces\n";
  for (const Mechanism& each : all) {
    text += padded(each.name, kNameColumn) + padded(word(each.state), kStateColumn) +
            wrap(each.enforces, kWidth - kIndent, kIndent) + "\n";
    if (!each.remedy.empty())
      text += std::string(kIndent, ' ') + "-> " +
              wrap(each.remedy, kWidth - kIndent - 3, kIndent + 3) + "\n";
  }
  const std::size_t missing = count(all, State::Missing), weak = count(all, State::Weak);
  text +=
      missing == 0 ? "\nthe default policy can run here" : "\nthe default policy cannot run here";
  if (missing != 0) text += ": " + std::to_string(missing) + " missing";
  if (weak != 0) text += ", " + std::to_string(weak) + " weak";
  return text + "\n";
}

std::string json(const Mechanisms& all) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Mechanism& each : all) {
    list.push_back({{"name", each.name},
                    {"state", word(each.state)},
                    {"enforces", each.enforces},
                    {"remedy", each.remedy.empty() ? nlohmann::ordered_json()
                                                   : nlohmann::ordered_json(each.remedy)}});
  }
  const nlohmann::ordered_json document = {{"jailrun", JAILRUN_VERSION},
                                           {"can_run", count(all, State::Missing) == 0},
                                           {"mechanisms", list}};
  return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

void add_doctor(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("doctor",
                                         "Try every mechanism that a jail rests on and say what "
                                         "this host lacks. Leaves nothing behind; "
                                         "exits 0 if the default policy can run here, else 1.");
  CLI::Option* flag = command->add_flag("--json")->description("print the same as JSON");
  command->callback([flag, &status] {
    const bool as_json = flag->count() != 0;
    const Expected<void> entered = enter(as_json);
    const Mechanisms all = examine(entered ? nullptr : &entered.error());
    const std::string text = as_json ? json(all) : table(all);
    std::fwrite(text.data(), 1, text.size(), stdout);
    status = count(all, State::Missing) == 0 ? 0 : 1;
  });
}

}  // namespace jailrun::full
