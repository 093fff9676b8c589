// Tools: definitions, schemas, the separation of powers, files of the host, manifests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent/llm/json.h"
#include "agent/llm/schema.h"
#include "agent/tools/host_files.h"
#include "agent/tools/manifest.h"
#include "agent/tools/run_sql.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

// As somebody adds one: what it is called, what it takes, what it does.
class CustomAnalysisTool : public Tool {
 public:
  CustomAnalysisTool()
      : Tool({"custom_analysis", "Performs a specialised analysis.", json::parse(R"({
          "type": "object",
          "properties": {"analysis_type": {"type": "string", "enum": ["trend", "outliers"]},
                         "columns": {"type": "array", "items": {"type": "string"}}},
          "required": ["analysis_type", "columns"]})")}) {}

  Expected<ToolOutcome> call(const json& arguments, const ToolContext&) override {
    return ToolOutcome{arguments["analysis_type"].get<std::string>() + " of " +
                       std::to_string(arguments["columns"].size())};
  }
};

std::string said(const ToolTable& table, const std::string& name, const std::string& arguments) {
  const auto outcome = table.call({"1", name, arguments}, {});
  return outcome ? outcome->text : "error: " + outcome.error().line();
}

TEST(Tools, OfOnesOwnAreDefinedCalledAndCheckedAgainstTheirSchema) {
  ToolTable table;
  table.add(std::make_unique<CustomAnalysisTool>());
  const auto definition = table.definitions().at(0);
  EXPECT_EQ(definition["type"], "function");
  EXPECT_EQ(definition["function"]["name"], "custom_analysis");
  EXPECT_EQ(definition["function"]["parameters"]["required"],
            json::parse(R"(["analysis_type","columns"])"));
  EXPECT_EQ(said(table, "custom_analysis", R"({"analysis_type":"trend","columns":["a","b"]})"),
            "trend of 2");
  EXPECT_THAT(said(table, "custom_analysis", R"({"analysis_type":"trend"})"),
              HasSubstr("columns is missing"));
  EXPECT_THAT(said(table, "custom_analysis", R"({"analysis_type":"magic","columns":[]})"),
              HasSubstr("one of [\"trend\",\"outliers\"]"));
  EXPECT_THAT(said(table, "custom_analysis", R"({"analysis_type":"trend","columns":["a",1]})"),
              HasSubstr("columns[1] must be of type string"));
}

TEST(Tools, OfTheSameNameReplaceEachOther) {
  ToolTable table;
  table.add(std::make_unique<CustomAnalysisTool>());
  table.add(std::make_unique<CustomAnalysisTool>());
  EXPECT_EQ(table.specs().size(), 1U);
}

TEST(Tools, ThatDoNotExistAndArgumentsThatAreNoneAreTold) {
  ToolTable table;
  table.add(std::make_unique<CustomAnalysisTool>());
  EXPECT_THAT(said(table, "x\x1b[2J", "{}"),
              StartsWith("Error: The requested tool 'x[2J' is not registered."));
  for (const char* arguments : {"", "[]", "7", "{broken", "\"text\"", "null"})
    EXPECT_THAT(said(table, "custom_analysis", arguments),
                testing::AnyOf(HasSubstr("not a JSON object"), HasSubstr("is missing")))
        << arguments;
  EXPECT_THAT(said(table, "custom_analysis", std::string(1'000'000, '[')),
              HasSubstr("not a JSON object"));
}

TEST(Schemas, CheckWhatTheySay) {
  const auto schema = json::parse(R"({"type":"object","additionalProperties":false,
    "properties":{"n":{"type":"integer","minimum":1,"maximum":9},
                  "s":{"type":["string","null"],"maxLength":3}}})");
  for (const char* fits : {"{}", R"({"n":1})", R"({"n":9,"s":null})", R"({"s":"abc"})"})
    EXPECT_EQ(schema_fault(schema, json::parse(fits)), "") << fits;
  for (const char* not_so : {R"({"n":0})", R"({"n":10})", R"({"n":1.5})", R"({"n":"1"})",
                             R"({"s":"abcd"})", R"({"s":[]})", R"({"z":1})", "[]"})
    EXPECT_NE(schema_fault(schema, json::parse(not_so)), "") << not_so;
}

TEST(Code, LosesItsFences) {
  EXPECT_EQ(clean_code("```python\nprint(1)\n```"), "print(1)\n");
  EXPECT_EQ(clean_code("\n```\nx\n```\n"), "x\n");
  EXPECT_EQ(clean_code(std::string("a\0b", 3)), "ab");
  EXPECT_EQ(clean_code("s = '''```'''"), "s = '''```'''") << "not a fence";
}

