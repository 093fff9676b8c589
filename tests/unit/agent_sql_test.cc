// SQL before it runs: tokens, the policy, query plans and what they compile to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/llm/json.h"
#include "agent/sql/policy.h"
#include "agent/sql/query_plan.h"
#include "agent/sql/tokens.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::vector<std::string> kTables = {"tickets", "agents"};

TEST(SqlPolicy, LetsQueriesOverTheTablesThroughWhateverTheyTalkAbout) {
  for (const char* sql :
       {"SELECT count(*) FROM tickets",
        "select * from tickets where status = 'update'",
        "select created_at, \"load\" from tickets",
        "select sum(x) call from tickets",
        "select 'a;b' from tickets;",
        "-- why\nselect 1",
        "/* drop /* nested */ */ (select 1)",
        "from tickets",
        "explain select * from tickets",
        "select support.x from support.tickets",
        "with t as (select * from tickets), u(a) as (select 1) select * from t join u on t.a = u.a",
        "with recursive r as (select 1 as n union all select n + 1 from r where n < 9) select * "
        "from r",
        "select * from tickets t, agents a where t.id = a.id",
        "select extract(year from created_at), substring(name from 2) from tickets",
        "select * from (select * from tickets) s",
        "select * from (tickets join agents using (id))",
        "select * from unnest([1, 2])",
        "select * from range(5)",
        "values (1), (2)",
        "select x is distinct from y from tickets",
        "select $$drop table t; --$$",
        "select e'it\\'s; drop' from tickets",
        "select * from tickets order by replace(a, 'x', 'y')",
        "select case when a in (select id from agents) then 'set' else 'reset' end from tickets",
        "select * from tickets where 'a' in ('drop', 'delete') limit 3"})
    EXPECT_EQ(sql_fault(sql, kTables), "") << sql;
}

TEST(SqlPolicy, RefusesWhatReadsElsewhereOrChangesAnything) {
  struct Bad {
    const char *sql, *why;
  };
  for (const auto& [sql, why] :
       {Bad{"SELECT * FROM '/etc/passwd'", "outside of the data set: /etc/passwd"},
        {"select * from \"/etc/passwd\"", "outside"},
        {"select * from tickets, '/etc/passwd'", "outside"},
        {"select * from tickets join '/etc/passwd' p on true", "outside"},
        {"select * from (select * from '/etc/passwd')", "outside"},
        {"select (select count(*) from '/etc/passwd')", "outside"},
        {"select * from /* x */ read_json_auto('x')", "blocked token: read_json_auto"},
        {"select * from read_blob ('x')", "blocked token: read_blob"},
        {"select * from \"read_csv\"('x')", "blocked token: read_csv"},
        {"select * from parquet_scan('x')", "blocked token"},
        {"select * from sniff_csv('/etc/passwd')", "blocked token"},
        {"select * from duckdb_settings()", "blocked token: duckdb_settings"},
        {"select * from glob('/*')", "blocked token"},
        {"select getenv('HOME')", "blocked token: getenv"},
        {"select * from query('drop table x')", "blocked token: query"},
        {"select * from others", "outside of the data set: others"},
        {"select * from information_schema.columns", "outside"},
        {"drop table tickets", "Only SELECT/WITH queries are allowed."},
        {"", "Only SELECT"},
        {";;", "Only SELECT"},
        {"pragma version", "Only SELECT"},
        {"copy tickets to 'x'", "Only SELECT"},
        {"explain copy tickets to 'x'", "blocked token: copy"},
        {"explain analyze delete from tickets", "blocked token: delete"},
        {"with t as (select 1) insert into tickets select * from t", "blocked token: insert"},
        {"with t as (delete from tickets returning *) select * from t", "blocked token: delete"},
        {"select 1; drop table tickets", "Multiple SQL statements are not allowed."},
        {"select 1;;select 2", "Multiple"},
        {"select '", "a quote does not end"},
        {"select $a$ x", "a quote does not end"},
        {"select 1 /* x", "a comment does not end"},
        {"select (1", "not closed"},
        {"select 1)", "not opened"},
        {"select * from support.", "in the middle of a name"}})
    EXPECT_THAT(sql_fault(sql, kTables), HasSubstr(why)) << sql;
}

