// `jailrun config`: what the daemons' configuration file says, and what counts.
#include "tools/config.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kFaulty = 2;

struct Asked {
  std::string file;
  bool json = false;
};

int check(const Asked& asked) {
  const bool named = !asked.file.empty();
  const config::Config read =
      named ? config::read({asked.file}, true)
            : config::read(config::files(), std::getenv("JAILRUN_CONFIG") != nullptr);
  for (const Error& each : read.faults) std::fprintf(stderr, "%s\n", each.line().c_str());
  if (!read.faults.empty()) return kFaulty;
  for (const std::string& each : read.files) std::printf("%s: good\n", each.c_str());
  if (read.files.empty()) std::printf("there is no configuration file: the defaults count\n");
  return 0;
}

// A key is never shown, nor how long it is.
std::string shown(const config::Setting& setting, const std::string& text) {
  return setting.secret && !text.empty() ? "(set)" : text;
}

int show(const Asked& asked) {
  const config::Config read = config::read(config::files(), false);
  for (const Error& each : read.faults) std::fprintf(stderr, "%s\n", each.line().c_str());
  Json all = Json::array();
  std::string section;
  for (const config::Setting& each : config::settings()) {
    const char* const variable = std::getenv(each.variable);
    const auto found = read.values.find(each.variable);
    std::string text = each.otherwise, from = "default";
    if (variable != nullptr) {
      text = variable;
      from = std::string("environment ") + each.variable;
    } else if (found != read.values.end()) {
      text = found->second.text;
      from = found->second.file + ":" + std::to_string(found->second.line);
    }
    text = shown(each, text);
    if (asked.json) {
      all.push_back({{"section", each.section},
                     {"key", each.key},
                     {"variable", each.variable},
                     {"value", text},
                     {"from", from}});
      continue;
    }
    if (section != each.section) std::printf("%s[%s]\n", section.empty() ? "" : "\n", each.section);
    section = each.section;
    std::printf("%-22s %-30s %s\n", each.key, text.empty() ? "-" : text.c_str(), from.c_str());
  }
  if (asked.json)
    std::printf("%s\n", all.dump(2, ' ', true, Json::error_handler_t::replace).c_str());
  return read.faults.empty() ? 0 : kFaulty;
}

}  // namespace

void add_config(CLI::App& app, int& status) {
  const auto asked = std::make_shared<Asked>();
  CLI::App* verb = app.add_subcommand(
      "config", "check and show the settings of jaild and jailagent. One file has them all");
  verb->require_subcommand(1);
  CLI::App* good = verb->add_subcommand(
      "check", "tell every fault of the configuration, each with its line; exit status 2");
  good->add_option("FILE", asked->file, "this one instead of those that count");
  good->callback([asked, &status] { status = check(*asked); });
  CLI::App* values = verb->add_subcommand(
      "show", "what counts, and where it comes from; command lines count more. Keys are not shown");
  values->add_flag("--json", asked->json, "as JSON");
  values->callback([asked, &status] { status = show(*asked); });
  verb->add_subcommand("default", "print a file with every setting and its default, commented out")
      ->callback([] { std::fputs(config::documented().c_str(), stdout); });
}

}  // namespace jailrun::full
