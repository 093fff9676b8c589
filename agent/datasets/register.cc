#include "agent/datasets/register.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "agent/agents/direct.h"
#include "agent/data/inputs.h"
#include "agent/datasets/generate.h"
#include "agent/llm/json.h"
#include "jail/launch/parts.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kImage = "image:";

// What goes into the registry, and what the jail is given to look at.
struct Placed {
  Input input;
  std::string path;
};

Expected<std::vector<Placed>> place(const NewDataset& wanted, const std::string& dir) {
  std::vector<Placed> placed;
  std::vector<std::string> own;
  for (const std::string& file : wanted.files) {
    if (!file.starts_with(kImage)) {
      own.push_back(file);
      continue;
    }
    const std::string below = file.substr(kImage.size());
    placed.push_back({{image_path("python") + below, fs::path(below).filename().string()}, file});
  }
  TRY(const std::vector<Input> inputs, check_inputs(own));
  for (const Input& input : inputs) {
    const std::string path = wanted.id + "/" + input.name, target = dir + "/" + path;
    std::error_code failed;
    fs::create_directories(fs::path(target).parent_path(), failed);
    fs::copy_file(input.source, target, fs::copy_options::overwrite_existing, failed);
    if (failed)
      return std::unexpected(Error{Stage::None, target, failed.value(), "cannot write " + target,
                                   "check the directory and its space"});
    placed.push_back({{target, input.name}, path});
  }
  return placed;
}

// Answers one query of ours over one table; what it tells is data.
Expected<DirectResult> ask(const std::string& sql, const std::vector<DataTable>& tables,
                           Interpreter& where, Deadline deadline) {
  DirectLimits limits;
  limits.rows = 1000;
  limits.bytes = 1 << 20;
  limits.deadline = deadline;
  TRY(DirectResult result, run_direct({DirectMode::Sql, sql}, tables, where, limits));
  if (result.ok()) return result;
  return std::unexpected(Error{Stage::None, tables[0].file, 0,
                               "cannot read " + tables[0].file + " in SQL: " + result.error,
                               "`jailrun ask` reads files that SQL cannot"});
}

Expected<void> describe_file(OrderedJson& entry, const std::vector<DataTable>& tables,
                             Interpreter& where, Deadline deadline) {
  entry["schema"] = OrderedJson::object();
  entry["sample_rows"] = OrderedJson::array();
  if (tables.size() != 1) return {};  // a workbook, a database: its schema is found when asked
  const std::string name = "\"" + tables[0].sql_name + "\"";
  TRY(const DirectResult columns,
      ask("select column_name, column_type from (describe " + name + ")", tables, where, deadline));
  for (const auto& row : columns.rows)
    if (row[0].is_string()) entry["schema"][row[0].get<std::string>()] = row[1];
  TRY(const DirectResult sample,
      ask("select * from " + name + " limit 3", tables, where, deadline));
  for (const auto& row : sample.rows) {
    OrderedJson object = OrderedJson::object();
    for (std::size_t i = 0; i < sample.columns.size(); ++i) object[sample.columns[i]] = row[i];
    entry["sample_rows"].push_back(object);
  }
  return {};
}

}  // namespace

Expected<void> register_dataset(const NewDataset& wanted, const std::string& dir,
                                const JailOptions& jails, const Cancel& cancel, Deadline deadline) {
  TRY(const auto placed, place(wanted, dir));
  std::vector<Input> inputs;
  Dataset set;
  set.id = wanted.id;
  for (const Placed& each : placed) {
    inputs.push_back(each.input);
    DatasetFile file;
    file.path = each.path;
    file.source = each.input.source;
    set.files.push_back(std::move(file));
  }
  const JailClient client(jails, inputs, cancel);
  TRY(const auto tables, describe(client, deadline));
  const auto where = make_fresh_jails(client);
  OrderedJson files = OrderedJson::array();
  for (const Placed& each : placed) {
    OrderedJson entry = {{"name", each.input.name}, {"path", each.path}};
    std::vector<DataTable> its;
    std::ranges::copy_if(tables, std::back_inserter(its),
                         [&](const DataTable& table) { return table.file == each.input.name; });
    if (its.empty() || !its[0].error.empty())
      return std::unexpected(Error{Stage::None, each.input.name, 0,
                                   each.input.name + " holds no table that can be read",
                                   "csv, tsv, xlsx, json, parquet and sqlite are understood"});
    TRY_VOID(describe_file(entry, its, *where, deadline));
    files.push_back(entry);
  }
  TRY(const std::string hash, version_hash(set));
  return write_entry(dir, {{"id", wanted.id},
                           {"name", wanted.name.empty() ? wanted.id : wanted.name},
                           {"description", wanted.description},
                           {"as_of", wanted.as_of},
                           {"version_hash", hash},
                           {"prompts", wanted.prompts},
                           {"files", files}});
}

}  // namespace jailrun::agent