TEST(SqlPolicy, TakesNamesThatAreWordsOfTheLanguageInQuotes) {
  EXPECT_EQ(sql_name_text("tickets"), "tickets");
  EXPECT_EQ(sql_name_text("Order"), "\"Order\"");
  EXPECT_EQ(sql_fault("select * from " + sql_name_text("order"), {"order"}), "");
}

TEST(SqlPolicy, MutatedQueriesMakeNoTrouble) {
  const std::string seed =
      "with t as (select a, 'x' from tickets where b in (1, 2)) select * from t, \"agents\" -- z\n";
  std::uint32_t state = 7;
  auto next = [&] { return state = state * 1664525U + 1013904223U, state >> 8; };
  for (int i = 0; i < 20'000; ++i) {
    std::string sql = seed;
    for (auto n = next() % 6; n > 0; --n) {
      const auto at = next() % sql.size();
      if (next() % 2 == 0)
        sql.erase(at, next() % 9);
      else
        sql.insert(at, 1, "'\"();,.$-*/\\ex\0\xff"[next() % 16]);
      if (sql.empty()) sql = ";";
    }
    (void)sql_fault(sql, kTables);
    (void)expression_fault(sql);
  }
}

TEST(Expressions, AreScalarAndOfKnownFunctions) {
  for (const char* good :
       {"price * quantity", "round(a / nullif(b, 0), 2)", "\"a b\" || 'x;y'",
        "case when a > 1 then 'set' else 'b' end", "cast(a as double)",
        "date_trunc('month', created_at)", "extract(year from d)", "a in (1, 2)"})
    EXPECT_EQ(expression_fault(good), "") << good;
  for (const char* bad : {"", "1; DROP TABLE x", "(select 1)", "getenv('HOME')", "read_text('x')",
                          "\"read_text\"('x')", "a from '/etc/passwd'", "a) from t --", "a -- x\n)",
                          "'", "a union select 1", "query('x')"})
    EXPECT_NE(expression_fault(bad), "") << bad;
}

std::string compiled(const char* plan) {
  const auto parsed = parse_query_plan(parse_json(plan));
  return parsed ? compile_query_plan(*parsed) : "error: " + parsed.error().message;
}

TEST(QueryPlans, CompileToTheSameBytesEachTime) {
  const char* plan = R"x({"dataset_id":"support","table":"tickets","notes":"n",
    "select":[{"column":"priority"},{"func":"count","alias":"n"},{"func":"count_distinct","column":"agent","alias":"agents"},
              {"func":"avg","column":"hours"},{"expr":"round(1.5, 1)","alias":"priority"}],
    "filters":[{"column":"status","op":"in","value":["open","it's"]},{"column":"hours","op":"between","value":[1,2.5]},
               {"column":"vip","op":"=","value":true},{"column":"title","op":"startswith","value":"50%_off\\"},
               {"column":"closed","op":"is_null"},{"column":"x","op":"!=","value":-3}],
    "group_by":["priority"],"order_by":[{"expr":"n","direction":"desc"},{"expr":"priority"}],"limit":7})x";
  const std::string expected = R"x(SELECT
  "priority",
  COUNT(*) AS "n",
  COUNT(DISTINCT "agent") AS "agents",
  AVG("hours"),
  round(1.5, 1) AS "priority"
FROM "tickets"
WHERE
  "status" IN ('open', 'it''s')
  AND "hours" BETWEEN 1 AND 2.5
  AND "vip" = TRUE
  AND "title" LIKE '50\%\_off\\%' ESCAPE '\'
  AND "closed" IS NULL
  AND "x" != -3
