// Time words on data that stand still: what a span is, and what a question means by it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/offline/question.h"
#include "agent/offline/times.h"

namespace jailrun::agent::offline {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

DataTable sales() {
  DataTable table;
  table.file = "sales.csv";
  DataColumn date, amount;
  date.name = "sold_at";
  date.dtype = "datetime64[ns]";
  date.kind = Kind::Date;
  date.min = "2023-01-01 00:00:00";
  date.max = "2024-02-29 18:30:00";
  amount.name = "amount";
  amount.kind = Kind::Number;
  table.columns = {date, amount};
  return table;
}

// "FROM TO" of the conditions that a question became; or why not.
std::string span_of(std::string_view question, std::string_view as_of = {}) {
  const auto query = read_question(question, sales(), as_of);
  if (!query) return query.error();
  std::string out;
  for (const Condition& each : query->conditions) {
    EXPECT_EQ(each.column, 0u);
    out += (out.empty() ? "" : " ") + each.op + each.bounds.at(0);
  }
  return out;
}

TEST(TimeWords, AreCountedFromTheDateOfTheDataSet) {
  const struct {
    const char *question, *conditions;
  } kCases[] = {
      {"total amount today", R"(>="2024-03-13" <"2024-03-14")"},
      {"total amount yesterday", R"(>="2024-03-12" <"2024-03-13")"},
      {"total amount this week", R"(>="2024-03-11" <"2024-03-18")"},
      {"total amount last week", R"(>="2024-03-04" <"2024-03-11")"},
      {"what was the total amount in the last month?", R"(>="2024-02-01" <"2024-03-01")"},
      {"total amount this month", R"(>="2024-03-01" <"2024-04-01")"},
      {"total amount in the previous quarter", R"(>="2023-10-01" <"2024-01-01")"},
      {"average amount this year", R"(>="2024-01-01" <"2025-01-01")"},
      {"total amount last year", R"(>="2023-01-01" <"2024-01-01")"},
      {"total amount over the past 24 hours", R"(>="2024-03-12 12:00:01" <"2024-03-13 12:00:01")"},
      {"total amount in the last 7 days", R"(>="2024-03-06 12:00:01" <"2024-03-13 12:00:01")"},
      {"how many sales in the past month", R"(>="2024-02-13 12:00:01" <"2024-03-13 12:00:01")"},
      {"total amount in March 2023", R"(>="2023-03-01" <"2023-04-01")"},
      {"total amount in Q4 2023", R"(>="2023-10-01" <"2024-01-01")"},
      {"how many were sold last year", R"(>="2023-01-01" <"2024-01-01")"},
      {"how many sales were sold_at in the last month", R"(>="2024-02-01" <"2024-03-01")"},
      {"total amount by month last year", R"(>="2023-01-01" <"2024-01-01")"},
  };
  for (const auto& [question, conditions] : kCases)
    EXPECT_EQ(span_of(question, "2024-03-13T12:00:00"), conditions) << question;
}

TEST(TimeWords, AreCountedFromTheLastDateWhereNoneIsKnownAndSaySo) {
  EXPECT_EQ(span_of("total amount yesterday"), R"(>="2024-02-28" <"2024-02-29")");
  const auto query = read_question("total amount last month", sales());
  ASSERT_TRUE(query);
  EXPECT_THAT(query->notes,
              ElementsAre(HasSubstr("took \"last month\" to be sold_at from 2024-01-01 until "
                                    "before 2024-02-01, counted from 2024-02-29 18:30:00, the "
                                    "last that the data have")));
  EXPECT_THAT(write_code(*query, sales()), HasSubstr(R"(df["sold_at"] >= "2024-01-01")"));
}

TEST(TimeWords, TakeTheColumnBeforeThemForTheOneThatIsCompared) {
  const auto query = read_question("how many were sold last week", sales());
  ASSERT_TRUE(query) << query.error();
  EXPECT_TRUE(query->groups.empty());
  EXPECT_TRUE(query->measures.empty());
  EXPECT_EQ(query->aggregate, "count");
}

TEST(TimeWords, ThatMeanNothingHereAreRefused) {
  for (const char* question :
       {"total amount last fortnight", "total amount last 0 days", "total amount tomorrow",
        "total amount in March", "total amount last 99999999999 days", "total amount past"})
    EXPECT_THAT(span_of(question), HasSubstr("no use for")) << question;
  DataTable without = sales();
  without.columns.erase(without.columns.begin());
  EXPECT_FALSE(read_question("total amount last week", without));
  // A whole year stays what it was.
  EXPECT_EQ(span_of("total amount in 2023"), "year2023");
}

TEST(TimeWords, KnowMonthsOfAnyLengthAndYearsOfAnyKind) {
  const auto at = [](const char* text) { return *parse_moment(text); };
  const auto told = [](Span span) { return moment_text(span.from) + " " + moment_text(span.to); };
  EXPECT_EQ(told(rolling('M', at("2024-03-31"), 1)), "2024-02-29 00:00:01 2024-03-31 00:00:01");
  EXPECT_EQ(told(rolling('Y', at("2024-02-29"), 1)), "2023-02-28 00:00:01 2024-02-29 00:00:01");
  EXPECT_EQ(told(whole_unit('Q', at("2024-01-15"), -1)), "2023-10-01 2024-01-01");
  EXPECT_EQ(told(whole_unit('W', at("2024-01-01"), 0)), "2024-01-01 2024-01-08");
  EXPECT_EQ(told(whole_unit('W', at("2023-12-31"), 0)), "2023-12-25 2024-01-01");
  for (const char* wrong : {"", "2024", "2024-13-01", "2024-02-30", "today", "20240101T00"})
    EXPECT_FALSE(parse_moment(wrong)) << wrong;
}

}  // namespace
}  // namespace jailrun::agent::offline
