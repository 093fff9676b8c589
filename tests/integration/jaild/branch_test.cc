// Branches of sessions: a second live session from one state, until the jail that both share ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "jail/session/session.h"
#include "tests/integration/jaild/cells.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;

class Branches : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = new Daemon({"--sessions-per-user", "6"}); }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  Session make() { return make_session(client_); }
  static Session branch(Session& session, std::optional<std::uint32_t> from = {}) {
    Expected<Session> made = session.branch(from);
    if (!made) ADD_FAILURE() << made.error().line();
    return std::move(*made);
  }
  static CellAnswer run(Session& session, const std::string& code) {
    return run_cell(session, code);
  }
  static std::string value(Session& session, const std::string& code) {
    return value_of(session, code);
  }

  static Daemon* daemon_;
  Client client_ = daemon_->connect();
};
Daemon* Branches::daemon_ = nullptr;

TEST_F(Branches, GoTheirOwnWaysFromOneState) {
  Session session = make();
  run(session, "import random; x = [1]; random.seed(7); open('a.txt', 'w').write('one')");
  Session other = branch(session);
  EXPECT_NE(other.id(), session.id());
  EXPECT_EQ(value(session, "x.append(2); open('a.txt', 'w').write('two'); x"), "[1, 2]");
  EXPECT_EQ(value(other, "x.append(3); x, open('a.txt').read()"), "([1, 3], 'one')");
  EXPECT_EQ(value(other, "open('b.txt', 'w').write('b')"), "1");
  EXPECT_EQ(value(session, "import os; sorted(os.listdir('.'))"), "['a.txt']");
  EXPECT_EQ(value(session, "random.random()"), value(other, "random.random()"));
  // Each has its own streams.
  EXPECT_EQ(run(other, "print('theirs')").out, "theirs\n");
  EXPECT_EQ(run(session, "print('mine')").out, "mine\n");
  EXPECT_TRUE(other.close());
  EXPECT_EQ(value(session, "x"), "[1, 2]");
  EXPECT_TRUE(session.close());
}

TEST_F(Branches, LoadAndSaveFilesOfTheirOwn) {
  Session session = make();
  run(session, "import pandas as pd; save(pd.DataFrame({'a': [1, 2]}), 'm.csv')");
  Session other = branch(session);
  EXPECT_EQ(value(other, "load_file('m.csv').a.tolist(), list(FILES)"), "([1, 2], ['m.csv'])");
  run(other, "save(pd.DataFrame({'a': [9]}), 'm.csv')");
  EXPECT_EQ(value(other, "load_file('m.csv').a.tolist()"), "[9]");
  EXPECT_EQ(value(session, "load_file('m.csv').a.tolist()"), "[1, 2]");
}

TEST_F(Branches, StartFromASavedStateAsWell) {
  Session session = make();
  run(session, "x = 1; open('f', 'w').write('old'); kept = open('f')");
  const auto saved = session.savepoint();
  ASSERT_TRUE(saved) << saved.error().line();
  run(session, "x = 2; open('f', 'w').write('new')");
  Session other = branch(session, *saved);
  EXPECT_EQ(value(other, "x, open('f').read(), kept.read()"), "(1, 'old', 'old')");
  EXPECT_EQ(value(session, "x, open('f').read()"), "(2, 'new')");
  ASSERT_TRUE(session.rollback(*saved));  // the state is there still
  EXPECT_EQ(value(session, "x"), "1");
  EXPECT_EQ(value(other, "x += 10; x"), "11");
  const Expected<Session> none = session.branch(77);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().line(), HasSubstr("there is no saved state 77"));
  EXPECT_TRUE(session.close());
}

TEST_F(Branches, HaveSavedStatesAndTrialsAndBranchesOfTheirOwn) {
  Session session = make();
  run(session, "x = 'root'");
  Session first = branch(session);
  run(first, "x = 'first'");
  const auto saved = first.savepoint();
  ASSERT_TRUE(saved) << saved.error().line();
  CellOptions trial;
  trial.transactional = true;
  const auto failed = first.execute("x = 'broken'; open('junk', 'w').close(); 1 / 0", trial);
  ASSERT_TRUE(failed);
  EXPECT_TRUE(failed->head.contains("rolled_back")) << failed->head.dump();
  EXPECT_EQ(value(first, "import os; x, os.listdir('.')"), "('first', [])");
  Session second = branch(first);
  EXPECT_EQ(value(second, "x"), "'first'");
  run(first, "x = 'changed'");
  ASSERT_TRUE(first.rollback(*saved));
  EXPECT_EQ(value(first, "x"), "'first'");
  EXPECT_TRUE(first.close());
  EXPECT_EQ(value(second, "x"), "'first'");
  // A branch is no obstacle to saving the session that it came from.
  const auto late = session.savepoint();
  EXPECT_TRUE(late) << late.error().line();
  EXPECT_TRUE(session.close());
}

