// jailrun plan compile|run: a query as data, into SQL and over files or a data set.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>

#include "agent/agents/direct.h"
#include "agent/base/text.h"
#include "agent/data/inputs.h"
#include "agent/datasets/registry.h"
#include "agent/llm/json.h"
#include "agent/sql/query_plan.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using namespace jailrun::agent;
using Json = nlohmann::ordered_json;

constexpr int kRefused = 1, kOurFailure = 125;
constexpr std::size_t kMostPlanBytes = 1 << 20;

struct Asked {
  std::string path, dataset;
  std::vector<std::string> files;
  JailOptions jails;
  bool json = false, strict = false;
};

struct Data {
  std::vector<Input> inputs;
  std::vector<DataTable> tables;  // empty: a jail is to look
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

Expected<std::string> read_plan(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    char block[4096];
    for (ssize_t n = 0; (n = ::read(STDIN_FILENO, block, sizeof block)) > 0;) text.write(block, n);
  } else {
    std::error_code failed;
    if (!std::filesystem::is_regular_file(path, failed))
      return std::unexpected(Error{Stage::None, path, 0, "cannot read plan " + path,
                                   "name a file with a query plan in JSON, or - for stdin"});
    text << std::ifstream(path).rdbuf();
  }
  if (text.view().size() > kMostPlanBytes)
    return std::unexpected(
        Error{Stage::None, path, 0, "the plan is larger than 1 MiB", "no plan is that long"});
  return std::move(text).str();
}

Expected<Data> open_data(const Asked& asked) {
  Data data;
  if (!asked.dataset.empty()) {
    TRY(const auto registry, DatasetRegistry::load());
    TRY(const Dataset set, registry.open(asked.dataset));
    data.inputs = inputs_of(set);
    data.tables = tables_of(set);
  }
  if (asked.files.empty()) return data;
  TRY(auto files, check_inputs(asked.files));
  data.inputs.insert(data.inputs.end(), files.begin(), files.end());
  data.tables.clear();
  return data;
}

// --strict: what a careful reader would ask about is refused.
Expected<void> check_strict(const Asked& asked, const QueryPlan& plan) {
  const auto warnings = query_plan_warnings(plan);
  if (!asked.strict || warnings.empty()) return {};
  return std::unexpected(Error{Stage::None, "query plan", 0, "the plan asks for " + warnings[0],
                               "add a filter or a lower limit, or leave out --strict"});
}

Expected<int> compile(const Asked& asked) {
  TRY(const std::string text, read_plan(asked.path));
  TRY(const QueryPlan plan, parse_query_plan(parse_json(text)));
  if (!asked.dataset.empty()) {
    TRY(const Data data, open_data(asked));
    bool there = data.tables.empty();
    for (const DataTable& table : data.tables) there = there || table.sql_name == plan.table;
    if (!there)
      return std::unexpected(Error{Stage::None, plan.table, 0,
                                   "data set " + asked.dataset + " has no table " + plan.table,
                                   "`jailrun datasets show " + asked.dataset + "` lists them"});
  }
  TRY_VOID(check_strict(asked, plan));
  const std::string sql = compile_query_plan(plan);
  const auto warnings = query_plan_warnings(plan);
  if (asked.json) {
    print(Json{{"sql", sql}, {"warnings", warnings}}.dump(2) + "\n");
    return 0;
  }
  for (const auto& warning : warnings)
    std::fprintf(stderr, "jailrun plan: warning: %s\n", warning.c_str());
  print(sql + "\n");
  return 0;
}

Json as_json(const DirectResult& result) {
  Json error;
  if (!result.ok()) error = {{"type", result.error_type}, {"message", result.error}};
  return {{"status", result.status},
          {"columns", result.columns},
          {"rows", result.rows},
          {"row_count", result.rows.size()},
          {"truncated", result.truncated},
          {"exec_time_ms", result.step.result.wall_ns / 1'000'000},
          {"sql", result.step.sql},
          {"warnings", result.warnings},
          {"error", error}};
}

Expected<int> run(const Asked& asked) {
  TRY(const std::string text, read_plan(asked.path));
  if (asked.strict) {
    TRY(const QueryPlan plan, parse_query_plan(parse_json(text)));
    TRY_VOID(check_strict(asked, plan));
  }
  TRY(Data data, open_data(asked));
  if (data.inputs.empty())
    return std::unexpected(Error{Stage::None, "data", 0, "no data to run the plan over",
                                 "name a data set with --dataset, or files after the plan"});
  TRY(const Cancel cancel, Cancel::on_signals());
  JailOptions jails = direct_options(asked.jails, DirectMode::Plan);
  TRY(jails.jailrun, find_jailrun());
  const JailClient client(jails, data.inputs, cancel);
  DirectLimits limits;
  limits.rows = 1000;
  limits.bytes = 900'000;
  limits.deadline = Clock::now() + std::chrono::minutes(5);
  if (data.tables.empty()) {
    TRY(data.tables, describe(client, limits.deadline));
  }
  const auto where = make_fresh_jails(client);
  TRY(const DirectResult result, run_direct({DirectMode::Plan, text}, data.tables, *where, limits));
  if (asked.json) {
    print(as_json(result).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  } else if (result.ok()) {
    for (const auto& warning : result.warnings)
      std::fprintf(stderr, "jailrun plan: warning: %s\n", warning.c_str());
    print(direct_table(result) + "\n");
  } else {
    std::fprintf(stderr, "jailrun plan: %s: %s\n", result.error_type.c_str(),
                 printable(result.error).c_str());
  }
  return result.ok() ? 0 : kRefused;
}

}  // namespace

void add_plan(CLI::App& app, int& status) {
  const auto asked = std::make_shared<Asked>();
  CLI::App* plan = app.add_subcommand("plan", "a query as data: into SQL, or over files");
  plan->require_subcommand(1);
  const auto verb = [&](const char* name, const char* text, Expected<int> (*act)(const Asked&)) {
    CLI::App* one = plan->add_subcommand(name, text);
    one->add_option("PLAN", asked->path, "a query plan in JSON, or - for stdin")
        ->type_name("FILE")
        ->required();
    one->add_option("--dataset", asked->dataset, "a data set, by its id")->type_name("DATASET");
    one->add_flag("--json", asked->json, "as JSON");
    one->add_flag("--strict", asked->strict, "refuse plans that take everything unfiltered");
    one->callback([asked, act, &status] {
      const Expected<int> done = act(*asked);
      if (!done) std::fprintf(stderr, "jailrun plan: %s\n", printable(done.error().line()).c_str());
      status = done.value_or(kOurFailure);
    });
    return one;
  };
  verb("compile", "print the SQL that a plan becomes; nothing runs", compile);
  CLI::App* runs = verb("run", "run a plan in a jail and print its table", run);
  runs->add_option("FILE", asked->files, "data files: csv, tsv, xlsx, json, parquet, sqlite")
      ->type_name("SRC[:NAME]");
  runs->add_option("--policy", asked->jails.policy, "policy of the jail");
  runs->add_option("--set", asked->jails.sets, "a field of the policy; repeatable")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  runs->add_option("--timeout", asked->jails.timeout, "wall time (default 10s)")
      ->type_name("DURATION");
}

}  // namespace jailrun::full
