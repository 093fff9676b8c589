// jailrun datasets ls|show|check|generate|add: data that can be asked about by name.
#include <cstdio>
#include <memory>

#include "agent/base/text.h"
#include "agent/datasets/generate.h"
#include "agent/datasets/register.h"
#include "jail/plan/nearest.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using namespace jailrun::agent;
using Json = nlohmann::ordered_json;

constexpr int kNotUsable = 1, kOurFailure = 125;

struct Asked {
  std::string id, dir, now = "2026-01-01T00:00:00";
  std::vector<std::string> ids;
  std::uint64_t seed = 1;
  NewDataset wanted;
  JailOptions jails;
  bool json = false;
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void print(const Json& json) {
  print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

Expected<int> list(const Asked& asked) {
  TRY(const auto registry, DatasetRegistry::load());
  Json rows = Json::array();
  for (const Dataset& set : registry.all()) {
    rows.push_back(summary_json(set));
    if (!asked.json) {
      std::string id = set.id;
      id.resize(std::max<std::size_t>(id.size() + 1, 16), ' ');
      print(printable(id + set.name + ": " + set.description) + "\n");
    }
  }
  if (asked.json) print(Json{{"datasets", rows}});
  return 0;
}

Expected<int> show(const Asked& asked) {
  TRY(const auto registry, DatasetRegistry::load());
  TRY(const Dataset set, registry.open(asked.id));
  if (asked.json) {
    Json all = summary_json(set);
    all["as_of"] = set.as_of.empty() ? Json() : Json(set.as_of);
    all["files"] = schema_json(set)["files"];
    print(all);
    return 0;
  }
  std::string text = dataset_text(set);
  for (const DatasetFile& file : set.files) {
    text += "\n" + file.name + "  (" + file.source + ")\n";
    for (const auto& [column, type] : file.schema) text += "  " + column + "  " + type + "\n";
  }
  if (!set.prompts.empty()) text += "\nTo begin with:\n";
  for (const auto& prompt : set.prompts)
    text += "  jailrun ask --dataset " + set.id + " " + in_quotes(prompt) + "\n";
  print(printable(text));
  return 0;
}

Expected<int> check(const Asked& asked) {
  TRY(const auto registry, DatasetRegistry::load());
  std::vector<std::string> ids = asked.ids;
  if (ids.empty())
    for (const Dataset& set : registry.all()) ids.push_back(set.id);
  int status = 0;
  Json rows = Json::array();
  for (const std::string& id : ids) {
    const auto set = registry.open(id);
    const std::string fault = set ? "" : set.error().line();
    rows.push_back(
        {{"id", id}, {"usable", set.has_value()}, {"error", set ? Json() : Json(fault)}});
    if (!set) status = kNotUsable;
    if (asked.json) continue;
    if (set)
      std::printf("data set %s is what it was when it was registered\n", printable(id).c_str());
    else
      std::fprintf(stderr, "jailrun datasets: %s\n", fault.c_str());
  }
  if (asked.json) print(rows);
  return status;
}

// 2026-01-01, 2026-01-01T12:00:00, with a Z or without: UTC.
std::optional<std::int64_t> parse_time(const std::string& text) {
  std::tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%d", &parts);
  if (rest != nullptr && (*rest == 'T' || *rest == ' '))
    rest = ::strptime(rest + 1, "%H:%M:%S", &parts);
  if (rest != nullptr && *rest == 'Z') ++rest;
  if (rest == nullptr || *rest != '\0') return std::nullopt;
  return ::timegm(&parts);
}

Expected<int> generate(const Asked& asked) {
  const auto now = parse_time(asked.now);
  if (!now)
    return std::unexpected(Error{Stage::None, "--now", 0, "--now " + asked.now + " is no time",
                                 "write it as 2026-01-01T00:00:00"});
  const std::string dir = asked.dir.empty() ? own_dataset_dir() : asked.dir;
  TRY_VOID(generate_datasets(dir, {*now, asked.seed}));
  std::printf("data sets ecommerce, support and sensors are in %s\n", dir.c_str());
  if (!asked.dir.empty())
    std::printf("to use them: export JAILRUN_DATASETS=%s\n", printable(asked.dir).c_str());
  return 0;
}

Expected<int> add(const Asked& asked) {
  TRY(const Cancel cancel, Cancel::on_signals());
  JailOptions jails = asked.jails;
  TRY(jails.jailrun, find_jailrun());
  const std::string dir = asked.dir.empty() ? own_dataset_dir() : asked.dir;
  TRY_VOID(
      register_dataset(asked.wanted, dir, jails, cancel, Clock::now() + std::chrono::minutes(10)));
  std::printf("data set %s is registered in %s\n", asked.wanted.id.c_str(), dir.c_str());
  return 0;
}

}  // namespace

void add_datasets(CLI::App& app, int& status) {
  const auto asked = std::make_shared<Asked>();
  const auto doing = [asked, &status](Expected<int> (*act)(const Asked&)) {
    return [asked, &status, act] {
      const Expected<int> done = act(*asked);
      if (!done)
        std::fprintf(stderr, "jailrun datasets: %s\n", printable(done.error().line()).c_str());
      status = done.value_or(kOurFailure);
    };
  };
  CLI::App* datasets = app.add_subcommand("datasets", "data sets that can be asked about by name");
  datasets->require_subcommand(1);
  const auto json = [asked](CLI::App* verb) {
    verb->add_flag("--json", asked->json, "as JSON");
    return verb;
  };
  json(datasets->add_subcommand("ls", "what there is"))->callback(doing(list));
  // For completion.
  datasets->add_subcommand("ids", "")->group("")->callback(doing([](const Asked&) -> Expected<int> {
    TRY(const auto registry, DatasetRegistry::load());
    for (const Dataset& set : registry.all()) print(set.id + "\n");
    return 0;
  }));
  CLI::App* one = json(datasets->add_subcommand("show", "one data set: files, columns, questions"));
  one->add_option("ID", asked->id, "its id")->required();
  one->callback(doing(show));
  CLI::App* verify = json(datasets->add_subcommand(
      "check", "whether files are those that were registered; 1 if some are not"));
  verify->add_option("ID", asked->ids, "all, where none is named");
  verify->callback(doing(check));
  CLI::App* made = datasets->add_subcommand(
      "generate", "make the synthetic data sets ecommerce, support and sensors");
  made->add_option("DIR", asked->dir, "where to (default: the user's own)")->type_name("DIR");
  made->add_option("--now", asked->now, "when the data end, UTC")->capture_default_str();
  made->add_option("--seed", asked->seed, "other data of the same kind")->capture_default_str();
  made->callback(doing(generate));
  CLI::App* more = datasets->add_subcommand("add", "register files under a name; they are copied");
  more->add_option("ID", asked->wanted.id, "letters, digits, '.', '_' and '-'")->required();
  more->add_option(
          "FILE", asked->wanted.files,
          "csv, tsv, xlsx, json, parquet, sqlite; or image:/PATH in the image of the jails")
      ->type_name("SRC[:NAME]")
      ->required();
  more->add_option("--name", asked->wanted.name, "for people");
  more->add_option("--description", asked->wanted.description, "what it is and where it is from");
  more->add_option("--as-of", asked->wanted.as_of, "what \"today\" is counted from");
  more->add_option("--prompt", asked->wanted.prompts, "a question to begin with; repeatable")
      ->allow_extra_args(false);
  more->add_option("--dir", asked->dir, "of the registry (default: the user's own)")
      ->type_name("DIR");
  more->add_option("--policy", asked->jails.policy, "policy of the jails that look at it");
  more->callback(doing(add));
}

}  // namespace jailrun::full