TEST_F(Branches, ThatDieOrAreKilledLeaveTheOthersAlone) {
  Session session = make();
  run(session, "x = 5");
  Session other = branch(session);
  const CellAnswer gone = run(other, "import os; os._exit(3)");
  ASSERT_TRUE(gone.ended);
  EXPECT_THAT(gone.ended->result.reason, HasSubstr("the interpreter of the branch has ended"));
  EXPECT_EQ(value(session, "x"), "5");
  Session stuck = branch(session);
  CellOptions brief;
  brief.wall_ns = 200'000'000;
  const auto late = stuck.execute(
      "import signal, os\nsignal.pthread_sigmask(signal.SIG_BLOCK, {2, 12})\n"
      "if pid := os.fork(): open('/tmp/child', 'w').write(str(pid))\nwhile True: pass",
      brief);
  ASSERT_TRUE(late) << late.error().line();
  ASSERT_TRUE(late->ended);
  EXPECT_EQ(late->ended->result.verdict, Verdict::WallTimeout);
  // Nor is its child there for long.
  const std::string probe =
      "import os, time\npid, end = int(open('/tmp/child').read()), time.monotonic() + 10\n"
      "try:\n    while time.monotonic() < end: os.kill(pid, 0)\nexcept OSError as e: end = 0\nend";
  EXPECT_EQ(value(session, probe), "0");
  EXPECT_TRUE(session.close());
}

TEST_F(Branches, EndWithTheirSession) {
  Session session = make();
  Session other = branch(session);
  const std::string id = other.id();
  const auto before = client_.sessions();
  ASSERT_TRUE(before);
  const auto found = std::ranges::find(*before, id, &SessionInfo::session);
  ASSERT_NE(found, before->end());
  EXPECT_EQ(found->origin, session.id());
  EXPECT_TRUE(session.close());
  const auto late = other.execute("1");
  EXPECT_TRUE(!late || late->ended);
  const Expected<Session> none = Session::attach(client_, id);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().line(), HasSubstr("NoSuchSession"));
}

TEST_F(Branches, AreAttachedByTheirNameAndCountAsSessions) {
  Session session = make();
  run(session, "x = 1");
  std::string id;
  {
    Session other = branch(session);
    run(other, "x = 2");
    id = other.id();
  }
  Client second = daemon_->connect();
  Expected<Session> other = Session::attach(second, id);
  ASSERT_TRUE(other) << other.error().line();
  EXPECT_EQ(value(*other, "x"), "2");
  const Expected<void> reset = other->reset();
  ASSERT_FALSE(reset);
  EXPECT_THAT(reset.error().line(), HasSubstr("a branch has no beginning"));
  std::vector<Session> more;
  for (int i = 0; i < 4; ++i) more.push_back(branch(session));
  const Expected<Session> refused = session.branch();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().line(), HasSubstr("TooManySessions"));
  more.clear();
  EXPECT_TRUE(session.close());
}

// What jaild takes from a guest's word is a pipe of a process of that guest's jail, or nothing.
TEST_F(Branches, AreOnlyWhatTheKernelShowsThemToBe) {
  Session session = make();
  const std::string pid = value(session, "import os; os.getpid()");
  run(session, "f = open('/work/f', 'w'); r, w = os.pipe()");
  const int file = std::stoi(value(session, "f.fileno()"));
  const int r = std::stoi(value(session, "r")), w = std::stoi(value(session, "w"));
  const auto why = [&](pid_t of, const std::vector<int>& ends) {
    auto reply = client_.take_branch(session.id(), of, ends);
    if (!reply) return reply.error().line();
    const Refusal* refusal = std::get_if<Refusal>(&*reply);
    return refusal != nullptr ? refusal->line() : std::string("taken");
  };
  const pid_t inside = std::stoi(pid);
  EXPECT_THAT(why(1, {w, r, w, r, r}), HasSubstr("has no process 1"));
  EXPECT_THAT(why(9999, {w, r, w, r, r}), HasSubstr("has no process 9999"));
  EXPECT_THAT(why(inside, {file, r, w, r, r}), HasSubstr("is no pipe"));
  EXPECT_THAT(why(inside, {w, w, w, r, r}), HasSubstr("is no pipe"));  // the wrong side
  EXPECT_THAT(why(inside, {w, r}), HasSubstr("is no pipe"));
  EXPECT_THAT(why(inside, {w, 400, w, r, r}), HasSubstr("is no pipe"));
  EXPECT_EQ(why(inside, {w, r, w, r, r}), "taken");  // the twin
  EXPECT_TRUE(session.close());
}

}  // namespace
}  // namespace jailrun::test
