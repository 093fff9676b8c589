#include "jail/confine/inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace jailrun {
namespace {

constexpr std::uint32_t kHostUid = 1'900'000'000;

class Inputs : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/jailrun-inputs-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return dir_ / name;
  }
  Expected<Input> open(const std::string& path, const std::string& name = "") {
    return open_input({path, name}, kHostUid, warnings_);
  }
  static std::string script_error(const std::string& path) {
    const auto script = read_script(path);
    return script ? "" : script.error().line();
  }

  std::filesystem::path dir_;
  std::vector<std::string> warnings_;
};

TEST_F(Inputs, TakeTheLastComponentOrTheNameThatIsAskedFor) {
  const std::string path = file("a.csv", "1");
  EXPECT_EQ(open(path)->name, "a.csv");
  EXPECT_EQ(open(path, "b")->name, "b");
}

TEST_F(Inputs, AreMountedByRootAndOtherwiseCopied) {
  const auto input = open(file("a", "text"));
  ASSERT_TRUE(input.has_value());
  EXPECT_EQ(input->tree.valid(), ::geteuid() == 0);
  EXPECT_EQ(input->content, ::geteuid() == 0 ? "" : "text");
  EXPECT_EQ(warnings_.empty(), ::geteuid() == 0);
}

TEST_F(Inputs, ThatOnlyTheirOwnerMayReadAreMountedToo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string path = file("a", "text");
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  const auto input = open(path);
  ASSERT_TRUE(input.has_value());
  // Shown as the guest's own where the file system can map ids, else copied with a warning.
  EXPECT_NE(input->tree.valid(), !warnings_.empty());
}

TEST_F(Inputs, WithNamesThatAreNoComponentAreRefused) {
  const std::string path = file("a", "");
  for (const std::string& name :
       {std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
        std::string("nul\0", 4), std::string(256, 'n')}) {
    const auto input = open(path, name);
    ASSERT_FALSE(input.has_value()) << name;
    EXPECT_EQ(input.error().stage, Stage::OpenInputs);
    EXPECT_NE(input.error().remedy, "");
  }
  EXPECT_TRUE(open(path, std::string(255, 'n')).has_value());
}

TEST_F(Inputs, ThatAreNoRegularFileAreRefusedWithoutWaiting) {
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(open(dir_ / "fifo").error().message, testing::HasSubstr("not a regular file"));
  EXPECT_THAT(open(dir_).error().message, testing::HasSubstr("is a directory"));
  EXPECT_EQ(open(dir_ / "none").error().errno_value, ENOENT);
}

TEST_F(Inputs, ScriptsAreUtf8OrSayOtherwise) {
  EXPECT_EQ(script_error(file("empty", "")), "");
  EXPECT_EQ(script_error(file("utf8", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8d")), "");
  EXPECT_EQ(script_error(file("declared",
                              "#!/usr/bin/python3\n# vim: set fileencoding=latin-1 :\n'\xe9'\n")),
            "");
  EXPECT_THAT(script_error(file("late", "\n\n# coding: latin-1\n'\xe9'\n")),
              testing::HasSubstr("line 4"));
  // Overlong, surrogate, cut off, above U+10FFFF, lone tail.
  for (const char* bad : {"\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xe2\x82",
                          "\xf4\x90\x80\x80", "\x80", "\xff"}) {
    EXPECT_THAT(script_error(file("bad", bad)), testing::HasSubstr("not UTF-8"));
  }
}

TEST_F(Inputs, ScriptsWithNulAreNoTextWhateverTheyDeclare) {
  EXPECT_THAT(script_error(file("nul", std::string("# coding: latin-1\n\0", 19))),
              testing::HasSubstr("not UTF-8"));
}

TEST_F(Inputs, ScriptsOfTheLargestSizeAreReadAndOneByteMoreIsNot) {
  const std::string path = file("big", std::string(kMaxScriptBytes, 'x'));
  EXPECT_EQ(script_error(path), "");
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(kMaxScriptBytes) + 1), 0);
  EXPECT_NE(script_error(path), "");
}

}  // namespace
}  // namespace jailrun
