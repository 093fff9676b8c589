// The offline translator as a pure function: a question and a described table in, a program or a
// refusal out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/offline/question.h"

namespace jailrun::agent::offline {
namespace {

using testing::HasSubstr;

DataColumn number(const char* name, std::uint64_t distinct = 100) {
  DataColumn column;
  column.name = name;
  column.dtype = "float64";
  column.kind = Kind::Number;
  column.distinct = distinct;
  column.largest = 100;
  return column;
}

DataColumn text(const char* name, std::vector<std::string> values) {
  DataColumn column;
  column.name = name;
  column.dtype = "object";
  column.kind = Kind::Text;
  column.distinct = values.size();
  column.values = std::move(values);
  return column;
}

DataTable tips() {
  DataTable table;
  table.file = "tips.csv";
  table.rows = 244;
  table.columns = {number("total_bill"),
                   number("tip"),
                   text("sex", {"Male", "Female"}),
                   text("smoker", {"No", "Yes"}),
                   text("day", {"Sat", "Sun", "Thur", "Fri"}),
                   text("time", {"Dinner", "Lunch"}),
                   number("size", 6)};
  return table;
}

DataTable sales() {
  DataTable table;
  table.file = "sales.csv";
  DataColumn date;
  date.name = "order_date";
  date.dtype = "object";
  date.kind = Kind::Date;
  date.min = "2023-01-01 00:00:00";
  date.max = "2024-02-04 00:00:00";
  date.dayfirst = true;
  DataColumn returned;
  returned.name = "returned";
  returned.dtype = "bool";
  returned.kind = Kind::Bool;
  returned.values = {"false", "true"};
  table.columns = {date,
                   text("region", {"North", "New York", "East"}),
                   text("product", {"tea", "milk"}),
                   number("sales"),
                   number("unitPrice"),
                   returned};
  return table;
}

struct Case {
  const char* question;
  const char* title;
  std::vector<const char*> code;  // each must be there
};

void expect_all(const DataTable& table, const std::vector<Case>& cases) {
  for (const auto& one : cases) {
    SCOPED_TRACE(one.question);
    auto query = read_question(one.question, table);
    ASSERT_TRUE(query) << query.error();
    EXPECT_EQ(title_of(*query, table), one.title);
    for (const char* part : one.code) EXPECT_THAT(write_code(*query, table), HasSubstr(part));
  }
}

TEST(OfflineTranslator, UnderstandsAggregates) {
  expect_all(tips(), {
                         {"What is the average tip by day?",
                          "mean of tip by day",
                          {"groupby([\"day\"]", "[\"tip\"].mean()", "savefig"}},
                         {"total total bill per sex and time",
                          "sum of total_bill by sex and time",
                          {"[\"sex\", \"time\"]"}},
                         {"median tip", "median of tip", {"df[columns].median()"}},
                         {"how many rows by day", "number of rows by day", {"groups.size()"}},
                         {"how many smokers by day",
                          "number of rows by day and smoker",
                          {"[\"day\", \"smoker\"]"}},
                         {"maximum tip for each sex", "max of tip by sex", {".max()"}},
                         {"number of distinct days", "number of distinct day", {"nunique()"}},
                         {"Average bill by day", "mean of total_bill by day", {}},
                     });
}

TEST(OfflineTranslator, UnderstandsFilters) {
  expect_all(tips(),
             {
                 {"average tip where total_bill > 20",
                  "mean of tip where total_bill > 20",
                  {"df[df[\"total_bill\"] > 20]"}},
                 {"average tip with sex female",
                  "mean of tip where sex is Female",
                  {"df[\"sex\"] == \"Female\""}},
                 {"average tip for females on sundays",
                  "mean of tip where sex is Female and day is Sun",
                  {}},
                 {"tip by sex where day is Sat or Sun",
                  "tip by sex where day is Sat or Sun",
                  {".isin([\"Sat\", \"Sun\"])"}},
                 {"rows where tip is between 3 and 4.5",
                  "rows where tip between 3 and 4.5",
                  {".between(3, 4.5)"}},
                 {"rows where size is at least 5", "rows where size >= 5", {"df[\"size\"] >= 5"}},
                 {"median tip where smoker is not yes",
                  "median of tip where smoker is not Yes",
                  {"!= \"Yes\""}},
             });
  expect_all(
      sales(),
      {
          {"total sales in 2023",
           "sum of sales where year of order_date is 2023",
           {".dt.year == 2023", "dayfirst=True"}},
          {"total sales after 2023", "sum of sales where order_date >= \"2024\"", {}},
          {"how many orders were not returned",
           "number of rows where returned is false",
           {"df[\"returned\"] == False"}},
          {"average unit price in New York", "mean of unitPrice where region is New York", {}},
      });
}

TEST(OfflineTranslator, UnderstandsTopN) {
  expect_all(
      tips(),
      {
          {"top 5 rows by total bill", "5 highest total_bill", {"df.nlargest(5, \"total_bill\")"}},
          {"3 lowest tips", "3 lowest tip", {"df.nsmallest(3, \"tip\")"}},
          {"which day has the highest average tip?", "highest mean of tip by day", {"Highest: "}},
          {"what is the highest tip?", "max of tip", {}},
          {"which 2 days have the most rows", "2 highest number of rows by day", {"table.head(2)"}},
      });
  expect_all(
      sales(),
      {
          {"top 2 products by sales", "2 highest sum of sales by product", {"[\"sales\"].sum()"}},
          {"bottom three products by average sales",
           "3 lowest mean of sales by product",
           {"ascending=True"}},
      });
}

TEST(OfflineTranslator, UnderstandsTrends) {
  expect_all(sales(),
             {
                 {"total sales by month", "sum of sales by month", {"to_period(\"M\")", "savefig"}},
                 {"average sales per region by quarter",
                  "mean of sales by region by quarter",
                  {"to_period(\"Q\")", "unstack"}},
                 {"trend of sales", "sum of sales by month", {}},
                 {"how many orders per week", "number of rows by week", {"to_period(\"W\")"}},
             });
}

TEST(OfflineTranslator, UnderstandsCorrelationDistributionAndPlots) {
  expect_all(tips(),
             {
                 {"correlation between tip and total bill",
                  "correlation of tip and total_bill",
                  {"spearman", "savefig"}},
                 {"correlations", "correlation of all columns of numbers", {"numbers.corr()"}},
                 {"how is tip distributed?", "distribution of tip", {"kind=\"hist\""}},
                 {"histogram of total bill", "distribution of total_bill", {}},
                 {"box plot of tip by day", "distribution of tip by day", {"df.boxplot("}},
                 {"plot tip over total_bill",
                  "tip over total_bill",
                  {"kind=\"scatter\", x=\"total_bill\", y=\"tip\""}},
                 {"bar chart of average tip by day", "mean of tip by day", {"kind=\"bar\""}},
             });
}

TEST(OfflineTranslator, CountsWhatIsOnlyNamed) {
  DataTable table = tips();
  table.columns.push_back(number("ticket_id", 1000));
  const auto query = read_question("tickets by day", table);
  ASSERT_TRUE(query) << query.error();
  EXPECT_EQ(query->aggregate, "count");
  EXPECT_TRUE(query->measures.empty());
  EXPECT_EQ(read_question("total ticket_id by day", table)->aggregate, "sum");
}

TEST(OfflineTranslator, SaysWhatItAssumed) {
  auto part = read_question("average bill by day", tips());
  ASSERT_TRUE(part);
  EXPECT_THAT(part->notes,
              testing::ElementsAre(HasSubstr("took \"bill\" to mean the column total_bill")));
  auto noun = read_question("how many orders by region", sales());
  ASSERT_TRUE(noun);
  EXPECT_THAT(noun->notes, testing::ElementsAre(HasSubstr("each row to be one of the orders")));
  auto none = read_question("average tip by day", tips());
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->notes.empty());
}

TEST(OfflineTranslator, RefusesEveryQuestionThatHoldsAWordItHasNoUseFor) {
  struct Refused {
    const char* question;
    const char* why;
  };
  for (auto [question, why] : {Refused{"predict the tip for tomorrow", "\"predict\""},
                               {"average tip by weather", "weather"},
                               {"why is the tip higher on sunday", "\"why\""},
                               {"average tip excluding sunday", "\"excluding\""},
                               {"average tip where total_bill is large", "\"large\""},
                               {"average tip or total bill by day", "\"or\""},
                               {"top 5 rows by 20", "20"}}) {
    SCOPED_TRACE(question);
    auto query = read_question(question, tips());
    ASSERT_FALSE(query) << title_of(*query, tips());
    EXPECT_THAT(query.error(), HasSubstr(why));
  }
}

TEST(OfflineTranslator, RefusesWhatTheColumnsCannotAnswer) {
  EXPECT_THAT(read_question("average day by sex", tips()).error(), HasSubstr("holds no numbers"));
  EXPECT_THAT(read_question("total tip by month", tips()).error(), HasSubstr("no column of dates"));
  EXPECT_THAT(read_question("tip", tips()).error(), HasSubstr("no word says what to do"));
  EXPECT_FALSE(read_question("", tips()));
  EXPECT_FALSE(read_question("?!", tips()));
}

TEST(OfflineTranslator, ItsRefusalListsTheColumnsAndExamplesThatItUnderstands) {
  auto made = translate("sing a song", {tips()});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error(), HasSubstr("total_bill, tip, sex"));
  for (const auto& table : {tips(), sales()})
    for (const auto& example : examples(table)) {
      EXPECT_TRUE(read_question(example, table))
          << example << ": " << read_question(example, table).error();
    }
}

TEST(OfflineTranslator, AHostileColumnNameStaysAString) {
  DataTable table = tips();
  table.columns[1].name = "tip\"]; import os; os.system(\"id\") #";
  auto query = read_question(
      "average total bill by day where \"tip\"]; import os; os.system(\"id\") #\" > 3", table);
  auto all = read_question("average by day", table);
  ASSERT_TRUE(all);
  auto code = write_code(*all, table);
  EXPECT_THAT(code, HasSubstr("\"tip\\\"]; import os; os.system(\\\"id\\\") #\""));
}

TEST(OfflineTranslator, SurvivesAnyBytesAsAQuestion) {
  for (unsigned seed = 1; seed < 500; ++seed) {
    std::string question;
    unsigned state = seed;
    for (int i = 0; i < 60; ++i) {
      state = state * 1664525 + 1013904223;
      question += static_cast<char>(state >> 24);
    }
    (void)read_question(question, tips());
    (void)read_question("average tip " + question, sales());
  }
}

}  // namespace
}  // namespace jailrun::agent::offline