GROUP BY "priority"
ORDER BY "n" DESC, "priority" ASC
LIMIT 7)x";
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(compiled(plan), expected);
  EXPECT_EQ(sql_fault(expected, kTables), "");
}

TEST(QueryPlans, UnderstandOtherSpellingsAndHaveALimit) {
  EXPECT_EQ(
      compiled(R"({"table":"t","select":["a",{"agg":"sum","column":"p","as":"x"}],"group_by":["a"],
                         "order_by":[{"expr":"x","dir":"desc"}]})"),
      "SELECT\n  \"a\",\n  SUM(\"p\") AS \"x\"\nFROM \"t\"\nGROUP BY \"a\"\nORDER BY \"x\" "
      "DESC\nLIMIT 200");
}

TEST(QueryPlans, ThatMakeNoSenseAreRefusedByName) {
  struct Bad {
    const char *plan, *why;
  };
  for (const auto& [plan, why] :
       {Bad{"7", "must be of type object"},
        {R"({"select":["a"]})", "table is missing"},
        {R"({"table":"t","select":[]})", "at least 1"},
        {R"({"table":"t","select":["a"],"join":1})", "unknown member join"},
        {R"({"table":"t","select":[{"colum":"a"}]})", "unknown member colum"},
        {R"({"table":"t; drop","select":["a"]})", "Invalid identifier: t; drop"},
        {R"({"table":"t","select":["a\""]})", "Invalid identifier"},
        {R"({"table":"t","select":[{"column":"a","alias":"b c"}]})", "Invalid identifier: b c"},
        {R"({"table":"t","select":[{}]})", "neither column nor expr"},
        {R"({"table":"t","select":[{"func":"sum"}]})", "neither column nor expr"},
        {R"({"table":"t","select":[{"func":"median","column":"a"}]})", "one of"},
        {R"({"table":"t","select":[{"expr":"1; DROP"}]})", "blocked token: ;"},
        {R"({"table":"t","select":["a",{"func":"count"}]})", "missing from group_by: a"},
        {R"({"table":"t","select":["a"],"limit":0})", "at least 1"},
        {R"({"table":"t","select":["a"],"limit":1001})", "at most 1000"},
        {R"({"table":"t","select":["a"],"filters":[{"column":"a","op":"like","value":"x"}]})",
         "one of"},
        {R"({"table":"t","select":["a"],"filters":[{"column":"a","op":"in","value":[]}]})",
         "a list"},
        {R"({"table":"t","select":["a"],"filters":[{"column":"a","op":"between","value":[1]}]})",
         "two values"},
        {R"({"table":"t","select":["a"],"filters":[{"column":"a","op":"contains","value":1}]})",
         "a text"},
        {R"({"table":"t","select":["a"],"filters":[{"column":"a","op":"!=","value":null}]})",
         "is_null"},
        {R"({"table":"t","select":["a"],"filters":[{"column":"a","op":"is_null","value":1}]})",
         "no value"},
        {R"({"table":"t","select":["a"],"order_by":[{"expr":"a","dir":"down"}]})", "asc or desc"},
        {R"x({"table":"t","select":["a"],"order_by":[{"expr":"(select 1)"}]})x",
         "blocked token: select"}})
    EXPECT_THAT(compiled(plan), HasSubstr(why)) << plan;
}

TEST(QueryPlans, WarnOfWhatLooksLikeTakingEverything) {
  auto warnings = [](const json& plan) {
    return query_plan_warnings(*parse_query_plan(plan)).size();
  };
  json wide = {{"table", "t"}, {"select", json::array()}};
  for (int i = 0; i < 21; ++i) wide["select"].push_back("c" + std::to_string(i));
  EXPECT_EQ(warnings(wide), 1U);
  wide["limit"] = 500;
  EXPECT_EQ(warnings(wide), 2U);
  wide["filters"] = json::array({{{"column", "a"}, {"op", "is_null"}}});
  EXPECT_EQ(warnings(wide), 0U);
  EXPECT_EQ(warnings({{"table", "t"}, {"select", {"a"}}}), 0U);
}

