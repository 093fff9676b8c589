// Registries of data sets: honest, broken and hostile; and the synthetic ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent/datasets/generate.h"
#include "agent/datasets/registry.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using OrderedJson = nlohmann::ordered_json;

class Datasets : public testing::Test {
 protected:
  Datasets() {
    std::string name = testing::TempDir() + "datasetsXXXXXX";
    dir_ = mkdtemp(name.data());
    put("a.csv", "x\n1\n");
    put("b.csv", "y\n2\n");
  }
  ~Datasets() override { fs::remove_all(dir_); }

  void put(const std::string& name, const std::string& text) {
    fs::create_directories((dir_ / name).parent_path());
    std::ofstream(dir_ / name) << text;
  }
  void registry(const std::string& text) { put("registry.json", text); }
  void one(const std::string& path, const std::string& more = "") {
    registry(R"({"datasets":[{"id":"t","version_hash":"h","files":[{"name":"a.csv","path":")" +
             path + "\"" + more + "}]}]}");
  }
  std::string fault() const {
    const auto loaded = DatasetRegistry::load({dir_.string()});
    return loaded ? "" : loaded.error().line();
  }

  fs::path dir_;
};

TEST_F(Datasets, AreReadInTheOrderOfTheirColumnsAndOpenedByTheirHash) {
  registry(R"({"datasets":[{"id":"two","name":"Two","description":"d","as_of":"2026-01-01",
    "prompts":["how many?"],"version_hash":"HASH","files":[
      {"name":"b.csv","path":"b.csv","schema":{"z":"BIGINT","a":"VARCHAR"},"sample_rows":[{"z":1,"a":"x"}]},
      {"name":"a.csv","path":"./a.csv","schema":{"x":"BIGINT"}}]}]})");
  auto loaded = DatasetRegistry::load({"/nowhere", dir_.string()});
  ASSERT_TRUE(loaded) << loaded.error().line();
  const Dataset set = loaded->all().at(0);
  EXPECT_EQ(schema_json(set)["files"][0]["schema"].dump(), R"({"z":"BIGINT","a":"VARCHAR"})");
  EXPECT_EQ(
      summary_json(set).dump(),
      R"({"id":"two","name":"Two","description":"d","prompts":["how many?"],"version_hash":"HASH"})");
  EXPECT_THAT(dataset_text(set), HasSubstr("Its data end at 2026-01-01"));
  EXPECT_EQ(tables_of(set).at(0).sql_name, "b");
  EXPECT_THAT(loaded->open("two").error().message, HasSubstr("two are not those"));
  EXPECT_THAT(loaded->open("twoo").error().remedy, HasSubstr("did you mean 'two'?"));
  // sha256 of "x\n1\ny\n2\n": the files in the order of their paths, whatever order they are named
  // in.
  EXPECT_EQ(*version_hash(set), "a43c5fbe675044d3256b0b0237cac35cd9b2d3b5923f103b39647da25e7be755");
  put("a.csv", "x\n2\n");
  EXPECT_NE(*version_hash(set), "a43c5fbe675044d3256b0b0237cac35cd9b2d3b5923f103b39647da25e7be755");
  fs::remove(dir_ / "a.csv");
  EXPECT_THAT(version_hash(set).error().message, HasSubstr("cannot read ./a.csv of data set two"));
}

TEST_F(Datasets, GiveAJailWhatWasHashedWhateverTakesItsNameMeanwhile) {
  // sha256 of "x\n1\n"
  registry(R"({"datasets":[{"id":"one","version_hash":
    "daff832f802000e645771a60983c76c963f6ee602a6230e45237bd360e91cc1a",
    "files":[{"name":"a.csv","path":"a.csv"}]}]})");
  const auto loaded = DatasetRegistry::load({dir_.string()});
  ASSERT_TRUE(loaded) << loaded.error().line();
  auto opened = loaded->open("one");
  ASSERT_TRUE(opened) << opened.error().line();
  put("other.csv", "x\n9\n");
  fs::rename(dir_ / "other.csv", dir_ / "a.csv");
  EXPECT_THAT(loaded->open("one").error().message, HasSubstr("are not those"));
  const auto inputs = inputs_of(*opened);
  *opened = Dataset();  // an input holds what it names by itself
  std::ifstream given(inputs.at(0).source);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(given), {}), "x\n1\n");
  EXPECT_EQ(inputs[0].origin, (dir_ / "a.csv").string());
}

TEST_F(Datasets, CannotNameAFileOfAnother) {
  fs::create_symlink("/etc/passwd", dir_ / "link.csv");
  fs::create_directory_symlink("/etc", dir_ / "etc");
  for (const char* path : {"../a.csv", "/etc/passwd", "x/../../a.csv", "",
                           "image:/../../etc/passwd", "image:", "link.csv", "etc/passwd"}) {
    one(path);
    EXPECT_THAT(fault(), testing::AnyOf(HasSubstr("below the registry"), HasSubstr("leads out")))
        << path;
  }
  one("a.csv");
  EXPECT_EQ(fault(), "");
}

