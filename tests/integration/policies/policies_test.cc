// Policies of the products that are replaced: names without an import, helpers, rules for code,
// SQL. Each with the twin that shows whose doing it is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "jail/session/session.h"
#include "tests/integration/jaild/daemon.h"
#include "tests/support/command.h"

namespace jailrun::test {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Policies : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    char name[] = "/tmp/jailrun-policies-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    std::filesystem::permissions(dir_, std::filesystem::perms(0755));
  }
  void TearDown() override {
    if (!dir_.empty()) std::filesystem::remove_all(dir_);
  }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return dir_ / name;
  }
  static Outcome run(const std::string& policy, const std::string& code,
                     std::vector<std::string> options = {}) {
    options.insert(options.begin(), {"run", "--cold", "--policy", policy});
    options.emplace_back("-");
    return jailrun(options, code);
  }
  nlohmann::json query(const std::string& sql) const {
    const Outcome outcome = run("csv-sql", sql, {"--file", tickets_()});
    auto answer = nlohmann::json::parse(outcome.out, nullptr, false);
    EXPECT_FALSE(answer.is_discarded()) << outcome.out << outcome.err;
    EXPECT_EQ(outcome.status, answer["error"].is_null() ? 0 : 1);
    return answer;
  }
  std::string refusal(const std::string& sql) const {
    const auto answer = query(sql);
    return answer["error"].is_null() ? ""
                                     : answer["error"]["type"].get<std::string>() + ": " +
                                           answer["error"]["message"].get<std::string>();
  }
  std::string tickets_() const {
    return file("tickets.csv", "id,status,x\n1,open,0.5\n2,update,\n3,open,inf\n");
  }

  std::filesystem::path dir_;
};

TEST_F(Policies, AreListedWithWhatTheyAreFor) {
  const Outcome listed = jailrun({"explain", "--list"});
  EXPECT_EQ(listed.status, 0) << listed.err;
  EXPECT_THAT(listed.out,
              AllOf(HasSubstr("\ncsv-strict "), HasSubstr("python           Python data")));
}

TEST_F(Policies, GenomicHasItsNamesWithoutAnImportAndPythonHasNot) {
  const std::string code = "print(np.arange(3).sum(), Counter('aab')['a'], Path('/x').name, plt)";
  const Outcome there = run("genomic", code);
  EXPECT_THAT(there.out, StartsWith("3 2 x <module 'matplotlib.pyplot'")) << there.err;
  EXPECT_THAT(run("python", code).err, HasSubstr("NameError: name 'np' is not defined"));
}

TEST_F(Policies, GenomicComputesFromTheDataGiven) {
  const Outcome outcome = run("genomic", R"(
genomic.setup({"sequences": {"p1": "MKVLAAGIVGLC", "p2": "MKVLAAGIVGLC", "p3": "PPPPSSSS"}})
same = genomic.similarities(["p1", "p2", "p3"])
print(same.loc["p1", "p2"], same.loc["p1", "p3"] < 0.5)
genomic.similarities(["a", "b"], matrix=[[1, 0.75], [0.75, 1]])
genomic.neighborhood([{"name": "a", "start": 1, "end": 500, "strand": "+"},
                      {"name": "b", "start": 600, "end": 900, "strand": "-"},
                      {"name": "c", "start": 1000, "end": 1500, "strand": 1}])
genomic.statistics([0.8, 0.7, 0.9, 0.6, 0.75])
print(round(genomic.hydrophobicity({"i": "IIII", "r": "RR"})["r"], 3))
print(genomic.composition({"m": "MMKK"}).loc["m", "M"])
for name, fault in {"none": ValueError, "gone": KeyError}.items():
    try:
        genomic.statistics([]) if name == "none" else genomic.fetch(["gone"])
    except fault as error:
        print(name, error)
)",
                              {"--out", dir_ / "out"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  for (const char* text :
       {"Genomic analysis environment ready!\n", "1.0 True\n", "Mean similarity: 0.750\n",
        "Total genes: 3\nForward strand: 2\nReverse strand: 1\n", "Mean: 0.750\n", "\n-4.5\n",
        "\n0.5\n", "none values: no numbers",
        "gone \"no sequence of 'gone'; there are: p1, p2, p3"})
    EXPECT_THAT(outcome.out, HasSubstr(text));
  for (const char* name : {"protein_similarity_heatmap.png", "genomic_neighborhood.png"})
    EXPECT_GT(std::filesystem::file_size(dir_ / "out" / name), 1000u) << name;
}

TEST_F(Policies, WritablePlacesAreAsLargeAsTheProductHadThem) {
  const std::string code = R"(
import os
for place in ("/tmp", "/work"):
    status = os.statvfs(place)
    print(status.f_blocks * status.f_frsize >> 20)
)";
  EXPECT_EQ(run("genomic", code).out, "100\n50\n");
  EXPECT_EQ(run("standard", code).out, "64\n64\n");
  EXPECT_EQ(run("pandasai", "print(pd.DataFrame({'a': [1]}).sum().a, np.pi > 3, plt.__name__)").out,
            "1 True matplotlib.pyplot\n");
}

