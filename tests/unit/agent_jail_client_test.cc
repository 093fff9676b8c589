// Results as the agent reads them, and programs as it runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "agent/base/subprocess.h"
#include "agent/jails/failure.h"
#include "agent/jails/jail_client.h"

namespace jailrun::agent {
namespace {

using testing::HasSubstr;

TEST(ParseResult, ReadsWhatTheAgentUses) {
  auto result = parse_result(
      R"({"verdict":"nonzero_exit","reason":"exit code 1","exit_code":1,"stdout":"a","stderr":"b",
    "stdout_truncated":true,"files":[{"name":"p.png","bytes":5,"media_type":"image/png"},7],
    "usage":{"wall_ns":12,"memory_peak_bytes":34},"warnings":["w",3]})");
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ok());
  EXPECT_EQ(result->exit_code, 1);
  EXPECT_EQ(result->out, "a");
  EXPECT_TRUE(result->out_truncated);
  ASSERT_EQ(result->files.size(), 1U);
  EXPECT_EQ(result->files[0].bytes, 5U);
  EXPECT_EQ(result->memory_peak_bytes, 34U);
  EXPECT_EQ(result->warnings, std::vector<std::string>{"w"});
}

TEST(ParseResult, CountsFieldsOfTheWrongTypeAsAbsent) {
  auto result = parse_result(
      R"({"verdict":"ok","exit_code":"0","stdout":5,"files":{},"usage":[],"warnings":null})");
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->ok());
  EXPECT_FALSE(result->exit_code);
  EXPECT_EQ(result->out, "");
}

TEST(ParseResult, GivesTheErrorThatTheRuntimeReports) {
  auto result = parse_result(
      R"({"jailrun":"0","error":{"stage":"make_cgroup","object":"/sys/fs/cgroup","errno":"EACCES",
    "message":"cannot make a cgroup","remedy":"run as root"}})");
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().line(), HasSubstr("cannot make a cgroup"));
  EXPECT_THAT(result.error().line(), HasSubstr("run as root"));
}

TEST(ParseResult, RefusesAnythingElse) {
  for (const char* text : {"", "hello", "[]", "{}", R"({"verdict":1})"})
    EXPECT_FALSE(parse_result(text)) << text;
}

Command command(std::vector<std::string> argv) {
  Command out;
  out.argv = std::move(argv);
  out.deadline = Clock::now() + std::chrono::seconds(20);
  return out;
}

TEST(RunCommand, GivesInputAndTakesOutput) {
  auto cat = command({"/bin/cat"});
  cat.input = std::string(300'000, 'x');
  auto done = run_command(cat, Cancel());
  ASSERT_TRUE(done);
  EXPECT_EQ(done->out, cat.input);
  EXPECT_EQ(done->wait_status, 0);
}

TEST(RunCommand, PassesOnlyTheEnvironmentThatItIsGiven) {
  setenv("OPENAI_API_KEY", "sk-secret", 1);
  auto env = command({"/usr/bin/env"});
  env.environment = {"A=1"};
  auto done = run_command(env, Cancel());
  unsetenv("OPENAI_API_KEY");
  ASSERT_TRUE(done);
  EXPECT_EQ(done->out, "A=1\n");
}

TEST(RunCommand, GivesArgumentsToNoShell) {
  auto done = run_command(command({"/bin/echo", "$(id) `id` ; id"}), Cancel());
  ASSERT_TRUE(done);
  EXPECT_EQ(done->out, "$(id) `id` ; id\n");
}

TEST(RunCommand, BoundsTheOutput) {
  auto zeros = command({"/usr/bin/head", "-c", "1000000", "/dev/zero"});
  zeros.stdout_limit_bytes = 1000;
  auto done = run_command(zeros, Cancel());
  ASSERT_TRUE(done);
  EXPECT_EQ(done->out.size(), 1000U);
  EXPECT_TRUE(done->stdout_over);
}

TEST(RunCommand, StopsAtItsDeadlineAndReaps) {
  auto forever = command({"/usr/bin/tail", "-f", "/dev/null"});
  forever.deadline = Clock::now();
  auto done = run_command(forever, Cancel());
  ASSERT_TRUE(done);
  EXPECT_TRUE(done->late);
  EXPECT_TRUE(WIFSIGNALED(done->wait_status));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(RunCommand, NamesAProgramThatDoesNotExist) {
  auto done = run_command(command({"/no/such/program"}), Cancel());
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().line(), HasSubstr("/no/such/program"));
}

TEST(Feedback, TellsVerdictReasonTailAndWhatToTry) {
  JailResult result;
  result.verdict = "nonzero_exit";
  result.reason = "exit code 1";
  result.exit_code = 1;
  result.err = std::string(100'000, 'x') + "\nKeyError: 'tips'\n";
  auto text = feedback(result);
  EXPECT_THAT(text, HasSubstr("nonzero_exit (exit code 1); exit code 1"));
  EXPECT_THAT(text, HasSubstr("KeyError: 'tips'"));
  EXPECT_THAT(text, HasSubstr("check the name against the columns"));
  EXPECT_LT(text.size(), 6000U);
  result = {};
  result.verdict = "out_of_memory";
  EXPECT_THAT(feedback(result), HasSubstr("usecols"));
  result.verdict = "ok";
  EXPECT_THAT(feedback(result), HasSubstr("printed nothing"));
}

}  // namespace
}  // namespace jailrun::agent