class HostFiles : public testing::Test {
 protected:
  HostFiles() {
    std::string pattern = (fs::temp_directory_path() / "agent-XXXXXX").string();
    dir = mkdtemp(pattern.data());
    fs::create_directory(dir / "data");
    tool = make_safe_file_access((dir / "data").string(), handed);
  }
  ~HostFiles() override { fs::remove_all(dir); }
  std::string put(const std::string& name, const std::string& text) const {
    std::ofstream(dir / name) << text;
    return (dir / name).string();
  }
  std::string read(const std::string& name) const {
    return tool->call({{"filename", name}}, {})->text;
  }
  fs::path dir;
  std::vector<Input> handed;
  std::unique_ptr<Tool> tool;
};

TEST_F(HostFiles, BelowTheDataDirectoryAreReadAndHandedOver) {
  std::string rows = "day,\"a, b\"\n";
  for (int i = 0; i < 30; ++i) rows += std::to_string(i) + ",\"x \"\"y\"\"\"\n";
  put("data/sales.csv", rows);
  const auto text = read("sales.csv");
  EXPECT_THAT(text,
              StartsWith("Copied sales.csv into sandbox:/data/.\nday   a, b\n  0  x \"y\"\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 1 + 15);
  ASSERT_EQ(handed.size(), 1U);
  EXPECT_EQ(handed[0].name, "sales.csv");
}

TEST_F(HostFiles, ElsewhereAreRefusedHoweverTheyAreNamed) {
  const auto secret = put("secret.csv", "key\n");
  fs::create_symlink(secret, dir / "data/link.csv");
  fs::create_symlink(dir, dir / "data/up");
  fs::create_directory(dir / "data/dir.csv");
  for (const std::string& name :
       {std::string("../secret.csv"), std::string("../../etc/passwd"), secret,
        std::string("link.csv"), std::string("up/secret.csv"), std::string("a/../../secret.csv"),
        std::string("x\0.csv", 6), std::string("dir.csv"), std::string()})
    EXPECT_EQ(read(name), "Error: Invalid file path") << name;
  EXPECT_TRUE(handed.empty());
}

TEST_F(HostFiles, ThatAreNoneOrNoCsvAreNamed) {
  put("data/a.txt", "x");
  EXPECT_EQ(read("a.txt"), "Error: The file is not a CSV file.");
  EXPECT_EQ(read("b.csv"), "Error: The file 'b.csv' was not found.");
}

TEST(Sql, IsTextInItsProgramWhateverIsInIt) {
  const auto tables = parse_description(R"({"tables":[
    {"file":"2 a.csv","format":"csv"},{"file":"t_2_a.csv","format":"csv"},
    {"file":"b.xlsx","format":"excel","table":"S\"heet; drop"}]})");
  ASSERT_TRUE(tables);
  EXPECT_EQ(tables->at(0).sql_name, "t_2_a");
  EXPECT_EQ(tables->at(1).sql_name, "t_2_a_2");
  EXPECT_EQ(tables->at(2).sql_name, "S_heet_drop");
  const auto program = sql_program(*tables, "select '\"\"\"); evil(\"' -- \\");
  EXPECT_THAT(program, HasSubstr(R"(}, "select '\"\"\"); evil(\"' -- \\", 200, 65536, False))"));
  EXPECT_THAT(program, HasSubstr(R"(pd.read_excel("/data/b.xlsx", sheet_name="S\"heet; drop"))"));
}

class Manifests : public HostFiles {};

TEST_F(Manifests, ThatSayTooMuchOrTooLittleAreRefused) {
  const Cancel never;
  const JailClient client({}, {}, never);
  const std::string good =
      R"({"name":"n","description":"d","parameters":{"type":"object"},"command":["/bin/cat"]})";
  auto made = read_manifest(put("good.json", good), client);
  ASSERT_TRUE(made) << made.error().line();
  EXPECT_EQ((*made)->spec().name, "n");
  for (const auto& [member, value] :
       std::vector<std::pair<const char*, const char*>>{{"name", "\"a b\""},
                                                        {"name", "7"},
                                                        {"command", "[]"},
                                                        {"command", "\"/bin/cat\""},
                                                        {"files", "[\"../x\"]"},
                                                        {"files", "[\"..\"]"},
                                                        {"files", "[\"/etc/passwd\"]"},
                                                        {"parameters", "{}"},
                                                        {"network", "true"},
                                                        {"description", "null"}}) {
    auto changed = json::parse(good);
    changed[member] = json::parse(value);
    EXPECT_FALSE(read_manifest(put("bad.json", changed.dump()), client)) << changed;
  }
  EXPECT_FALSE(read_manifest((dir / "missing.json").string(), client));
  EXPECT_FALSE(read_manifest(dir.string(), client));
}

}  // namespace
}  // namespace jailrun::agent
