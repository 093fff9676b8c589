// Sessions: state that stays, states that are saved, and the clocks that end what does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <set>
#include <utility>

#include "jail/session/session.h"
#include "tests/integration/jaild/daemon.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;

class Sessions : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = new Daemon({"--sessions-per-user", "8"}); }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  // Fails the test where there is none.
  Session make() {
    Expected<Session> session = Session::create(client_);
    if (!session) ADD_FAILURE() << session.error().line();
    return std::move(*session);
  }
  static CellAnswer run(Session& session, const std::string& code,
                        const CellOptions& options = {}) {
    Expected<CellAnswer> answer = session.execute(code, options);
    if (!answer) ADD_FAILURE() << answer.error().line();
    return answer ? std::move(*answer) : CellAnswer{};
  }
  // What the last expression is, as text.
  static std::string value(Session& session, const std::string& code) {
    const CellAnswer answer = run(session, code);
    EXPECT_TRUE(answer.ok()) << answer.head.dump();
    if (answer.displays.empty()) return {};
    return text_of(answer.displays.back().head["data"], "text/plain");
  }
  static std::string outcome(const CellAnswer& answer) { return text_of(answer.head, "outcome"); }

  static Daemon* daemon_;
  Client client_ = daemon_->connect();
};
Daemon* Sessions::daemon_ = nullptr;

TEST_F(Sessions, KeepNamesFunctionsAndImportsBetweenCells) {
  Session session = make();
  EXPECT_EQ(value(session, "import math\nx = 20"), "");
  EXPECT_EQ(value(session, "def f(a):\n    return a + x + math.floor(2.5)\nf(20)"), "42");
  EXPECT_EQ(value(session, "_ + 1"), "43");
  EXPECT_EQ(value(session, "x;"), "");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, StreamOutputAndTellErrorsWithTheUsersOwnLines) {
  Session session = make();
  const CellAnswer answer =
      run(session, "import sys\nprint('out')\nprint('err', file=sys.stderr)\n1 / 0");
  EXPECT_EQ(answer.out, "out\n");
  EXPECT_EQ(answer.err, "err\n");
  EXPECT_EQ(outcome(answer), "error");
  EXPECT_EQ(text_of(answer.head["error"], "type"), "ZeroDivisionError");
  const std::string traceback = text_of(answer.head["error"], "traceback");
  EXPECT_THAT(traceback, HasSubstr("1 / 0"));
  EXPECT_THAT(traceback, Not(HasSubstr("jailrun_session")));
  EXPECT_EQ(value(session, "'alive'"), "'alive'");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, GiveTypedValuesFiguresAndWholeTables) {
  Session session = make();
  const CellAnswer frame =
      run(session, "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})\ndf");
  EXPECT_EQ(text_of(frame.head["value"], "type"), "dataframe");
  const CellAnswer plot = run(session, "import matplotlib.pyplot as plt\nplt.plot([1, 2]);");
  ASSERT_EQ(plot.displays.size(), 1u) << plot.head.dump();
  EXPECT_EQ(plot.displays[0].body.substr(1, 3), "PNG");
  const Expected<std::string> table = session.arrow("df");
  ASSERT_TRUE(table) << table.error().line();
  EXPECT_GT(table->size(), 200u);
  const Expected<std::string> none = session.arrow("nope");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().line(), HasSubstr("no variable nope"));
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, ReturnToSavedStatesOfMemoryAndFiles) {
  Session session = make();
  run(session, "import os\nx = [1]\nopen('/work/f', 'w').write('one')\nkept = open('/work/f')");
  const auto first = session.savepoint();
  ASSERT_TRUE(first) << first.error().line();
  run(session, "x.append(2); os.unlink('/work/f'); open('/work/g', 'w').write('new')");
  const auto second = session.savepoint();
  ASSERT_TRUE(second) << second.error().line();
  run(session, "x.append(3); os.mkdir('/work/d')");
  ASSERT_TRUE(session.rollback(*second));
  EXPECT_EQ(value(session, "(x, sorted(os.listdir('/work')))"), "([1, 2], ['g'])");
  ASSERT_TRUE(session.rollback(*first));
  EXPECT_EQ(value(session, "(x, sorted(os.listdir('/work')), kept.read())"), "([1], ['f'], 'one')");
  // What came after a state that was returned to is gone.
  EXPECT_FALSE(session.rollback(*second));
  EXPECT_EQ(value(session, "x"), "[1]");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, WalkATreeOfAHundredStates) {
  Session session = make();
  run(session, "import pandas as pd, os\ndf = pd.DataFrame({'n': range(1000)}); path = ()");
  // Depth first: at each of the inner states four children, three levels deep, and their own
  // leaves.
  int states = 0;
  const std::function<void(const std::string&, int)> walk = [&](const std::string& path,
                                                                int depth) {
    const auto here = session.savepoint();
    ASSERT_TRUE(here) << here.error().line();
    for (int child = 0; child < 4; ++child) {
      const std::string next = path + std::to_string(child);
      run(session, "df['c" + next + "'] = " + std::to_string(child) + "\nopen('/work/" + next +
                       "', 'w').write('x')");
      ++states;
      if (depth < 2) walk(next, depth + 1);
      ASSERT_TRUE(session.rollback(*here));
      const std::string expected = std::to_string(path.size());
      EXPECT_EQ(value(session, "(len(df.columns) - 1, len(os.listdir('/work')))"),
                "(" + expected + ", " + expected + ")");
    }
    ASSERT_TRUE(session.drop(*here));
  };
  walk("", 0);
  EXPECT_EQ(states, 4 + 16 + 64);
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, TakeFilesInAndGiveThemOut) {
  Session session = make();
  const std::string content("a\0b\xff\n", 5);
  ASSERT_TRUE(session.put("in/data.bin", content));
  EXPECT_EQ(value(session, "open('/work/in/data.bin', 'rb').read()"), "b'a\\x00b\\xff\\n'");
  const CellAnswer answer = run(session, "open('/work/out', 'wb').write(bytes(3));");
  ASSERT_EQ(answer.head["files"].size(), 1u) << answer.head.dump();
  EXPECT_EQ(text_of(answer.head["files"][0], "name"), "out");
  EXPECT_EQ(number_of(answer.head["files"][0], "bytes"), 3u);
  EXPECT_FALSE(run(session, "1").head.contains("files"));
  EXPECT_EQ(session.get("in/data.bin").value_or(""), content);
  for (const char* name : {"nope", "../etc/passwd", "/etc/passwd", "."})
    EXPECT_FALSE(session.get(name));
  ASSERT_TRUE(run(session, "import os; os.mkfifo('/work/pipe')").head.contains("outcome"));
  EXPECT_FALSE(session.get("pipe"));  // without waiting for a writer
  EXPECT_EQ(value(session, "1"), "1");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, KeepTheEffectsOfATransactionOnlyIfItSucceeds) {
  Session session = make();
  run(session, "x = 1");
  for (int i = 0; i < 40; ++i) {  // more often than there may be processes
    const CellAnswer failed =
        run(session, "x = 99\nopen('/work/half', 'w').write('x')\n1 / 0", {.transactional = true});
    EXPECT_EQ(outcome(failed), "error");
    EXPECT_TRUE(failed.head.contains("rolled_back"));
  }
  EXPECT_EQ(value(session, "import os; (x, os.listdir('/work'))"), "(1, [])");
  EXPECT_TRUE(run(session, "x = 2", {.transactional = true}).ok());
  EXPECT_EQ(value(session, "x"), "2");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, GoOnFromTheLatestStateWhenTheInterpreterDies) {
  Session session = make();
  run(session, "x = 1");
  ASSERT_TRUE(session.savepoint());
  const CellAnswer died = run(session, "x = 2\nimport os\nos.kill(os.getpid(), 11)");
  EXPECT_EQ(outcome(died), "died");
  EXPECT_EQ(value(session, "x"), "1");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, EndWithTheirInterpreterWhereNothingIsSaved) {
  Session session = make();
  const CellAnswer died = run(session, "import os\nos.kill(os.getpid(), 11)");
  ASSERT_TRUE(died.ended);
  EXPECT_EQ(died.ended->result.verdict, Verdict::Signalled);
  EXPECT_FALSE(session.execute("1"));
}