// The rows S4-61 to S4-67 of the replaced product, one by one.

std::string where(const std::string& op, const std::string& value) {
  const auto sql = compiled((R"({"table":"t","select":["a"],"filters":[{"column":"c","op":")" + op +
                             "\"" + (value.empty() ? "" : ",\"value\":" + value) + "}]}")
                                .c_str());
  const auto from = sql.find("WHERE\n  ");
  return from == std::string::npos ? sql : sql.substr(from + 8, sql.rfind("\nLIMIT") - from - 8);
}

TEST(QueryPlans, S4_61_HaveTheseFieldsAndNoOthers) {
  const auto plan = parse_query_plan(parse_json(
      R"({"dataset_id":"d","table":"t","select":[{"expr":"a + 1","alias":"b"}],"notes":"why"})"));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->dataset_id, "d");
  EXPECT_EQ(plan->notes, "why");
  EXPECT_EQ(plan->limit, 200);
  for (const char* limit : {"1", "1000"})
    EXPECT_THAT(
        compiled((std::string(R"({"table":"t","select":["a"],"limit":)") + limit + "}").c_str()),
        testing::EndsWith(std::string("LIMIT ") + limit));
  for (const char* limit : {"0", "-1", "1001", "1.5", "\"7\"", "null", "true"})
    EXPECT_THAT(
        compiled((std::string(R"({"table":"t","select":["a"],"limit":)") + limit + "}").c_str()),
        HasSubstr("limit"))
        << limit;
  for (const char* where :
       {R"({"table":"t","select":["a"],"offset":1})",
        R"({"table":"t","select":[{"column":"a","cast":"x"}]})",
        R"({"table":"t","select":["a"],"filters":[{"column":"a","op":"=","value":1,"not":true}]})",
        R"({"table":"t","select":["a"],"order_by":[{"expr":"a","nulls":"last"}]})"})
    EXPECT_THAT(compiled(where), HasSubstr("unknown member")) << where;
}

TEST(QueryPlans, S4_62_KnowTheseOperators) {
  for (const char* op : {"=", "!=", "<", "<=", ">", ">="}) {
    EXPECT_EQ(where(op, "1.5"), std::string("\"c\" ") + op + " 1.5");
    EXPECT_EQ(where(op, "\"it's\""), std::string("\"c\" ") + op + " 'it''s'");
    EXPECT_EQ(where(op, "false"), std::string("\"c\" ") + op + " FALSE");
    for (const char* none : {"", "null", "[1]", "{}"})
      EXPECT_THAT(where(op, none), HasSubstr("takes one value")) << op << none;
  }
  EXPECT_EQ(where("in", "[1,\"x\",true]"), "\"c\" IN (1, 'x', TRUE)");
  EXPECT_EQ(where("between", R"(["2024-01-01","2024-02-01"])"),
            "\"c\" BETWEEN '2024-01-01' AND '2024-02-01'");
  EXPECT_EQ(where("contains", "\"x\""), "\"c\" LIKE '%x%' ESCAPE '\\'");
  EXPECT_EQ(where("startswith", "\"x\""), "\"c\" LIKE 'x%' ESCAPE '\\'");
  EXPECT_EQ(where("endswith", "\"x\""), "\"c\" LIKE '%x' ESCAPE '\\'");
  EXPECT_EQ(where("is_null", ""), "\"c\" IS NULL");
  EXPECT_EQ(where("is_not_null", ""), "\"c\" IS NOT NULL");
  for (const auto& [op, value] :
       std::vector<std::pair<const char*, const char*>>{{"in", "1"},
                                                        {"in", "[null]"},
                                                        {"between", "[1,2,3]"},
                                                        {"contains", "[\"x\"]"},
                                                        {"startswith", ""},
                                                        {"is_not_null", "0"},
                                                        {"~", "1"},
                                                        {"or", "1"},
                                                        {"= 1 or 1", "1"}})
    EXPECT_THAT(where(op, value), HasSubstr("error: ")) << op << value;
}

