// What the list of sessions gives back: labels, and all of them, however many there are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "tests/integration/jaild/cells.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;

std::string label_of(Client& client, const std::string& id) {
  const auto all = client.sessions();
  EXPECT_TRUE(all);
  for (const SessionInfo& each : *all)
    if (each.session == id) return each.label;
  return "not listed";
}

class Labels : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = new Daemon({"--sessions-per-user", "80"}); }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  static Daemon* daemon_;
  Client client = daemon_->connect();
};
Daemon* Labels::daemon_ = nullptr;

TEST_F(Labels, ComeBackAndStayThroughAReset) {
  const std::string label = "mine\n\tß " + std::string(500, 'x');
  Session session = make_session(client, {.label = label});
  EXPECT_EQ(label_of(client, session.id()), label);
  ASSERT_TRUE(session.reset());
  EXPECT_EQ(label_of(client, session.id()), label);
  Expected<Session> branch = session.branch({}, "a branch");
  ASSERT_TRUE(branch) << branch.error().line();
  EXPECT_EQ(label_of(client, branch->id()), "a branch");
  EXPECT_EQ(label_of(client, session.id()), label);
}

TEST_F(Labels, AreBounded) {
  const auto too_long =
      Session::create(client, {.queue_ns = 60'000'000'000, .label = std::string(513, 'x')});
  ASSERT_FALSE(too_long);
  EXPECT_THAT(too_long.error().line(), HasSubstr("more than 512 bytes"));
  Session session = make_session(client, {.label = std::string(512, 'x')});
  EXPECT_FALSE(session.branch({}, std::string(513, 'x')));
  EXPECT_EQ(value_of(session, "1 + 1"), "2");  // what was refused harms nobody
}

TEST_F(Labels, OfAllSessionsAreListedHoweverManyThereAre) {
  std::vector<Session> sessions;
  std::set<std::string> made, listed;
  for (int i = 0; i < 70; ++i) {
    sessions.push_back(make_session(client, {.label = std::string(512, 'x')}));
    made.insert(sessions.back().id());
  }
  const auto all = client.sessions();
  ASSERT_TRUE(all) << all.error().line();
  for (const SessionInfo& each : *all) listed.insert(each.session);
  EXPECT_EQ(listed, made);
  EXPECT_EQ(all->size(), made.size());
}

}  // namespace
}  // namespace jailrun::test
