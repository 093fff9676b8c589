// The frames between a client and a warm guest.
#include "jail/run/frames.h"

#include <gtest/gtest.h>

#include <cstring>

namespace jailrun {
namespace {

std::uint32_t number_at(const std::string& text, std::size_t at) {
  std::uint32_t number = 0;
  std::memcpy(&number, text.data() + at, sizeof number);
  return number;
}

AnswerFrame sound() {
  AnswerFrame answer{};
  answer.magic = AnswerFrame::kMagic;
  answer.outcome = Outcome::Exit;
  answer.status = 3;
  answer.done_ns = 77;
  return answer;
}

std::string bytes_of(const AnswerFrame& answer) {
  return std::string(reinterpret_cast<const char*>(&answer), sizeof answer);
}

TEST(RequestFrame, HoldsArgumentsThenScript) {
  const std::string frame = encode({{"a.py", "", "x"}, "print(1)"});
  EXPECT_EQ(number_at(frame, 0), kRequestMagic);
  EXPECT_EQ(number_at(frame, 4), frame.size() - 8);
  EXPECT_EQ(number_at(frame, 8), 3u);
  EXPECT_EQ(number_at(frame, 12), 4u);
  EXPECT_EQ(frame.substr(16, 4), "a.py");
  EXPECT_EQ(number_at(frame, 20), 0u);
  EXPECT_TRUE(frame.ends_with("print(1)"));
}

TEST(RequestFrame, MayBeEmpty) {
  const std::string frame = encode({});
  EXPECT_EQ(frame.size(), 12u);
  EXPECT_EQ(number_at(frame, 4), 4u);
}

TEST(AnswerFrames, AreReadAsTheyWereWritten) {
  const auto answer = parse_answer(bytes_of(sound()));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->outcome, Outcome::Exit);
  EXPECT_EQ(answer->status, 3);
  EXPECT_EQ(answer->done_ns, 77);
}

TEST(AnswerFrames, OfAnotherSizeAreNone) {
  const std::string good = bytes_of(sound());
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(parse_answer(std::string_view(good).substr(0, size))) << size;
  EXPECT_FALSE(parse_answer(good + "x"));
}

TEST(AnswerFrames, WithAnotherMagicAreNone) {
  AnswerFrame answer = sound();
  answer.magic ^= 1;
  EXPECT_FALSE(parse_answer(bytes_of(answer)));
}

TEST(AnswerFrames, WithAnOutcomeThatHasNoNameAreNone) {
  std::string bytes = bytes_of(sound());
  for (const unsigned outcome : {3u, 255u, 0x80000000u, 0xffffffffu}) {
    std::memcpy(bytes.data() + 4, &outcome, sizeof outcome);
    EXPECT_FALSE(parse_answer(bytes)) << outcome;
  }
}

}  // namespace
}  // namespace jailrun
