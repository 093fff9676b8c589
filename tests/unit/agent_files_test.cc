// Files in and files out on the host: inputs are checked before a jail is made, nothing is
// overwritten.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent/data/inputs.h"
#include "agent/jails/workspace.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Scratch : public testing::Test {
 protected:
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "agent-XXXXXX").string();
    dir = mkdtemp(pattern.data());
  }
  ~Scratch() override { fs::remove_all(dir); }

  std::string put(const fs::path& path, const std::string& text) const {
    std::ofstream(dir / path) << text;
    return (dir / path).string();
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::recursive_directory_iterator(dir), {}));
  }
  fs::path dir;
};

using Inputs = Scratch;

TEST_F(Inputs, AreNamedSafelyAndDistinctly) {
  fs::create_directory(dir / "b");
  auto first = put("My sales (2).csv", "a\n1\n"), second = put("b/My sales (2).csv", "a\n1\n"),
       third = put("-x.csv", "a\n");
  auto inputs = check_inputs({first, second, third, first + ":other.csv"});
  ASSERT_TRUE(inputs) << inputs.error().line();
  EXPECT_EQ(inputs->at(0).name, "My_sales_2.csv");
  EXPECT_EQ(inputs->at(1).name, "My_sales_2-2.csv");
  EXPECT_EQ(inputs->at(2).name, "data-x.csv");
  EXPECT_EQ(inputs->at(3).name, "other.csv");
}

TEST_F(Inputs, ThatCannotBeUsedAreNamedWithARemedy) {
  struct Bad {
    std::string path;
    const char* why;
  };
  auto fifo = (dir / "pipe").string();
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  for (const auto& bad :
       {Bad{(dir / "missing.csv").string(), "check the path"}, Bad{dir.string(), "is a directory"},
        Bad{put("empty.csv", ""), "is empty"}, Bad{fifo, "not a regular file"}}) {
    auto inputs = check_inputs({bad.path});
    ASSERT_FALSE(inputs) << bad.path;
    EXPECT_THAT(inputs.error().line(), HasSubstr(bad.path));
    EXPECT_THAT(inputs.error().line(), HasSubstr(bad.why));
  }
}

using Workspaces = Scratch;

TEST_F(Workspaces, LeaveNothingWhereThereIsNoFile) {
  {
    auto workspace = Workspace::open((dir / "out").string());
    ASSERT_TRUE(workspace);
    auto run = workspace->new_run();
    ASSERT_TRUE(run);
    EXPECT_TRUE(workspace->keep(*run)->empty());
    EXPECT_FALSE(fs::exists(dir / "out"));
  }
  EXPECT_EQ(entries(), 0U);
}

TEST_F(Workspaces, OverwriteNothing) {
  fs::create_directory(dir / "out");
  put("out/plot.png", "mine");
  {
    auto workspace = Workspace::open((dir / "out").string());
    ASSERT_TRUE(workspace);
    auto run = workspace->new_run();
    ASSERT_TRUE(run);
    std::ofstream(fs::path(*run) / "plot.png") << "new";
    auto kept = workspace->keep(*run);
    ASSERT_TRUE(kept);
    ASSERT_EQ(kept->size(), 1U);
    EXPECT_EQ(kept->at(0).name, "plot-2.png");
    EXPECT_EQ(kept->at(0).bytes, 3U);
  }
  std::string mine;
  std::ifstream(dir / "out/plot.png") >> mine;
  EXPECT_EQ(mine, "mine");
  EXPECT_EQ(entries(), 3U) << "out and the two plots";
}

TEST_F(Workspaces, KeepRegularFilesOnly) {
  auto secret = put("secret", "key");
  auto workspace = Workspace::open((dir / "out").string());
  ASSERT_TRUE(workspace);
  auto run = workspace->new_run();
  ASSERT_TRUE(run);
  fs::create_symlink(secret, fs::path(*run) / "link.txt");
  fs::create_directory(fs::path(*run) / "sub");
  std::ofstream(fs::path(*run) / "sub/table.csv") << "a\n";
  auto kept = workspace->keep(*run);
  ASSERT_TRUE(kept);
  ASSERT_EQ(kept->size(), 1U);
  EXPECT_EQ(kept->at(0).name, "sub/table.csv");
}

TEST_F(Workspaces, RefuseAPlaceThatIsAFileOrCannotBeWritten) {
  EXPECT_THAT(Workspace::open(put("file", "x")).error().line(), HasSubstr("--out DIR"));
  EXPECT_THAT(Workspace::open("/proc/nothing/here").error().line(), HasSubstr("--out DIR"));
}

}  // namespace
}  // namespace jailrun::agent