TEST_F(Policies, InterpreterRefusesByRuleAndLineBeforeAnythingRuns) {
  const Outcome refused =
      run("interpreter", "print('ran')\nimport subprocess as s\nf = eval\nx.__globals__\n");
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_EQ(refused.err,
            "  File \"/run/script.py\", line 2\n    import subprocess as s\n    "
            "^^^^^^^^^^^^^^^^^^^^^^\nCodeRefused: Blocked import: subprocess; policy interpreter "
            "refuses it (python.code.refused_imports)\nline 3: Blocked call: eval\nline 4: Blocked "
            "attribute: __globals__\n");
  // The twin: what looks alike and is fine.
  const Outcome fine = run("interpreter", R"(
import re, os as o, pandas as pd, numpy as np
df = pd.DataFrame({"a": ["x-y"]}).rename(columns={"a": "b"})
df["b"].str.replace("-", "+"); re.compile("x"); [1].remove(1); pd.DataFrame({"q": [1]}).eval("q + 1")
np.__version__
def id(x): return x
print('import socket', id(o.getcwd()))
)");
  EXPECT_EQ(fine.out, "import socket /work\n") << fine.err;
  EXPECT_EQ(run("python", "import subprocess\nprint(eval('1'))").out, "1\n");
}

TEST_F(Policies, InterpreterWarnsOfLoopsThatDoNotEnd) {
  const Outcome outcome =
      run("interpreter", "for i in range(10**9):\n    break\nwhile True:\n    1/0");
  EXPECT_THAT(outcome.err,
              StartsWith("warning: line 1: range(10 ** 9) takes long\nwarning: line 3: "
                         "`while True` without a break"));
  EXPECT_THAT(run("interpreter", "while True:\n    break").err, Not(HasSubstr("warning")));
}

TEST_F(Policies, CsvStrictTakesSixModulesAndGivesTheTables) {
  const std::vector<std::string> input = {"--file", tickets_()};
  const Outcome outcome = run("csv-strict", R"(
import math
class A:
    def f(self):
        try:
            return 1 / 0
        except ZeroDivisionError:
            return math.floor(2.5)
print(A().f(), list(dfs), dfs["tickets"].groupby("status").size().to_dict())
)",
                              input);
  EXPECT_EQ(outcome.out, "2 ['tickets'] {'open': 2, 'update': 1}\n") << outcome.err;
  const std::pair<const char*, const char*> blocked[] = {
      {"import os", "Blocked import: os"},
      {"from pathlib import Path", "Blocked import: pathlib"},
      {"open('/etc/passwd')", "Blocked call: open"},
      {"pd.read_csv('/etc/passwd')", "Blocked call: pandas.read_csv"},
      {"x = ().__class__", "Blocked attribute: __class__"},
      {"getattr((), '__class__')", "Blocked attribute: __class__"},
      {"dfs['tickets'].to_csv('x')", "Blocked attribute: to_csv"}};
  for (const auto& [code, message] : blocked)
    EXPECT_THAT(run("csv-strict", code, input).err, HasSubstr(message)) << code;
  EXPECT_THAT(run("csv-strict", "dfs['ticket']", input).err,
              HasSubstr("no table 'ticket'; there are: tickets"));
}

