// Bad usage and bad policies: everything that is wrong is named at once, with what to do.
#include <nlohmann/json.hpp>

#include <algorithm>

#include "tests/integration/cli/cli.h"
#include "tests/support/schema.h"

namespace jailrun::test {
namespace {

class CliUsage : public Cli {};
class CliPolicy : public Cli {};

TEST_F(CliUsage, WithoutAScriptOrCommandSaysWhatIsMissing) {
  expect_refused(sh("$J run"), 125, {"no script given", "--help"});
  expect_refused(sh("$J exec"), 125, {"no command given", "--help"});
  expect_refused(sh("$J exec -f /etc/hostname --"), 125, {"no command given"});
}

TEST_F(CliUsage, UnknownOptionsAreNamedWithTheNearestKnownOne) {
  expect_refused(sh("$J run --jsn a.py"), 125, {"--jsn", "--json"});
  expect_refused(sh("$J run --polcy=python a.py"), 125, {"--polcy", "--policy"});
  expect_refused(sh("$J run -q a.py"), 125, {"option -q", "--help"});
  expect_refused(sh("$J run -vq a.py"), 125, {"option -q", "--help"});
}

TEST_F(CliUsage, AnOptionWithoutItsValueIsNamed) {
  expect_refused(sh("$J run --file"), 125, {"--file needs a value"});
  expect_refused(sh("$J run -vf"), 125, {"-f needs a value"});
  expect_refused(sh("$J run --verbose=1 a.py"), 125, {"--verbose=1"});
}

TEST_F(CliUsage, UnknownVerbsAreNamedWithTheNearestKnownOne) {
  const Outcome outcome = sh("$J rum a.py");
  EXPECT_EQ(outcome.status, 125);
  EXPECT_THAT(outcome.err, testing::AllOf(testing::HasSubstr("rum"), testing::HasSubstr("run")));
  EXPECT_EQ(sh("$J").status, 125);
}

class CliTimeout : public Cli, public testing::WithParamInterface<const char*> {};

TEST_P(CliTimeout, ThatIsNoDurationIsNamed) {
  const std::string value = GetParam();
  expect_refused(sh("$J exec --timeout '" + value + "' -- /bin/true"), 125,
                 {"--timeout " + value, "500ms"});
}

INSTANTIATE_TEST_SUITE_P(Bad, CliTimeout,
                         testing::Values("", "10", "0s", "-1s", "ten", "1e3s", "1ns", "25h", "nan",
                                         "inf", "999999999999999999999h", "5 s"));

TEST_F(CliPolicy, ThatIsUnknownIsNamedWithASuggestion) {
  expect_refused(sh("$J exec -p pyton -- /bin/true"), 125, {"pyton", "'python'"});
  expect_refused(sh("$J exec -p ./no.textproto -- /bin/true"), 125, {"./no.textproto"});
  expect_refused(sh("mkdir d; $J exec -p ./d -- /bin/true"), 125, {"./d"});
  expect_refused(sh("$J exec -p '' -- /bin/true"), 125, {"policy"});
}

TEST_F(CliPolicy, WithSevenFaultsShowsAllSevenWithTheirPlaces) {
  write("bad.textproto",
        "name: \"Bad Name\"\n"
        "description: \"seven faults\"\n"
        "limits { memory: \"512MB\" pids: 0 wall: \"forever\" output: \"1B\" }\n"
        "netwrk { mode: NONE }\n"
        "syscalls { groups: [\"red-list\", \"base\", \"no-such-group\"] }\n");
  const Outcome outcome = sh("$J exec --policy ./bad.textproto -- /bin/true");
  EXPECT_EQ(outcome.status, 125);
  EXPECT_EQ(outcome.out, "");
  for (const char* place :
       {"bad.textproto:1:", "bad.textproto:3:", "bad.textproto:4:", "bad.textproto:5:"}) {
    EXPECT_THAT(outcome.err, testing::HasSubstr(place));
  }
  for (const char* thing :
       {"Bad Name", "512MB", "pids", "forever", "output", "netwrk", "no-such-group"}) {
    EXPECT_THAT(outcome.err, testing::HasSubstr(thing));
  }
  EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 7) << outcome.err;
}

TEST_F(CliPolicy, OfGarbageIsRefused) {
  ASSERT_EQ(sh("head -c 4096 /dev/urandom > random.textproto; : > empty.textproto; truncate -s 2G "
               "big.textproto")
                .status,
            0);
  for (const std::string name :
       {"./random.textproto", "./empty.textproto", "./big.textproto", "/etc/passwd"}) {
    const Outcome outcome = sh("$J exec --policy " + name + " -- /bin/true");
    EXPECT_EQ(outcome.status, 125);
    EXPECT_THAT(outcome.err, testing::HasSubstr(name));
  }
}

TEST_F(CliPolicy, FieldsThatAreUnknownOrBadlySetAreNamed) {
  const struct {
    const char *set, *named;
  } bad[] = {{"limits.memroy=1GiB", "memory"},
             {"limits.memory=lots", "lots"},
             {"limits.memory", "limits.memory"},
             {"=1", "--set"},
             {"limits.memory=1B", "limits.memory"},
             {"limits.pids=-1", "-1"},
             {"name.x=1", "name"},
             {"limits.wall=", "limits.wall"}};
  for (const auto& [set, named] : bad) {
    const Outcome outcome = sh(std::string("$J exec --set '") + set + "' -- /bin/true");
    EXPECT_EQ(outcome.status, 125) << set;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, testing::HasSubstr(named)) << set;
    EXPECT_THAT(outcome.err, testing::HasSubstr("; ")) << set;
  }
}

// With --json every Error is one object of the schema on stdout, and the same line on stderr.
TEST_F(CliUsage, ErrorsAreJsonObjectsOfTheSchemaWhereJsonIsWanted) {
  write("latin.py", "'\xe9'");
  const struct {
    const char *command, *stage;
    int status;
  } errors[] = {{"run --json missing.py", "open_inputs", 125},
                {"run --json latin.py", "open_inputs", 125},
                {"exec --json -p nopolicy -- /bin/true", "none", 125},
                {"exec --json --set limits.memory=lots -- /bin/true", "none", 125},
                {"exec --json --timeout never -- /bin/true", "none", 125},
                {"exec --json --nonsense -- /bin/true", "none", 125},
                {"exec --json", "none", 125},
                {"exec --json -f \"$(printf 'a\\377\\nb')\" -- /bin/true", "open_inputs", 125},
                {"exec --json --out /proc/x -- /bin/true", "collect", 125},
                {"exec --json -- /no/such", "exec", 127},
                {"exec --json -- /etc/passwd", "exec", 126},
                {"exec --json -- /etc", "exec", 126}};
  for (const auto& [command, stage, status] : errors) {
    const Outcome outcome = sh(std::string("$J ") + command);
    EXPECT_EQ(outcome.status, status) << command;
    EXPECT_NE(outcome.err, "") << command;
    const auto document = nlohmann::json::parse(outcome.out, nullptr, false);
    ASSERT_FALSE(document.is_discarded()) << command << ": " << outcome.out;
    EXPECT_THAT(schema_faults(result_schema(), document), testing::IsEmpty()) << command;
    ASSERT_TRUE(document.contains("error")) << command;
    EXPECT_EQ(document["error"]["stage"], stage) << command;
    EXPECT_NE(document["error"]["remedy"], "") << command << ": " << outcome.out;
  }
}

}  // namespace
}  // namespace jailrun::test
