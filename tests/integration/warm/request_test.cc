// A request on its way into a parked jail, in all the sizes and moments in which it may come.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/integration/warm/in_world.h"

namespace jailrun {
namespace {

std::string read_all(const Fd& fd) {
  std::string all;
  char text[256];
  for (ssize_t n; (n = ::read(fd.get(), text, sizeof text)) > 0;)
    all.append(text, static_cast<std::size_t>(n));
  return all;
}

class WarmRequest : public InWorld {
 protected:
  void SetUp() override {
    InWorld::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto jail = test::park(*world_);
    ASSERT_TRUE(jail.has_value()) << jail.error().line();
    jail_ = std::move(*jail);
  }
  test::WarmRun run(const std::string& script) { return test::run_in(*world_, *jail_, script); }
  std::unique_ptr<WarmJail> jail_;
};

TEST_F(WarmRequest, OfAThousandLinesArrivesWhole) {
  std::string script = "total = 0\n";
  for (int i = 0; i < 1000; ++i) script += "total += 1  # one line of a script that is long\n";
  const test::WarmRun said = run(script + "print(total)");
  EXPECT_EQ(said.out, "1000\n");
  EXPECT_EQ(said.err, "");
  EXPECT_EQ(said.result.verdict, Verdict::Ok);
}

TEST_F(WarmRequest, LargerThanAPipeArrivesWhole) {
  const std::string text(1 << 20, 'x');
  const test::WarmRun said = run("text = '" + text + "'\nprint(len(text))");
  EXPECT_EQ(said.out, "1048576\n");
  EXPECT_EQ(said.err, "");
}

TEST_F(WarmRequest, FailingShowsItsOwnLinesAndNoneOfOurs) {
  const test::WarmRun said = run("def divide():\n    return 1 / 0\n\ndivide()\n");
  EXPECT_EQ(said.err,
            "Traceback (most recent call last):\n"
            "  File \"/run/script.py\", line 4, in <module>\n"
            "    divide()\n"
            "    ~~~~~~^^\n"
            "  File \"/run/script.py\", line 2, in divide\n"
            "    return 1 / 0\n"
            "           ~~^~~\n"
            "ZeroDivisionError: division by zero\n");
  EXPECT_EQ(said.result.verdict, Verdict::NonzeroExit);
  ASSERT_TRUE(said.answer.has_value());
  EXPECT_EQ(said.answer->outcome, Outcome::Exception);
}

TEST_F(WarmRequest, FindsNothingThatARehearsalHasLeft) {
  const test::WarmRun said = run(
      "import sys, linecache, os\n"
      "names = sorted(name for name in globals() if not name.startswith('__'))\n"
      "print(names, sys.argv, __file__, list(linecache.cache), sys.modules['__main__'].__file__)\n"
      "print(sorted(os.listdir('/proc/self/fd'))[:5], 'main.py' in sys.argv[0])\n");
  EXPECT_EQ(said.out,
            "['linecache', 'os', 'sys'] ['/run/script.py'] /run/script.py ['/run/script.py'] "
            "/run/script.py\n['0', '1', '2', '3', '4'] False\n");
  EXPECT_EQ(said.err, "");
}

TEST_F(WarmRequest, ThatWasAnnouncedIsServedLikeAnyOther) {
  WarmJail::Ends ends = jail_->take_ends();
  const std::string notice(reinterpret_cast<const char*>(&kRequestComes), sizeof kRequestComes);
  const std::string request = encode(Request{{"a.py", "x"}, "import sys; print(sys.argv)"});
  // The rehearsal may be under way, or over, or not begun: the answer is the same.
  ASSERT_EQ(write_all(ends.request.get(), notice.data(), notice.size()), 0);
  ASSERT_EQ(write_all(ends.request.get(), request.data(), request.size()), 0);
  EXPECT_EQ(read_all(ends.out), "['/run/a.py', 'x']\n");
}

TEST_F(WarmRequest, AnnouncedInOneWriteWithItsNoticeIsServedToo) {
  WarmJail::Ends ends = jail_->take_ends();
  std::string both(reinterpret_cast<const char*>(&kRequestComes), sizeof kRequestComes);
  both += encode(Request{{"a.py"}, "print('both')"});
  ASSERT_EQ(write_all(ends.request.get(), both.data(), both.size()), 0);
  EXPECT_EQ(read_all(ends.out), "both\n");
}

TEST_F(WarmRequest, ThatIsNoneEndsTheGuestWithAWord) {
  WarmJail::Ends ends = jail_->take_ends();
  const std::string rubbish(64, '\xff');
  ASSERT_EQ(write_all(ends.request.get(), rubbish.data(), rubbish.size()), 0);
  EXPECT_EQ(read_all(ends.err), "zygote: not a request on descriptor 3\n");
}

}  // namespace
}  // namespace jailrun