TEST_F(Policies, CsvSqlAnswersOneQueryAsJsonWithoutNan) {
  const auto answer =
      query("-- a comment\nSELECT status, x FROM tickets WHERE status <> 'a;b' ORDER BY id");
  EXPECT_EQ(answer["status"], "success");
  EXPECT_EQ(answer["columns"].dump(), R"(["status","x"])");
  EXPECT_EQ(answer["rows"].dump(), R"([["open",0.5],["update",null],["open",null]])");
  EXPECT_EQ(answer["row_count"], 3);
  EXPECT_EQ(query("FROM range(300)")["row_count"], 200);
  const auto large = query("SELECT repeat('x', 1000) FROM range(150)");
  EXPECT_EQ(large["stdout_trunc"], true);
  EXPECT_THAT(large["row_count"].get<int>(), AllOf(testing::Gt(10), testing::Lt(66)));
}

TEST_F(Policies, CsvSqlReadsNothingButTheTables) {
  const std::string policy = "SQL_POLICY_VIOLATION: ";
  EXPECT_EQ(refusal("SELECT 1; SELECT 2"), policy + "Multiple SQL statements are not allowed.");
  for (const char* sql : {"DROP TABLE tickets", "COPY tickets TO '/work/x'", "ATTACH 'x.db'", ""})
    EXPECT_EQ(refusal(sql), policy + "Only SELECT/WITH queries are allowed.") << sql;
  for (const char* sql :
       {"SELECT * FROM '/etc/passwd'", "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT * FROM duckdb_settings()",
        "SELECT getenv('HOME')", "SELECT * FROM parquet_scan('x')", "FROM glob('/*')"})
    EXPECT_THAT(refusal(sql), StartsWith(policy + "SQL contains blocked token: ")) << sql;
  // DuckDB's own lock, where the words are not seen.
  EXPECT_THAT(refusal("SELECT * FROM \"/etc/passwd\""), StartsWith("SQL_EXECUTION_ERROR: "));
  for (const char* sql :
       {"SELECT count(*) FROM tickets WHERE status = 'update'", "(SELECT 1)",
        "SELECT \"load\" AS call FROM (SELECT 1 AS \"load\")", "EXPLAIN SELECT 1"})
    EXPECT_EQ(refusal(sql), "") << sql;
}

TEST_F(Policies, HoldForWarmRunsAndSessionsAlike) {
  const Daemon daemon;
  Client client = daemon.connect();
  LeaseRequest request;
  request.policy = "csv-strict";
  const Ran refused = test::run(client, "print('ran')\nimport os", request);
  EXPECT_THAT(refused.err, AllOf(StartsWith("  File \"/run/"), HasSubstr("Blocked import: os")));
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(test::run(client, "x = = 1", request).err, StartsWith("  File \"/run/"));
  EXPECT_EQ(test::run(client, "print(pd.isna(np.nan), len(dfs))", request).out, "True 0\n");
  request.overrides = {"limits.wall=61s"};
  EXPECT_EQ(test::refusal(client, request), "NotNarrower");
  request.overrides = {"limits.wall=60s"};
  auto session = Session::create(client, request);
  ASSERT_TRUE(session) << session.error().line();
  EXPECT_TRUE(session->execute("x = np.arange(3)")->ok());
  const auto answer = session->execute("x = 0\nimport os");
  const Json& error = answer->head.at("error");
  EXPECT_EQ(text_of(error, "type"), "CodeRefused");
  EXPECT_EQ(error.at("frames")[0].at("line"), 2);
  EXPECT_THAT(text_of(error, "traceback"), EndsWith("math, statistics, re, datetime)\n")) << error;
  EXPECT_EQ(session->execute("int(x.sum())")->displays.size(), 1u) << "the cell did not run";
  const auto warned = session->execute("for i in range(10**9):\n    break");
  EXPECT_EQ(warned->head.at("warnings").dump(), R"(["line 1: range(10 ** 9) takes long"])");
}

}  // namespace
}  // namespace jailrun::test
