// Hostile text made safe to show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/base/text.h"

namespace jailrun::agent {
namespace {

using testing::HasSubstr;

TEST(Printable, RemovesWhatCouldSteerATerminal) {
  EXPECT_EQ(printable("a\x1b[31mred\x07\r\n\tb"), "a[31mred\n\tb");
  EXPECT_EQ(printable("x\xc2\x9b"
                      "31m"),
            "x31m")
      << "the one-character form of ESC [";
  EXPECT_EQ(printable("a\xe2\x80\xae"
                      "b"),
            "ab")
      << "right-to-left override";
}

TEST(Printable, KeepsLettersOfEveryLanguage) {
  for (const char* text : {"Köln", "日本語", "🐍", "… – ✓"}) EXPECT_EQ(printable(text), text);
}

TEST(Printable, ReplacesBytesThatAreNoUtf8) {
  EXPECT_EQ(printable("M\xfcnchen"), "M\xef\xbf\xbdnchen");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd") << "a surrogate";
  EXPECT_EQ(printable("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd") << "an overlong slash";
  EXPECT_EQ(printable("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd") << "cut in the middle";
}

TEST(Clip, KeepsBothEndsAndSaysWhatIsMissing) {
  EXPECT_EQ(clip("short", 100), "short");
  auto text = clip("BEGIN" + std::string(10'000, 'x') + "END", 300);
  EXPECT_THAT(text, testing::StartsWith("BEGIN"));
  EXPECT_THAT(text, testing::EndsWith("END"));
  EXPECT_THAT(text, HasSubstr("bytes left out"));
  EXPECT_LT(text.size(), 400U);
}

TEST(Clip, CutsBetweenCharacters) {
  std::string euros;
  for (int i = 0; i < 1000; ++i) euros += "€";
  for (std::size_t limit = 30; limit < 60; ++limit) {
    EXPECT_EQ(printable(clip(euros, limit)), clip(euros, limit)) << limit;
    EXPECT_EQ(printable(tail(euros, limit)), tail(euros, limit)) << limit;
  }
}

TEST(PythonString, MeansExactlyTheText) {
  EXPECT_EQ(python_string("total_bill"), "\"total_bill\"");
  EXPECT_EQ(python_string("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000ad\"");
  EXPECT_EQ(python_string("Größe"), "\"Größe\"");
  EXPECT_EQ(python_string("a\xe2\x80\xae"), "\"a\\u202e\"");
}

TEST(TooDeep, SeesNestingOutsideOfStringsOnly) {
  EXPECT_FALSE(too_deep(R"({"a": "[[[[", "b": [1, [2]]})"));
  EXPECT_FALSE(too_deep("\"" + std::string(1000, '[') + "\""));
  EXPECT_TRUE(too_deep(std::string(1000, '[')));
  EXPECT_TRUE(too_deep("[\"\\\"\"," + std::string(1000, '[')));
}

}  // namespace
}  // namespace jailrun::agent
