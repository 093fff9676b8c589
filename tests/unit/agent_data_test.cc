// Descriptions as a jail prints them: honest, broken and hostile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/data/data.h"

namespace jailrun::agent {
namespace {

using testing::HasSubstr;

TEST(Description, IsReadWhole) {
  auto tables = parse_description(
      R"({"tables":[{"file":"t.csv","format":"csv","encoding":"latin-1","separator":";",
    "rows":3,"described_rows":3,"columns_total":2,"head":[["Köln",1]],"columns":[
      {"name":"Stadt","dtype":"object","kind":"text","missing":1,"distinct":2,"values":["Köln","Bonn"]},
      {"name":"Wert","dtype":"int64","kind":"number","min":-7,"max":2}]}]})");
  ASSERT_TRUE(tables);
  const auto& table = tables->at(0);
  EXPECT_EQ(table.columns[0].values, (std::vector<std::string>{"Köln", "Bonn"}));
  EXPECT_EQ(table.columns[1].kind, Kind::Number);
  EXPECT_EQ(table.columns[1].largest, 7);
  EXPECT_EQ(load_code(table), "pd.read_csv(\"/data/t.csv\", sep=\";\", encoding=\"latin-1\")");
  EXPECT_THAT(data_notes(*tables), testing::ElementsAre(HasSubstr("not UTF-8")));
  EXPECT_THAT(describe_text(*tables), HasSubstr("\"Wert\" int64, -7 to 2"));
}

TEST(Description, OfNothingOrNonsenseIsAnError) {
  for (const char* text :
       {"", "Traceback", "[]", "{}", R"({"tables":[]})", R"({"tables":[1,2]})", R"({"tables":{}})"})
    EXPECT_FALSE(parse_description(text)) << text;
  EXPECT_FALSE(parse_description(std::string(1'000'000, '[')));
}

TEST(Description, CannotPutItsOwnWordsIntoCode) {
  auto tables =
      parse_description(R"({"tables":[{"file":"t.csv","format":"csv","encoding":"x\"); evil(\"",
    "separator":"\"); evil(\"","rows":-1,"columns":[{"name":7},8]}]})");
  ASSERT_TRUE(tables);
  EXPECT_EQ(load_code(tables->at(0)), "pd.read_csv(\"/data/t.csv\")");
  auto sqlite = parse_description(
      R"({"tables":[{"file":"d.db","format":"sqlite","table":"a\"b","columns":[]}]})");
  ASSERT_TRUE(sqlite);
  EXPECT_THAT(load_code(sqlite->at(0)), HasSubstr(R"("select * from \"a\"\"b\"")"));
}

TEST(Description, OfAnOddFileIsReadAsItIs) {
  auto tables = parse_description(R"({"tables":[{"file":"order.csv","format":"csv","separator":";",
    "skip_rows":2,"decimal":",","thousands":".","trailing":true,"bad_lines":3,"plain":false,
    "notes":["odd\u001b[2J",7,"a","b","c","d","e","f","g","h"],
    "columns":[{"name":"v","dtype":"object","kind":"text","note":"text, but 3 of 4 are numbers"}]}]})");
  ASSERT_TRUE(tables);
  EXPECT_EQ(load_code(tables->at(0)),
            "pd.read_csv(\"/data/order.csv\", sep=\";\", skiprows=2, decimal=\",\", "
            "thousands=\".\", index_col=False, on_bad_lines=\"skip\")");
  const auto notes = data_notes(*tables);
  EXPECT_EQ(notes.size(), 8U);
  EXPECT_EQ(notes[0], "order.csv: odd[2J");
  EXPECT_THAT(describe_text(*tables), HasSubstr("\"v\" object; text, but 3 of 4 are numbers"));
  EXPECT_THAT(describe_text(*tables), HasSubstr("in SQL \"order\""));  // a word of the language
  auto lies = parse_description(
      R"({"tables":[{"file":"t.csv","format":"csv","skip_rows":1e18,"decimal":"\");evil(\"","thousands":1}]})");
  ASSERT_TRUE(lies);
  EXPECT_EQ(load_code(lies->at(0)), "pd.read_csv(\"/data/t.csv\")");
}

TEST(Description, IsBoundedHoweverLargeTheDataClaimsToBe) {
  std::string text = R"({"tables":[{"file":"t.csv","format":"csv","columns":[)";
  for (int i = 0; i < 5000; ++i) text += R"({"name":"c","kind":"text","values":["v"]},)";
  auto tables = parse_description(text + R"({"name":"z"}]}]})");
  ASSERT_TRUE(tables);
  EXPECT_LE(tables->at(0).columns.size(), 200U);
  EXPECT_LT(describe_text(*tables).size(), 17'000U);
}

TEST(Description, ShowsNoControlCharacters) {
  auto tables = parse_description(
      R"({"tables":[{"file":"t.csv","format":"csv","columns":[{"name":"a\u001b[2J"}]}]})");
  ASSERT_TRUE(tables);
  EXPECT_THAT(describe_text(*tables), testing::Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace jailrun::agent
