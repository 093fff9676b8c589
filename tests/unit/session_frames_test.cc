// Frames of a session: whole, in pieces, and as a hostile guest would write them.
#include <gtest/gtest.h>

#include <cstring>

#include "jail/run/frames.h"
#include "jail/session/frames.h"

namespace jailrun {
namespace {

std::string frame(std::string_view head, std::string_view body = {}) {
  const std::uint32_t header[3] = {kSessionAnswerMagic, static_cast<std::uint32_t>(head.size()),
                                   static_cast<std::uint32_t>(body.size())};
  std::string bytes(reinterpret_cast<const char*>(header), sizeof header);
  return (bytes += head) += body;
}

TEST(SessionFrames, ComeOutWholeHoweverTheyCameIn) {
  const std::string bytes = frame(R"({"id": 7})", "body") + frame(R"({"id": 8})");
  for (std::size_t step = 1; step <= bytes.size(); ++step) {
    AnswerReader reader;
    std::vector<SessionFrame> got;
    for (std::size_t at = 0; at < bytes.size(); at += step) {
      reader.put(std::string_view(bytes).substr(at, step));
      while (auto each = reader.next()) got.push_back(std::move(*each));
    }
    ASSERT_EQ(got.size(), 2u) << step;
    EXPECT_EQ(number_of(got[0].head, "id"), 7u);
    EXPECT_EQ(got[0].body, "body");
    EXPECT_EQ(reader.pending(), 0u);
  }
}

TEST(SessionFrames, AreFoundBehindRubbish) {
  const std::uint32_t too_long[3] = {kSessionAnswerMagic, kMaxHeadBytes + 1, 0};
  const std::uint32_t too_much[3] = {kSessionAnswerMagic, 2, kMaxBodyBytes + 1};
  const auto text = [](const std::uint32_t(&header)[3]) {
    return std::string(reinterpret_cast<const char*>(header), sizeof header);
  };
  for (const std::string& bytes : {std::string("rubbish rubbish"), text(too_long), text(too_much),
                                   std::string(5'000'000, '\0'), std::string("jrr1jrr1jrr1")}) {
    AnswerReader reader;
    reader.put(bytes);
    EXPECT_FALSE(reader.next());
    EXPECT_LT(reader.pending(), 100u);
    reader.put(frame(R"({"kind":"answer","id":7})"));
    const auto next = reader.next();
    ASSERT_TRUE(next);
    EXPECT_EQ(number_of(next->head, "id"), 7u);
  }
}

TEST(SessionFrames, ThatAreNoObjectsOfAFewLevelsArePassedOver) {
  const std::string deep = R"({"a":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  for (const std::string& bytes : {frame(deep), frame("[]"), frame("{"), frame("7"), frame(""),
                                   frame("{\"a\": \xff}"), frame(std::string(9, '\0'), "body")}) {
    AnswerReader reader;
    reader.put(bytes + frame(R"({"id": 7, "a": "[[{\"[" })"));
    const auto next = reader.next();
    ASSERT_TRUE(next);
    EXPECT_EQ(number_of(next->head, "id"), 7u);
  }
}

TEST(SessionFrames, AreFoundByWhoeverBeginsMidway) {
  const std::string before = frame(R"({"kind":"display","id":1})", std::string(100, 'x') + "jrr1");
  const std::string bytes = before + frame(R"({"kind":"answer","id":7})");
  for (std::size_t from = 1; from <= before.size(); ++from) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, bytes.size()}) {
      AnswerReader reader(true);
      std::optional<SessionFrame> got;
      for (std::size_t at = from; at < bytes.size() && !got; at += step) {
        reader.put(std::string_view(bytes).substr(at, step));
        got = reader.next();
      }
      ASSERT_TRUE(got) << from;
      EXPECT_EQ(number_of(got->head, "id"), 7u);
    }
  }
}

TEST(SessionFrames, WithLongerBodiesThanAreAskedForAreNone) {
  const std::string long_one = frame(R"({"kind":"display","id":1})", std::string(1000, 'x'));
  AnswerReader reader;
  reader.put(long_one + frame(R"({"kind":"answer","id":7})"));
  const auto next = reader.next(999);
  ASSERT_TRUE(next);
  EXPECT_EQ(number_of(next->head, "id"), 7u);
  reader.put(long_one);
  EXPECT_TRUE(reader.next(1000));
  EXPECT_EQ(reader.pending(), 0u);
}

TEST(SessionFrames, GiveNothingWhereTheTypeIsAnother) {
  const Json head = {{"id", "seven"}, {"kind", 7}, {"n", -1}};
  EXPECT_EQ(number_of(head, "id"), 0u);
  EXPECT_EQ(number_of(head, "n"), 0u);
  EXPECT_EQ(number_of(head, "none"), 0u);
  EXPECT_EQ(text_of(head, "kind"), "");
}

TEST(SessionFrames, CarryAnyCodeInRequests) {
  const std::string code = "a\0b\n\"\\\x80";
  const std::string bytes = encode_session_request({{"op", "execute"}, {"code", code}});
  std::uint32_t header[2];
  std::memcpy(header, bytes.data(), sizeof header);
  EXPECT_EQ(header[0], kSessionMagic);
  EXPECT_EQ(header[1], bytes.size() - sizeof header);
  EXPECT_TRUE(Json::accept(bytes.substr(sizeof header)));
}

}  // namespace
}  // namespace jailrun
