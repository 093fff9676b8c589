// The one table of options of run and exec, as getopt_long reads it.
#include "tools/options.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace jailrun {
namespace {

struct Parsed {
  std::vector<std::pair<int, std::string>> options;
  std::vector<std::string> rest;
};

Parsed parse(std::vector<std::string> words) {
  words.insert(words.begin(), "run");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  Parsed parsed;
  optind = 0;  // glibc: start anew
  opterr = 0;
  int got;
  const int count = static_cast<int>(words.size());
  while ((got = getopt_long(count, argv.data(), kShortOptions.data(), kLongOptions.data(),
                            nullptr)) != -1)
    parsed.options.emplace_back(got, optarg == nullptr ? "" : optarg);
  for (int i = optind; i < count; ++i) parsed.rest.push_back(argv[static_cast<std::size_t>(i)]);
  return parsed;
}

TEST(Options, LongAndShortNamesMeanTheSame) {
  EXPECT_EQ(parse({"-p", "exec", "-fa:b", "-o", "x", "-s", "a=b", "-t", "1s", "-v"}).options,
            parse({"--policy", "exec", "--file=a:b", "--out", "x", "--set", "a=b", "--timeout=1s",
                   "--verbose"})
                .options);
}

TEST(Options, WordsAfterTheScriptAreTheGuestsOwn) {
  const Parsed parsed = parse({"--json", "script.py", "--json", "-x", "--", "y"});
  EXPECT_EQ(parsed.options.size(), 1u);
  EXPECT_EQ(parsed.rest, (std::vector<std::string>{"script.py", "--json", "-x", "--", "y"}));
}

TEST(Options, AMissingArgumentIsToldApartFromAnUnknownOption) {
  EXPECT_EQ(parse({"--policy"}).options.at(0).first, ':');
  EXPECT_EQ(parse({"--polizei=x"}).options.at(0).first, '?');
}

TEST(Options, NoNameOrLetterIsUsedTwice) {
  std::set<std::string> names;
  std::set<int> ids;
  for (const OptionInfo& option : kOptions) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_TRUE(ids.insert(static_cast<int>(option.id)).second) << option.name;
    EXPECT_NE(std::string(option.help), "");
  }
}

}  // namespace
}  // namespace jailrun