TEST_F(Sessions, RefuseToSaveWhatAForkWouldTearApart) {
  Session session = make();
  const std::pair<const char*, const char*> cases[] = {
      {"import threading, time\nt = threading.Thread(target=time.sleep, args=(600,), daemon=True); "
       "t.start()",
       "running thread"},
      {"import socket\ns = socket.socket(socket.AF_UNIX)", "open socket"},
      {"import mmap\nm = mmap.mmap(-1, 4096)", "writable shared memory"},
      {"import sqlite3\nc = sqlite3.connect(':memory:')", "sqlite3 connection"},
  };
  for (const auto& [code, reason] : cases) {
    ASSERT_TRUE(session.reset());
    ASSERT_TRUE(run(session, code).ok()) << code;
    const auto refused = session.savepoint();
    ASSERT_FALSE(refused) << code;
    EXPECT_THAT(refused.error().line(), HasSubstr(reason));
    EXPECT_EQ(value(session, "1"), "1");  // it lives on
  }
  ASSERT_TRUE(session.reset());
  EXPECT_TRUE(session.savepoint());  // and the probe does not refuse everything
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, AreInterruptedAtTheWallLimitAndKeepTheirState) {
  Session session = make();
  run(session, "x = 7");
  const CellAnswer answer = run(session, "while True: pass", {.wall_ns = 300'000'000});
  EXPECT_EQ(outcome(answer), "interrupted");
  EXPECT_EQ(value(session, "x"), "7");
  EXPECT_TRUE(session.close());
}

constexpr const char* kDeaf =
    "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {2})\nwhile True: pass";