TEST_F(Datasets, ThatMakeNoSenseAreNamedByFileAndPlace) {
  for (
      const auto& [text, why] : std::vector<std::pair<const char*, const char*>>{
          {"", "is no JSON"},
          {"[]", "must be of type object"},
          {R"({"datasets":[{"id":"t","version_hash":"","files":[]}]})", "at least 1"},
          {R"({"datasets":[{"files":[{"name":"a","path":"a"}],"version_hash":""}]})",
           "id is missing"},
          {R"({"datasets":[{"id":"t","sql":"","version_hash":"","files":[{"name":"a","path":"a"}]}]})",
           "unknown member sql"},
          {R"({"datasets":[{"id":"../t","version_hash":"","files":[{"name":"a","path":"a"}]}]})",
           "no id of a data set"},
          {R"({"datasets":[{"id":"t","version_hash":"","files":[{"name":"a b","path":"a"}]}]})",
           "no name for a file"},
          {R"({"datasets":[{"id":"t","version_hash":"","files":[{"name":"a","path":"a"},
              {"name":"a","path":"b"}]}]})",
           "two files a"}}) {
    registry(text);
    EXPECT_THAT(fault(), HasSubstr(why)) << text;
    EXPECT_THAT(fault(), HasSubstr("registry.json")) << text;
  }
  registry(std::string(1000, '['));
  EXPECT_THAT(fault(), HasSubstr("is no JSON"));
}

TEST_F(Datasets, OfTheFirstDirectoryCount) {
  one("a.csv");
  const fs::path other = dir_ / "other";
  put("other/a.csv", "x\n1\n");
  put("other/registry.json",
      R"({"datasets":[{"id":"t","name":"second","version_hash":"h","files":[{"name":"a.csv","path":"a.csv"}]},
          {"id":"u","version_hash":"h","files":[{"name":"a.csv","path":"a.csv"}]}]})");
  const auto loaded = DatasetRegistry::load({dir_.string(), other.string()});
  ASSERT_TRUE(loaded);
  ASSERT_EQ(loaded->all().size(), 2U);
  EXPECT_EQ(loaded->all()[0].name, "t");
  EXPECT_EQ(loaded->all()[1].id, "u");
}

TEST_F(Datasets, ThatAreMadeAreTheSameBytesEachTimeAndEverywhere) {
  ASSERT_TRUE(generate_datasets(dir_.string(), {}));
  const auto loaded = DatasetRegistry::load({dir_.string()});
  ASSERT_TRUE(loaded) << loaded.error().line();
  std::vector<std::string> hashes;
  for (const Dataset& set : loaded->all()) {
    EXPECT_TRUE(loaded->open(set.id)) << set.id;
    EXPECT_EQ(set.as_of, "2026-01-01T00:00:00");
    EXPECT_GE(set.prompts.size(), 3U);
    for (const DatasetFile& file : set.files) EXPECT_EQ(file.sample_rows.size(), 3U) << file.name;
    hashes.push_back(set.id + " " + set.version_hash.substr(0, 16));
  }
  EXPECT_THAT(hashes, testing::ElementsAre("ecommerce e8477a964299740f", "support 7ce441bb7d97662c",
                                           "sensors 5ee20e0c6f2730fc"));
}

TEST_F(Datasets, ThatAreMadeEndAtTheirClockAndStandBesideOthers) {
  one("a.csv", R"(,"schema":{"x":"BIGINT"})");
  ASSERT_TRUE(generate_datasets(dir_.string(), {1'700'000'000, 7}));
  ASSERT_TRUE(generate_datasets(dir_.string(), {1'700'000'000, 7}));
  const auto loaded = DatasetRegistry::load({dir_.string()});
  ASSERT_TRUE(loaded) << loaded.error().line();
  ASSERT_EQ(loaded->all().size(), 4U);
  EXPECT_EQ(loaded->all()[0].id, "t");
  EXPECT_EQ(loaded->find("support")->as_of, "2023-11-14T22:13:20");
  std::size_t rows = 0;
  std::string last, first;
  std::ifstream tickets(dir_ / "support/tickets.csv");
  for (std::string line; std::getline(tickets, line); ++rows) last = line;
  EXPECT_EQ(rows, 6418U);
  EXPECT_THAT(last, HasSubstr(",2023-11-14 22:13:20,"));
  std::ifstream sensors(dir_ / "sensors/sensors.csv");
  for (rows = 0; std::getline(sensors, last);) ++rows;
  EXPECT_EQ(rows, 49'951U);
}

TEST_F(Datasets, AreNotWrittenOverARegistryThatMakesNoSense) {
  registry("{");
  EXPECT_FALSE(generate_datasets(dir_.string(), {}));
  EXPECT_EQ(fs::file_size(dir_ / "registry.json"), 1U);
}

}  // namespace
}  // namespace jailrun::agent
