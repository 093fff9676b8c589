// Data sets as jails, models and programs see them.
#include <unistd.h>

#include <algorithm>

#include "agent/base/text.h"
#include "agent/datasets/registry.h"

namespace jailrun::agent {
namespace {

using OrderedJson = nlohmann::ordered_json;

Format format_of(const std::string& name) {
  const auto ends = [&](std::string_view suffix) { return lower(name).ends_with(suffix); };
  if (ends(".parquet") || ends(".pq")) return Format::Parquet;
  if (ends(".jsonl") || ends(".ndjson")) return Format::JsonLines;
  return ends(".json") ? Format::Json : Format::Csv;
}

}  // namespace

std::vector<Input> inputs_of(const Dataset& dataset) {
  std::vector<Input> inputs;
  for (const DatasetFile& file : dataset.files) {
    // By a name that jailrun, our child, can open as well.
    const auto source = file.held ? "/proc/" + std::to_string(::getpid()) + "/fd/" +
                                        std::to_string(file.held->get())
                                  : file.source;
    inputs.push_back({source, file.name, file.held ? file.source : "", file.held});
  }
  return inputs;
}

std::vector<DataTable> tables_of(const Dataset& dataset) {
  std::vector<DataTable> tables;
  for (const DatasetFile& file : dataset.files) {
    if (file.schema.empty()) return {};  // a workbook or a database: several tables, or none
    DataTable table;
    table.file = file.name;
    table.format = format_of(file.name);
    if (lower(file.name).ends_with(".tsv")) table.separator = "\t";
    for (const auto& [name, type] : file.schema) {
      DataColumn column;
      column.name = name;
      column.dtype = type;
      table.columns.push_back(std::move(column));
    }
    table.columns_total = table.columns.size();
    table.typed = true;
    tables.push_back(std::move(table));
  }
  name_for_sql(tables);
  return tables;
}

std::string dataset_text(const Dataset& dataset) {
  std::string out = "Data set " + dataset.id;
  if (dataset.name != dataset.id) out += " (" + dataset.name + ")";
  if (!dataset.description.empty()) out += ": " + dataset.description;
  out += "\n";
  if (!dataset.as_of.empty())
    out += "Its data end at " + dataset.as_of +
           ": count \"now\", \"today\", \"the last week\" and the like from there.\n";
  return clip(printable(out), 5000);
}

OrderedJson summary_json(const Dataset& dataset) {
  return {{"id", dataset.id},
          {"name", dataset.name},
          {"description", dataset.description},
          {"prompts", dataset.prompts},
          {"version_hash", dataset.version_hash}};
}

OrderedJson schema_json(const Dataset& dataset) {
  OrderedJson files = OrderedJson::array();
  for (const DatasetFile& file : dataset.files) {
    OrderedJson schema = OrderedJson::object();
    for (const auto& [column, type] : file.schema) schema[column] = type;
    files.push_back({{"name", file.name},
                     {"path", file.path},
                     {"schema", schema},
                     {"sample_rows", file.sample_rows}});
  }
  return {{"id", dataset.id}, {"name", dataset.name}, {"files", files}};
}

}  // namespace jailrun::agent
