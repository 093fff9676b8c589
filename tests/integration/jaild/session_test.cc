// Sessions: state that stays, states that are saved, and the clocks that end what does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
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
    Expected<Session> session = Session::create(client_, {.queue_ns = 60'000'000'000});
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
  // Depth first: five children of the first, four of each inner one, three levels deep.
  int states = 0;
  const std::function<void(const std::string&, int)> walk = [&](const std::string& path,
                                                                int depth) {
    const auto here = session.savepoint();
    ASSERT_TRUE(here) << here.error().line();
    for (int child = 0; child < (depth == 0 ? 5 : 4); ++child) {
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
  EXPECT_EQ(states, 5 + 20 + 80);
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

TEST_F(Sessions, RestoreFilesOfEveryKindAndMode) {
  Session session = make();
  // Together the two large files have no room in /work: one must go before the other comes back.
  run(session,
      "import os\nos.chdir('/work')\n"
      "def fill(name, mib):\n"
      "    with open(name, 'wb') as file:\n"
      "        for _ in range(mib): file.write(bytes(1 << 20))\n\n"
      "open('a', 'w').write('A'); open('b', 'w').write('B'); fill('one', 90); fill('two', 0)\n"
      "open('odd\\n\\udcff', 'w').write('name')\n"
      "os.mkfifo('pipe'); os.symlink('a', 'link'); os.mkdir('d'); open('d/f', 'w').write('deep')\n"
      "os.chmod('d', 0o500); os.chmod('a', 0o444)");
  const auto state = session.savepoint();
  ASSERT_TRUE(state) << state.error().line();
  run(session,
      "os.chmod('a', 0o600); open('a', 'w').write('changed'); os.chmod('a', 0o000)\n"
      "os.unlink('b'); os.link('a', 'b'); os.unlink('pipe'); os.unlink('link'); os.mkdir('link')\n"
      "fill('one', 0); fill('two', 180); open('new', 'w').write('x')\n"
      "os.chmod('d', 0o700); os.unlink('d/f'); os.chmod('d', 0)");
  const Expected<void> back = session.rollback(*state);
  ASSERT_TRUE(back) << back.error().line();
  EXPECT_EQ(value(session,
                  "(open('a').read(), open('b').read(), os.path.getsize('one') >> 20, "
                  "os.path.getsize('two'), open('odd\\n\\udcff').read(), os.readlink('link'), "
                  "open('d/f').read(), oct(os.stat('d').st_mode), oct(os.stat('a').st_mode), "
                  "len(os.listdir()))"),
            "('A', 'B', 90, 0, 'name', 'a', 'deep', '0o40500', '0o100444', 8)");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, RefuseWhatTheyCannotReadAndGoOn) {
  Session session = make();
  run(session, "import os\nx = 1\nopen('/work/f', 'w').write('x'); os.chmod('/work/f', 0)");
  const auto refused = session.savepoint();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().line(), HasSubstr("/work/f"));
  run(session,
      "os.chmod('/work/f', 0o600)\nimport subprocess\np = subprocess.Popen(['sleep', '600'])");
  const auto child = session.savepoint();
  ASSERT_FALSE(child);
  EXPECT_THAT(child.error().line(), HasSubstr("child process"));
  run(session, "p.kill(); p.wait()");
  EXPECT_TRUE(session.savepoint());
  EXPECT_EQ(value(session, "x"), "1");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, ForgetATrialThatDied) {
  Session session = make();
  run(session, "x = 1");
  const CellAnswer died = run(session, "import os; os._exit(1)", {.transactional = true});
  EXPECT_EQ(outcome(died), "died");
  run(session, "x = 2");
  EXPECT_TRUE(run(session, "import os; os._exit(7)").ended);  // no state is left that x was 1 in
}

TEST_F(Sessions, HearOfDeathsThatACellWouldHide) {
  Session session = make();
  run(session, "import signal, os\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nx = 1");
  ASSERT_TRUE(session.savepoint());
  EXPECT_EQ(outcome(run(session, "os._exit(1)")), "died");
  EXPECT_EQ(value(session, "x"), "1");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, LoseNoAnswerToAnInterruptInTheMiddleOfOne) {
  Session session = make();
  for (int i = 0; i < 5; ++i) {
    const CellAnswer answer = run(session,
                                  "class Page:\n"
                                  "    def _repr_html_(self): return 'x' * 600000\n"
                                  "while True: display(Page())",
                                  {.wall_ns = 50'000'000});
    EXPECT_EQ(outcome(answer), "interrupted");
    EXPECT_TRUE(answer.wall_hit);
  }
  EXPECT_EQ(value(session, "1"), "1");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, GoOnWhereAnAnswerBrokeOff) {
  Session session = make();
  ASSERT_TRUE(session.savepoint());
  const CellAnswer died = run(session,
                              "import threading, os, time\n"
                              "threading.Timer(0.2, os._exit, (1,)).start()\n"
                              "class Page:\n"
                              "    def _repr_html_(self): return 'x' * 5000000\n"
                              "while True: display(Page())");
  EXPECT_EQ(outcome(died), "died");
  EXPECT_EQ(value(session, "1"), "1");
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, EndForksOfACellWithTheCell) {
  Session session = make();
  run(session,
      "import os, sys\npid = os.fork()\nif pid == 0: sys.exit(3)\n"
      "status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])");
  EXPECT_EQ(value(session, "status"), "3");
  EXPECT_EQ(text_of(run(session, "input()").head["error"], "type"), "EOFError");
  const CellAnswer left = run(session, "sys.exit('a word')");
  EXPECT_EQ(outcome(left), "exit");
  EXPECT_EQ(left.err, "a word\n");
  EXPECT_EQ(number_of(run(session, "sys.exit(-1)").head, "status"), 255u);
  EXPECT_TRUE(session.close());
}

TEST_F(Sessions, SurviveAClientThatDiedWhileItExecuted) {
  Session session = make();
  const std::string id = session.id();
  {
    const Session gone = std::move(session);
  }
  const pid_t pid = ::fork();
  if (pid == 0) {
    Client client = daemon_->connect();
    Expected<Session> taken = Session::attach(client, id);
    for (int i = 0; !taken && i < 1000; ++i) taken = Session::attach(client, id);
    if (taken) (void)taken->execute("import time; time.sleep(30)");
    ::_exit(0);
  }
  EXPECT_TRUE(soon([&] { return client_.sessions()->at(0).state == "executing"; }));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  EXPECT_TRUE(soon([&] { return client_.sessions()->at(0).state == "idle"; }));
  Expected<Session> again = Session::attach(client_, id);
  ASSERT_TRUE(again) << again.error().line();
  EXPECT_EQ(value(*again, "1 + 1"), "2");
  // Longer than what is left of the limits of the cell that nobody waits for.
  EXPECT_EQ(value(*again, "import time; time.sleep(4.5); 3"), "3");
  EXPECT_TRUE(again->close());
}

TEST_F(Sessions, LendNoMoreDescriptorsThanAreTaken) {
  Session session = make();
  const std::string id = session.id();
  {
    const Session gone = std::move(session);
  }
  const std::size_t before = daemon_->descriptors().size();
  std::vector<Client> greedy;
  for (int i = 0; i < 20; ++i) {
    greedy.push_back(daemon_->connect());
    for (int ask = 0; ask < 400; ++ask) {
      // Attach, as tell() sends it: nobody reads the answers.
      if (!greedy.back().tell(SessionOp::Attach, id)) break;
    }
    (void)greedy.back().tell(SessionOp::Detach, id);
  }
  (void)daemon_->metric("jaild_parked");  // it has read all of that
  EXPECT_LT(daemon_->descriptors().size(), before + 200);
  greedy.clear();
  EXPECT_FALSE(client_.close_session(id).value());
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
  EXPECT_TRUE(run(forger, "import os\nos.write(4, b'rubbish' * 100)").ok());
  // A head that promises more than ever comes: whoever waits for it waits until his limit.
  const CellAnswer lost =
      run(forger, "import struct\nos.write(4, struct.pack('<III', 0x3172726a, 10, 20 << 20))",
          {.wall_ns = 50'000'000});
  ASSERT_TRUE(lost.ended);
  EXPECT_EQ(lost.ended->result.verdict, Verdict::WallTimeout);
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
