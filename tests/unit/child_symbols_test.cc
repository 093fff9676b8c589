// What the code between clone and exec calls, and what the thin program is made of, by their
// symbols.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "tests/support/command.h"

namespace jailrun::test {
namespace {

std::string symbols(const std::string& file, const char* which) {
  const Outcome outcome =
      run_command({.argv = {JAILRUN_NM, "-C", which, file}, .environment = {}, .directory = {}});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return outcome.out;
}

// The names in nm's lines "ADDRESS TYPE NAME".
std::set<std::string> names(const std::string& table) {
  std::set<std::string> found;
  std::istringstream stream(table);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t type = line.find_first_of("ABDRTUVWdtbr", 16);
    if (line.size() > 18 && type != std::string::npos && line[17] != ' ')
      found.insert(line.substr(19));
  }
  return found;
}

// The child links nothing: a call into libc could take a lock that another thread held, allocate,
// or run code of a sanitizer in a process that has no rights left.
TEST(ChildSymbols, NothingIsUndefinedThatTheArchiveDoesNotDefine) {
  const std::set<std::string> wanted = names(symbols(JAILRUN_CHILD_ARCHIVE, "--undefined-only"));
  const std::set<std::string> defined = names(symbols(JAILRUN_CHILD_ARCHIVE, "--defined-only"));
  ASSERT_THAT(defined, testing::Contains(testing::HasSubstr("init_main")));
  ASSERT_THAT(wanted, testing::Contains(testing::HasSubstr("guest_main")))
      << "the files call each other";
  for (const std::string& name : wanted) {
    if (name == "_GLOBAL_OFFSET_TABLE_")
      continue;  // position independent code names it; it is no code
    EXPECT_THAT(defined, testing::Contains(name)) << "jail/child calls " << name;
  }
}

TEST(ChildSymbols, TheCheckFindsCallsInAnOrdinaryLibrary) {
  EXPECT_THAT(names(symbols(JAILRUN_CONFINE_ARCHIVE, "--undefined-only")),
              testing::Contains("openat"));
}

constexpr const char* kHeavy[] = {"google::protobuf", "spdlog::",   "curl_easy_",
                                  "nl_socket_",       "nl_connect", "CLI::App"};

TEST(ThinProgram, IsMadeOfNoProtobufNoLogAndNoNetworkLibrary) {
  const std::string thin = symbols(std::string(JAILRUN_BIN_DIR) + "/jailrun", "-a");
  ASSERT_THAT(thin, testing::HasSubstr("jailrun::Jail::launch"))
      << "it was stripped: there is nothing to see";
  for (const char* library : kHeavy) EXPECT_THAT(thin, testing::Not(testing::HasSubstr(library)));
}

// The twin: the same look at the other program finds them, linked in or asked of a shared library.
TEST(ThinProgram, TheOtherProgramIsMadeOfThem) {
  const std::string full = symbols(std::string(JAILRUN_BIN_DIR) + "/jailrun-full", "-a");
  for (const char* library : {"google::protobuf", "curl_easy_", "CLI::App"})
    EXPECT_THAT(full, testing::HasSubstr(library));
}

TEST(ThinProgram, NeedsNoSharedLibrary) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers have no static runtime";
#else
  const Outcome outcome =
      run_command({.argv = {JAILRUN_OBJDUMP, "-p", std::string(JAILRUN_BIN_DIR) + "/jailrun"},
                   .environment = {},
                   .directory = {}});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.out, testing::Not(testing::HasSubstr("NEEDED")));
  EXPECT_THAT(outcome.out, testing::Not(testing::HasSubstr("INTERP")));
  EXPECT_THAT(outcome.out, testing::HasSubstr("RELRO"))
      << "its tables are read-only once it has started";
#endif
}

}  // namespace
}  // namespace jailrun::test
