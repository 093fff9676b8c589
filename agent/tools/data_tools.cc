// Tools that look and run nothing: list_files, describe_data; and finish.
#include <filesystem>

#include "agent/base/text.h"
#include "agent/tools/bench.h"
#include "jail/sys/units.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

class ListFiles : public Tool {
 public:
  explicit ListFiles(const Bench& bench)
      : Tool({"list_files",
              "Lists the data files in /data and the files that successful runs have left.",
              strings_schema({})}),
        bench_(bench) {}

  Expected<ToolOutcome> call(const json&, const ToolContext&) override {
    ToolOutcome outcome;
    for (const auto& input : bench_.inputs) {
      std::error_code failed;
      const auto bytes = std::filesystem::file_size(input.source, failed);
      outcome.text += "/data/" + input.name;
      outcome.text += failed ? "\n" : " (" + format_bytes(bytes) + ")\n";
    }
    for (const auto& step : bench_.steps)
      for (const auto& file : step.files)
        outcome.text += (bench_.interpreter.lasting() ? "/work/" : "kept for the user: ") +
                        printable(file.name) + " (" + format_bytes(file.bytes) + ")\n";
    return outcome;
  }

 private:
  const Bench& bench_;
};

class DescribeData : public Tool {
 public:
  explicit DescribeData(const Bench& bench)
      : Tool({"describe_data",
              "Describes a data file: rows, columns with types, missing and distinct values, first "
              "rows, and how to read it.",
              strings_schema({{"file", "its name in /data"}})}),
        bench_(bench) {}

  Expected<ToolOutcome> call(const json& arguments, const ToolContext&) override {
    auto name = arguments["file"].get<std::string>();
    if (name.starts_with("/data/")) name = name.substr(6);
    std::vector<DataTable> tables;
    std::string names;
    for (const auto& table : bench_.tables) {
      if (table.file == name) tables.push_back(table);
      if (names.find(table.file) == std::string::npos)
        names += (names.empty() ? "" : ", ") + table.file;
    }
    if (tables.empty())
      return misuse("There is no data file " + clip(printable(name), 80) + "; there are " + names +
                    ".");
    return ToolOutcome{describe_text(tables), false, false};
  }

 private:
  const Bench& bench_;
};

class Finish : public Tool {
 public:
  Finish()
      : Tool({"finish", "Gives the final answer to the user and ends the conversation.",
              strings_schema(
                  {{"answer", "the answer in Markdown, with the numbers that support it"}})}) {}

  Expected<ToolOutcome> call(const json& arguments, const ToolContext&) override {
    auto answer = arguments["answer"].get<std::string>();
    if (answer.empty()) return misuse("finish needs {\"answer\": \"…\"}.");
    return ToolOutcome{std::move(answer), false, true};
  }
};

}  // namespace

std::unique_ptr<Tool> make_list_files(const Bench& bench) {
  return std::make_unique<ListFiles>(bench);
}
std::unique_ptr<Tool> make_describe_data(const Bench& bench) {
  return std::make_unique<DescribeData>(bench);
}
std::unique_ptr<Tool> make_finish() { return std::make_unique<Finish>(); }

}  // namespace jailrun::agent
