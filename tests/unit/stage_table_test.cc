// The list of stages is code; its table in jail/README.md must say the same.
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "jail/sys/stage.h"

namespace jailrun {
namespace {

std::string expected_table() {
  std::string text = "| # | stage | by | why |\n|---|---|---|---|\n";
  for (std::size_t i = 1; i < kStageCount; ++i) {
    text += "| " + std::to_string(i) + " | " + std::string(kStages[i].name) + " | " +
            std::string(kStages[i].by) + " | " + std::string(kStages[i].why) + " |\n";
  }
  return text;
}

TEST(StageTable, ReadmeListsEveryStageWithItsReason) {
  std::ifstream file(JAILRUN_SOURCE_DIR "/jail/README.md");
  std::stringstream content;
  content << file.rdbuf();
  ASSERT_FALSE(content.str().empty());
  EXPECT_NE(content.str().find(expected_table()), std::string::npos)
      << "put this table into jail/README.md:\n\n"
      << expected_table();
}

TEST(StageTable, EveryStageHasAPerformerAReasonAndANameOfItsOwn) {
  std::set<std::string_view> names;
  for (std::size_t i = 1; i < kStageCount; ++i) {
    EXPECT_TRUE(kStages[i].by == "owner" || kStages[i].by == "init" || kStages[i].by == "guest")
        << kStages[i].name;
    EXPECT_FALSE(kStages[i].why.empty()) << kStages[i].name;
    EXPECT_TRUE(names.insert(kStages[i].name).second) << kStages[i].name;
  }
}

}  // namespace
}  // namespace jailrun
