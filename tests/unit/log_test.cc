// The lines of a log: what they look like, and that nobody's text can forge one.
#include "jail/daemon/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace jailrun {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::SizeIs;

class Log : public testing::Test {
 protected:
  Log() {
    std::string place = (std::filesystem::temp_directory_path() / "log-test-XXXXXX").string();
    dir_ = ::mkdtemp(place.data());
  }
  ~Log() override {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("none"));
    std::filesystem::remove_all(dir_);
  }
  void open(const LogOptions& options, LogFilter filter = {}) {
    LogOptions wish = options;
    wish.file = path();
    const auto opened = open_log("test", wish, false, std::move(filter));
    ASSERT_TRUE(opened) << opened.error().line();
  }
  std::string path() const { return dir_ + "/log"; }
  std::vector<std::string> lines() const {
    std::ifstream file(path());
    std::vector<std::string> out;
    for (std::string line; std::getline(file, line);) out.push_back(line);
    return out;
  }

  std::string dir_;
};

// Each takes a line break for one somewhere: a terminal, a pager, Python's splitlines().
const std::string kForged =
    "a\n2026-01-01 00:00:00,000 - test - ERROR - b\r\x1b[2Jc\xc2\x85"
    "d\xe2\x80\xa8"
    "e\xff\x07";

TEST_F(Log, LinesHaveTimeNameLevelAndMessage) {
  open({.level = "Debug"});
  spdlog::debug("one");
  spdlog::warn("two");
  spdlog::critical("three");
  const auto seen = lines();
  ASSERT_THAT(seen, SizeIs(3));
  EXPECT_THAT(seen[0], MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3}"
                                    " - test - DEBUG - one"));
  EXPECT_THAT(seen[1], HasSubstr(" - test - WARNING - two"));
  EXPECT_THAT(seen[2], HasSubstr(" - test - CRITICAL - three"));
}

TEST_F(Log, KeepsWhatItsLevelLetsThroughAndIsAppendedToOnce) {
  open({.level = "error"});
  spdlog::info("unheard");
  spdlog::error("heard");
  open({});  // again, by the same name
  spdlog::debug("unheard");
  spdlog::info("heard too");
  EXPECT_EQ(spdlog::get("test"), spdlog::default_logger());
  const auto seen = lines();
  ASSERT_THAT(seen, SizeIs(2));
  EXPECT_THAT(seen[1], HasSubstr("INFO - heard too"));
  struct stat status{};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST_F(Log, AMessageIsOneLineWhateverItHolds) {
  open({});
  spdlog::info("{}", kForged);
  open({.format = "JSON"});
  spdlog::info("{}", kForged);
  const auto seen = lines();
  ASSERT_THAT(seen, SizeIs(2));
  EXPECT_THAT(seen[0], HasSubstr("a\\n2026-01-01 00:00:00,000 - test - ERROR - b\\x0d\\x1b[2Jc"
                                 "\\x85"
                                 "d\\u2028e\xff\\x07"));
  const auto json = nlohmann::json::parse(seen[1], nullptr, false);
  ASSERT_TRUE(json.is_object()) << seen[1];
  EXPECT_EQ(json["level"], "INFO");
  EXPECT_THAT(json["time"].get<std::string>(), MatchesRegex("[0-9-]{10}T[0-9:]{8}\\.[0-9]{3}Z"));
  EXPECT_THAT(json["message"].get<std::string>(), HasSubstr("a\n2026-01-01"));
  for (const char c : seen[1]) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

TEST_F(Log, LinesOfAScopeBearItsIdAndThoseOfOtherThreadsDoNot) {
  open({});
  {
    const LogScope request("request_id", "r1"), again("request_id", "r1");
    const LogScope run("run_id", "x\ny");
    spdlog::info("inside");
    std::thread([] { spdlog::info("elsewhere"); }).join();
  }
  spdlog::info("outside");
  const auto seen = lines();
  ASSERT_THAT(seen, SizeIs(3));
  EXPECT_THAT(seen[0], HasSubstr("INFO - [request_id=r1 run_id=x\\ny] inside"));
  EXPECT_THAT(seen[1], AllOf(HasSubstr("INFO - elsewhere"), Not(HasSubstr("_id"))));
  EXPECT_THAT(seen[2], HasSubstr("INFO - outside"));
}

TEST_F(Log, PassesItsFilterAndEndsSomewhere) {
  open({.format = "json"}, [](const std::string& text) {
    return text.find("secret") == std::string::npos ? text : std::string("[key]");
  });
  const LogScope id("request_id", "a secret");
  spdlog::info("the secret");
  spdlog::info("{}", std::string(1 << 20, 'x'));
  const auto seen = lines();
  ASSERT_THAT(seen, SizeIs(2));
  const auto json = nlohmann::json::parse(seen[0]);
  EXPECT_EQ(json["message"], "[key]");
  EXPECT_EQ(json["request_id"], "[key]");
  EXPECT_LT(seen[1].size(), 20'000u);
  EXPECT_THAT(seen[1], HasSubstr("bytes left out"));
}

TEST_F(Log, RefusesWhatItDoesNotKnowAndWhereItCannotWrite) {
  EXPECT_THAT(check_log({.level = "loud"}).error().line(),
              AllOf(HasSubstr("no log level loud"), HasSubstr("debug, info, warning")));
  EXPECT_THAT(check_log({.format = "xml"}).error().line(), HasSubstr("no log format xml"));
  EXPECT_TRUE(check_log({.level = "CRITICAL", .format = "Text"}));
  EXPECT_THAT(open_log("test", {.file = dir_ + "/none/log"}, false).error().line(),
              AllOf(HasSubstr("cannot write the log"), HasSubstr("--log-file")));
  ASSERT_EQ(::mkfifo((dir_ + "/fifo").c_str(), 0600), 0);
  EXPECT_FALSE(open_log("test", {.file = dir_ + "/fifo"}, false));
  EXPECT_FALSE(open_log("test", {.file = "/dev/null"}, false));
}

}  // namespace
}  // namespace jailrun
