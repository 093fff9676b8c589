// What the replaced products promise of sessions, files and typed results, row by row, through the
// client library. SPECIFICATION.md lists all rows and where each is proved.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "tests/integration/jaild/cells.h"

namespace jailrun::test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kMillisecond = 1'000'000;

class Parity : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ::setenv("OPENAI_API_KEY", "canary", 1);  // of jaild and of its client
    daemon_ = new Daemon({"--warm", "python"});
  }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  void TearDown() override { EXPECT_TRUE(session_.close()); }
  CellAnswer run(const std::string& code, const CellOptions& options = {}) {
    return run_cell(session_, code, options);
  }
  std::string value(const std::string& code) { return value_of(session_, code); }
  // "value", or "result", of an answer: as a program reads it.
  Json typed(const std::string& code, const char* key = "value") {
    const CellAnswer answer = run(code);
    EXPECT_EQ(outcome_of(answer), "ok") << code << "\n" << answer.head.dump();
    return answer.head.value(key, Json());
  }
  static std::vector<std::string> files(const CellAnswer& answer) {
    std::vector<std::string> names;
    for (const Json& each : answer.head.value("files", Json::array()))
      names.push_back(text_of(each, "name"));
    return names;
  }

  static Daemon* daemon_;
  Client client_ = daemon_->connect();
  Session session_ = make_session(client_);
};
Daemon* Parity::daemon_ = nullptr;

// --- S1: the code interpreter service -----------------------------------------------------------

TEST_F(Parity, S1_2_StateStaysBetweenCalls) {
  run("x = 1");
  EXPECT_EQ(run("print(x)").out, "1\n");
}

TEST_F(Parity, S1_11_S1_32_S1_53_S2_43_ATimeoutFiresAndHangsNobodyElse) {
  Client other_client = daemon_->connect();
  Session other = make_session(other_client);
  run("kept = 7");
  const std::int64_t begun = monotonic_ns();
  const CellAnswer late = run("while True: pass", {.wall_ns = 500 * kMillisecond});
  EXPECT_LT(monotonic_ns() - begun, 1'500'000'000);
  EXPECT_EQ(outcome_of(late), "interrupted");
  EXPECT_TRUE(late.wall_hit);
  EXPECT_EQ(late.wall_ns, 500 * kMillisecond);
  EXPECT_EQ(value("kept"), "7");
  // While one hangs, the other is served.
  std::jthread hung([&] { run("while True: pass", {.wall_ns = 500 * kMillisecond}); });
  for (int i = 0; i < 10; ++i) EXPECT_EQ(value_of(other, "1"), "1");
  hung.join();
  EXPECT_TRUE(other.close());
  const CellAnswer failed = run("import json\njson.loads('{')");
  EXPECT_EQ(outcome_of(failed), "error");
  EXPECT_THAT(text_of(failed.head["error"], "type"), HasSubstr("JSONDecodeError"));
  EXPECT_THAT(text_of(failed.head["error"], "traceback"), HasSubstr("json.loads('{')"));
}

TEST_F(Parity, S1_27_S1_28_S2_20_S2_21_FilesCreatedAreToldOnceAndGiven) {
  const CellAnswer first = run(R"(
import os
os.chdir('/work')
import numpy as np, matplotlib.pyplot as plt
similarities = [0.8, 0.7, 0.9, 0.6, 0.75]
plt.hist(similarities, bins=5); plt.savefig('similarity_hist.png'); plt.close()
print(f'Mean similarity: {np.mean(similarities):.3f}'))");
  EXPECT_THAT(first.out, HasSubstr("Mean similarity: 0.750"));
  EXPECT_THAT(files(first), ElementsAre("similarity_hist.png"));
  EXPECT_GT(number_of(first.head["files"][0], "bytes"), 1000u);
  EXPECT_EQ(session_.get("similarity_hist.png").value_or("....").substr(0, 4), "\x89PNG");
  EXPECT_THAT(files(run("open('table.csv', 'w').write('a,b\\n1,2\\n');")),
              ElementsAre("table.csv"));
  EXPECT_THAT(files(run("1")), ElementsAre());
  EXPECT_THAT(files(run("open('similarity_hist.png', 'ab').write(b'.');")),
              ElementsAre("similarity_hist.png"));
}

TEST_F(Parity, S1_30_S1_31_AResetForgetsNamesAndFilesAndSessionsAreListed) {
  run("x = 1; open('/work/f', 'w').write('x')");
  const std::string id = session_.id();
  ASSERT_TRUE(session_.reset());
  EXPECT_EQ(session_.id(), id);
  EXPECT_EQ(text_of(run("x").head["error"], "type"), "NameError");
  EXPECT_EQ(value("import os; os.listdir('/work')"), "[]");
  const auto listed = client_.sessions();
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().session, id);
  Expected<Session> unknown = Session::attach(client_, std::string(32, '0'));
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().line(), HasSubstr("NoSuchSession"));
}