TEST_F(Sessions, ThatDoNotHearAnInterruptAreEndedAndSaySo) {
  Session session = make();
  const CellAnswer answer = run(session, kDeaf, {.wall_ns = 100'000'000});
  ASSERT_TRUE(answer.ended);
  EXPECT_EQ(answer.ended->result.verdict, Verdict::WallTimeout);
}

TEST_F(Sessions, WithASavedStateLoseOnlyTheProcessThatDoesNotHear) {
  Session session = make();
  run(session, "x = 7");
  ASSERT_TRUE(session.savepoint());
  const CellAnswer answer = run(session, kDeaf, {.wall_ns = 100'000'000});
  EXPECT_EQ(outcome(answer), "died");
  EXPECT_EQ(value(session, "x"), "7");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, CanBeInterruptedByTheirUser) {
  Session session = make();
  const int now = ::eventfd(1, EFD_CLOEXEC);
  EXPECT_EQ(outcome(run(session, "while True: pass", {.cancel = now})), "interrupted");
  ::close(now);
  EXPECT_EQ(value(session, "1"), "1");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, OutliveTheirConnectionAndAreOneClientsAtATime) {
  std::string id;
  {
    Client other = daemon_->connect();
    Expected<Session> session = Session::create(other);
    ASSERT_TRUE(session);
    id = session->id();
    run(*session, "x = 5");
    const auto busy = Session::attach(client_, id);
    ASSERT_FALSE(busy);
    EXPECT_THAT(busy.error().line(), HasSubstr("SessionBusy"));
  }
  Expected<Session> again = Session::attach(client_, id);
  for (int i = 0; !again && i < 200; ++i) again = Session::attach(client_, id);
  ASSERT_TRUE(again) << again.error().line();
  EXPECT_EQ(value(*again, "x"), "5");
  EXPECT_TRUE(again->reset());
  EXPECT_EQ(again->id(), id);
  EXPECT_EQ(outcome(run(*again, "x")), "error");
  EXPECT_TRUE(again->close());
  EXPECT_FALSE(Session::attach(client_, id));
}

TEST_F(Sessions, HaveNamesThatNobodyGuessesAndALimitPerUser) {
  std::set<std::string> ids;
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < 8; ++i) {
    sessions.push_back(std::make_unique<Session>(make()));
    ids.insert(sessions.back()->id());
    EXPECT_EQ(sessions.back()->id().size(), 32u);
  }
  EXPECT_EQ(ids.size(), 8u);
  const Expected<Session> more = Session::create(client_);
  ASSERT_FALSE(more);
  EXPECT_THAT(more.error().line(), HasSubstr("TooManySessions"));
  const auto listed = client_.sessions();
  ASSERT_TRUE(listed);
  EXPECT_EQ(listed->size(), 8u);
  for (const auto& session : sessions) EXPECT_TRUE(session->close());
  EXPECT_TRUE(soon([&] { return client_.sessions()->empty(); }));
}

TEST_F(Sessions, SeeNothingOfEachOther) {
  Session one = make(), two = make();
  run(one,
      "secret = 'canary'\nopen('/work/f', 'w').write(secret)\nopen('/dev/shm/f', "
      "'w').write(secret)");
  EXPECT_EQ(value(one, "import os\nopen('/work/f').read()"), "'canary'");  // the probe works
  EXPECT_EQ(value(two,
                  "import os\n(os.path.exists('/work/f'), os.path.exists('/dev/shm/f'), "
                  "sorted(p for p in os.listdir('/proc') if p.isdigit()) == "
                  "sorted({str(os.getpid())}), 'secret' in globals())"),
            "(False, False, True, False)");
  EXPECT_TRUE(one.close());
  EXPECT_TRUE(two.close());
}

TEST_F(Sessions, ThatForgeTheirAnswersSpoilOnlyTheirOwn) {
  Session forger = make(), honest = make();
  const auto rubbish = forger.execute("import os\nos.write(4, b'rubbish' * 100)");
  ASSERT_FALSE(rubbish);
  EXPECT_THAT(rubbish.error().line(), HasSubstr("rubbish"));
  EXPECT_EQ(value(honest, "1"), "1");
  EXPECT_TRUE(honest.close());
}

TEST_F(Sessions, DropOutputBeyondTheirLimitAndGoOn) {
  Session session = make();
  const CellAnswer answer = run(session, "for _ in range(64): print('x' * 65536)");
  EXPECT_TRUE(answer.out_truncated);
  EXPECT_LE(answer.out.size(), 1u << 20);
  EXPECT_EQ(value(session, "1"), "1");
  EXPECT_TRUE(session.close());
}

TEST(SessionsLeftAlone, AreClosedWhenTheyAreIdle) {
  Daemon daemon({"--session-idle", "1"});
  Client client = daemon.connect();
  {
    Expected<Session> session = Session::create(client);
    ASSERT_TRUE(session);
  }
  EXPECT_TRUE(soon([&] { return client.sessions()->empty(); }));
  EXPECT_TRUE(soon([&] { return daemon.metric("jaild_leased") == 0; }));
}

}  // namespace
}  // namespace jailrun::test