TEST(QueryPlans, S4_63_KnowTheseAggregations) {
  auto one = [](const std::string& column) {
    return compiled((R"({"table":"t","select":[)" + column + "]}").c_str());
  };
  for (const auto& [func, sql] :
       std::vector<std::pair<std::string, std::string>>{{"count", "COUNT(\"p\")"},
                                                        {"count_distinct", "COUNT(DISTINCT \"p\")"},
                                                        {"sum", "SUM(\"p\")"},
                                                        {"avg", "AVG(\"p\")"},
                                                        {"min", "MIN(\"p\")"},
                                                        {"max", "MAX(\"p\")"}})
    EXPECT_THAT(one(R"({"func":")" + func + R"(","column":"p","alias":"x"})"),
                HasSubstr("  " + sql + " AS \"x\"\n"));
  EXPECT_THAT(one(R"({"func":"count","column":"*"})"), HasSubstr("COUNT(*)"));
  EXPECT_THAT(one(R"({"func":"sum","column":"*"})"), HasSubstr("Invalid identifier"));
  EXPECT_THAT(one(R"({"func":"sum"},"a")"), HasSubstr("error"));
  EXPECT_THAT(one(R"({"func":"count"},"a")"), HasSubstr("missing from group_by: a"));
}

TEST(QueryPlans, S4_64_S4_65_S4_66_LetNothingThroughThatIsNoNameOrScalar) {
  for (const char* name : {"a b", "a\\\"", "a;b", "a.b", "ä", "a-b", "", "a/*", "'a'"}) {
    const std::string quoted = std::string("\"") + name + "\"";
    for (const std::string& plan : {R"({"table":)" + quoted + R"(,"select":["a"]})",
                                    R"({"table":"t","select":[)" + quoted + "]}",
                                    R"({"table":"t","select":["a"],"group_by":[)" + quoted + "]}",
                                    R"({"table":"t","select":["a"],"filters":[{"column":)" +
                                        quoted + R"(,"op":"is_null"}]})"})
      EXPECT_THAT(compiled(plan.c_str()), HasSubstr("error: ")) << plan;
  }
  EXPECT_EQ(where("contains", R"("50%_off\\ 'x")"), R"("c" LIKE '%50\%\_off\\ ''x%' ESCAPE '\')");
  for (const char* expr : {"1; DROP TABLE t", "(SELECT 1)", "a) FROM t --", "read_text('x')",
                           "a FROM '/etc/passwd'", "getenv('HOME')", "a /* x */ UNION SELECT 1"}) {
    const json plan = {{"table", "t"},
                       {"select", json::array({json{{"expr", expr}, {"alias", "x"}}})}};
    EXPECT_FALSE(parse_query_plan(plan)) << expr;
    const json order = {
        {"table", "t"}, {"select", {"a"}}, {"order_by", json::array({json{{"expr", expr}}})}};
    EXPECT_FALSE(parse_query_plan(order)) << expr;
  }
}

TEST(QueryPlans, S4_67_ThatTakeEverythingAreWarnedOfOnlyWhereNothingNarrowsThem) {
  auto warnings = [](json plan) { return query_plan_warnings(*parse_query_plan(plan)); };
  json plan = {{"table", "t"}, {"select", {"a"}}, {"limit", 201}};
  EXPECT_THAT(warnings(plan), testing::ElementsAre("more than 200 rows without a filter"));
  plan["limit"] = 200;
  EXPECT_THAT(warnings(plan), testing::IsEmpty());
  plan["select"] = json::array();
  for (int i = 0; i < 20; ++i) plan["select"].push_back("c" + std::to_string(i));
  EXPECT_THAT(warnings(plan), testing::IsEmpty());
  plan["select"].push_back("c20");
  EXPECT_THAT(warnings(plan),
              testing::ElementsAre("more than 20 columns without a filter or an aggregation"));
}

}  // namespace
}  // namespace jailrun::agent