TEST_F(Parity, S1_52_FunctionsSeeEachOtherAndTheImports) {
  run("import math\ndef f(): return math.floor(1.5)");
  run("def g(): return f()");
  EXPECT_EQ(value("g()"), "1");
  EXPECT_EQ(value("[f() for _ in range(2)]"), "[1, 1]");  // its own scope
  EXPECT_EQ(value("class A:\n    def m(self): return g()\nA().m()"), "1");
}

TEST_F(Parity, S1_54_S1_55_S1_56_LimitsAreThoseAskedForAndOnlyNarrower) {
  const CellAnswer long_one = run("print('x' * 2_000_000)");
  EXPECT_TRUE(long_one.out_truncated);
  EXPECT_EQ(long_one.out.size(), 1u << 20);
  EXPECT_EQ(value("1"), "1");
  Client client = daemon_->connect();
  LeaseRequest small;
  small.overrides = {"limits.memory=160MiB", "limits.wall=1s", "limits.output=1KiB"};
  Session narrow = make_session(client, small);
  EXPECT_EQ(run_cell(narrow, "print('x' * 5000)").out.size(), 1024u);
  const CellAnswer late = run_cell(narrow, "while True: pass", {.wall_ns = 30'000 * kMillisecond});
  EXPECT_EQ(outcome_of(late), "interrupted");
  EXPECT_EQ(late.wall_ns, 1000 * kMillisecond);  // not the thirty seconds asked for
  EXPECT_EQ(outcome_of(run_cell(narrow, "x = b'x' * 200_000_000")), "ended: out_of_memory");
  LeaseRequest wide;
  wide.overrides = {"limits.memory=4GiB"};
  wide.session = true;
  EXPECT_EQ(refusal(client, wide), "NotNarrower");
}

// S1-62: neighbours_test. S1-47: SessionsLeftAlone.

// --- S2: the code interpreter guide -------------------------------------------------------------

TEST_F(Parity, S2_6_S2_46_OutputAndSuccessAreTold) {
  const CellAnswer good = run("print('Hello, world!')");
  EXPECT_TRUE(good.ok());
  EXPECT_EQ(good.out, "Hello, world!\n");
  const CellAnswer bad = run("print('before'); undefined");
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(bad.out, "before\n");
  const CellAnswer left = run("import sys; sys.exit(3)");
  EXPECT_EQ(outcome_of(left), "exit");
  EXPECT_EQ(number_of(left.head, "status"), 3u);
}

TEST_F(Parity, S2_18_S2_19_ExamplesWithDataSetsRunWithoutANetwork) {
  const CellAnswer plot = run(R"(
import os; os.chdir('/work')
import seaborn as sns, matplotlib.pyplot as plt
tips = sns.load_dataset('tips')
sns.scatterplot(data=tips, x='total_bill', y='tip')
plt.savefig('plot.png'); plt.close()
print('Plot saved!'))");
  EXPECT_EQ(plot.out, "Plot saved!\n") << plot.head.dump();
  EXPECT_THAT(files(plot), ElementsAre("plot.png"));
  const CellAnswer heat = run(R"(
sns.heatmap(tips.corr(numeric_only=True), annot=True)
plt.title('Correlation'))");
  ASSERT_GE(heat.displays.size(), 1u);  // without savefig: as the figure that is open
  EXPECT_EQ(heat.displays.back().body.substr(0, 4), "\x89PNG");
}

TEST_F(Parity, S2_29_S2_30_S2_31_WritingNetworkAndProcessesStayInside) {
  EXPECT_EQ(value(R"(
import errno, os, socket, subprocess
def tried(act):
    try: act(); return 'done'
    except OSError as error: return errno.errorcode.get(error.errno, type(error).__name__)

def connect(): socket.create_connection(('1.1.1.1', 53), 1)
def etc(): open('/etc/x', 'w')
def work(): open('/work/x', 'w').close()
(tried(etc) in ('EROFS', 'EACCES'), tried(work), tried(connect) != 'done',
 subprocess.run(['id', '-u'], capture_output=True, text=True).stdout))"),
            "(True, 'done', True, '1000\\n')");
}

TEST_F(Parity, S2_52_S2_53_AFreshSessionHasNoFilesAndNoVariablesOfTheHost) {
  run("open('/work/mine', 'w').write('x'); open('/tmp/mine', 'w').write('x')");
  Client client = daemon_->connect();
  Session fresh = make_session(client);
  EXPECT_EQ(value_of(fresh, "import os; (os.listdir('/work'), os.path.exists('/tmp/mine'))"),
            "([], False)");
  EXPECT_EQ(value_of(fresh, "'canary' in os.environ.values()"), "False");
  EXPECT_EQ(value_of(fresh, "'PATH' in os.environ"), "True");
  EXPECT_TRUE(fresh.close());
}

// --- S3: the sandbox of pandasai ----------------------------------------------------------------

TEST_F(Parity, S3_18_S3_24_S3_41_ErrorsNameTheUsersOwnLines) {
  const CellAnswer failed = run("import pandas as pd\n\ndf = pd.DataFrame({'a': [1]})\ndf['b']");
  EXPECT_EQ(outcome_of(failed), "error");
  const Json& error = failed.head["error"];
  EXPECT_EQ(text_of(error, "type"), "KeyError");
  EXPECT_EQ(text_of(error, "message"), "'b'");
  ASSERT_EQ(error["frames"].size(), 1u);
  EXPECT_EQ(number_of(error["frames"][0], "line"), 4u);
  EXPECT_EQ(text_of(error["frames"][0], "source"), "df['b']");
  EXPECT_THAT(text_of(error, "traceback"),
              AllOf(HasSubstr("line 4"), Not(HasSubstr("site-packages"))));
  const CellAnswer syntax = run("def broken(:");
  EXPECT_EQ(text_of(syntax.head["error"], "type"), "SyntaxError");
}

TEST_F(Parity, S3_19_TwoChartsOfOneCellBothComeBack) {
  const CellAnswer answer = run(R"(
import matplotlib.pyplot as plt
for name in ('one', 'two'):
    plt.figure(); plt.plot([1, 2]); plt.savefig(f'/work/{name}.png')

plt.show())");
  EXPECT_THAT(files(answer), testing::UnorderedElementsAre("one.png", "two.png"));
  EXPECT_EQ(answer.displays.size(), 2u);
}

TEST_F(Parity, S3_23_CodeArrivesByteByByte) {
  const std::string tricky = "text = r'''\\\\ \" $HOME `id` % \t \xc3\xa4 \xf0\x9f\x98\x80'''\n";
  run(tricky);
  EXPECT_EQ(typed("text")["value"], "\\\\ \" $HOME `id` % \t \xc3\xa4 \xf0\x9f\x98\x80");
  const std::string long_code = "long = '" + std::string(300'000, 'x') + "'\nlen(long)";
  EXPECT_EQ(value(long_code), "300000");
}

TEST_F(Parity, S3_25_FramesKeepTheirValuesAndTypes) {
  const Json frame = typed(R"(
import numpy as np, pandas as pd
pd.DataFrame({'int': [1, 2], 'float': [1.5, float('nan')], 'inf': [float('inf'), 0.0],
              'when': pd.to_datetime(['2024-01-02', None]), 'bool': [True, False],
              'kind': pd.Categorical(['x', 'y']), 'text': ['a', None]}, index=['r', 's']))");
  EXPECT_EQ(text_of(frame, "type"), "dataframe");
  EXPECT_EQ(frame["value"]["columns"].dump(),
            R"(["int","float","inf","when","bool","kind","text"])");
  EXPECT_EQ(frame["value"]["index"].dump(), R"(["r","s"])");
  EXPECT_EQ(frame["value"]["data"].dump(), R"([[1,1.5,null,"2024-01-02T00:00:00",true,"x","a"],)"
                                           R"([2,null,0.0,null,false,"y",null]])");
  EXPECT_EQ(text_of(frame["schema"][0], "dtype"), "int64");
  EXPECT_THAT(text_of(frame["schema"][3], "dtype"), HasSubstr("datetime64"));
  EXPECT_EQ(text_of(frame["schema"][5], "dtype"), "category");
  const Json empty = typed("pd.DataFrame({'a': pd.Series(dtype='int64'), 'b': []})");
  EXPECT_EQ(empty["value"]["columns"].dump(), R"(["a","b"])");
  EXPECT_EQ(empty["shape"].dump(), "[0,2]");
  const Json series = typed("pd.Series([1, 2], name='s')");
  EXPECT_EQ(text_of(series, "type"), "series");
}

TEST_F(Parity, S3_34_S3_35_S3_59_S3_60_ADeclaredResultIsOfOneOfFourTypes) {
  run("import pandas as pd, numpy as np");
  struct Case {
    const char *code, *declared, *type, *value;
  };
  for (const Case& each : std::initializer_list<Case>{
           {"result = {'type': 'number', 'value': np.int64(42)}", "number", "number", "42"},
           {"result = {'type': 'number', 'value': 1.5}", "number", "number", "1.5"},
           {"result = {'type': 'string', 'value': 'said'}", "string", "string", "\"said\""},
           {"result = {'type': 'dataframe', 'value': pd.DataFrame({'a': [1]})}", "dataframe",
            "dataframe", R"({"index":[0],"data":[[1]],"columns":["a"]})"},
           {"result = {'type': 'dataframe', 'value': pd.Series([1], name='a')}", "dataframe",
            "series", R"({"name":"a","index":[0],"data":[1]})"},
           {"result = {'type': 'plot', 'value': '/work/chart.png'}", "plot", "string",
            "\"/work/chart.png\""},
           {"result = {'type': 'plot', 'value': {'data': []}}", "plot", "dict", R"({"data":[]})"},
       }) {
    const Json result = typed(each.code, "result");
    EXPECT_EQ(text_of(result, "declared"), each.declared) << each.code;
    EXPECT_EQ(text_of(result, "type"), each.type) << each.code;
    EXPECT_EQ(result["value"].dump(), each.value) << each.code;
    EXPECT_EQ(result["fits"], true) << each.code;
  }
  EXPECT_EQ(typed("result = {'type': 'number', 'value': 'three'}", "result")["fits"], false);
}

TEST_F(Parity, S3_36_EveryTypeOfTheSerializerIsTold) {
  run("import datetime, decimal, numpy as np, pandas as pd");
  const std::pair<const char*, const char*> cases[] = {
      {"np.int64(7)", R"(["number",7])"},
      {"np.float32(.5)", R"(["number",0.5])"},
      {"np.bool_(True)", R"(["boolean",true])"},
      {"pd.Timestamp('2024-01-02')", R"(["string","2024-01-02T00:00:00"])"},
      {"datetime.datetime(2024, 1, 2, 3)", R"(["string","2024-01-02T03:00:00"])"},
      {"datetime.date(2024, 1, 2)", R"(["string","2024-01-02"])"},
      {"decimal.Decimal('1.10')", R"(["number",1.1])"},
      {"pd.Timedelta('1h')", R"(["string","P0DT1H0M0S"])"},
      {"pd.Period('2024-01')", R"(["string","2024-01"])"},
      {"np.array([[1, 2]])", R"(["list",[[1,2]]])"},
      {"float('nan')", R"(["number",null])"},
      {"float('-inf')", R"(["number",null])"},
      {"[1, float('nan'), {'a': float('inf')}]", R"(["list",[1,null,{"a":null}]])"},
      {"{3}", R"(["list",[3]])"},
      {"b'abc'", R"(["object","bytes, 3 bytes"])"},
      {"'lone \\ud800'", "[\"string\",\"lone \xef\xbf\xbd\"]"},
  };
  for (const auto& [code, expected] : cases) {
    const Json told = typed(code);
    EXPECT_EQ((Json{told["type"], told["value"]}).dump(), expected) << code;
  }
}

TEST_F(Parity, S3_53_AWholeTableComesBackAsArrow) {
  run("import pandas as pd, numpy as np\ndf = pd.DataFrame({'a': np.arange(100_000)})");
  const auto table = session_.arrow("df");
  ASSERT_TRUE(table) << table.error().line();
  EXPECT_GT(table->size(), 800'000u);
  EXPECT_EQ(table->substr(0, 4), std::string(4, '\xff'));  // an Arrow stream
}

TEST_F(Parity, S3_56_NothingOfOneSessionIsThereInTheNext) {
  run("open('/tmp/left', 'w').write('x'); left = 1");
  EXPECT_TRUE(session_.close());
  session_ = make_session(client_);
  EXPECT_EQ(value("import os; ('left' in globals(), os.path.exists('/tmp/left'))"),
            "(False, False)");
}

TEST_F(Parity, S3_62_S3_63_PrintingSpoilsNoResultAndNoneIsSaidToBe) {
  const CellAnswer answer =
      run("print('{\"type\": \"number\"}'); print(b'\\xff'.decode('latin-1'))\n"
          "result = {'type': 'number', 'value': 42}");
  EXPECT_EQ(answer.head["result"]["value"], 42);
  EXPECT_THAT(answer.out, HasSubstr("\"number\""));
  EXPECT_FALSE(run("del result").head.contains("result"));
}

}  // namespace
}  // namespace jailrun::test
