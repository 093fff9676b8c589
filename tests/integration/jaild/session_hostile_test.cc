// What cells do to whoever serves and reads them: each ends in an outcome or a verdict, in bounded
// time.
#include <thread>

#include "tests/integration/jaild/hostile_cells.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;

// --- cells that attack what serves them ---------------------------------------------------------

struct Case {
  const char *name, *code;
  // A regular expression: what the cell comes to.
  const char* outcome;
  // What the session says to `x` then: "7", or how it has ended.
  const char* afterwards;
};

// Each in a session of its own, all at once: the dear ones wait for their limits.
void try_all(const std::vector<Case>& cases, const Daemon& daemon, bool saved) {
  std::vector<std::jthread> threads;
  for (const Case& each : cases) {
    threads.emplace_back([&] {
      Client client = daemon.connect();
      Session session = make_session(client);
      run_cell(session, "import os, sys\nx = 7");
      if (saved) {
        EXPECT_TRUE(session.savepoint()) << each.name;
      }
      const std::int64_t begun = monotonic_ns();
      const CellAnswer answer = run_cell(session, each.code, {.wall_ns = 2000 * kMillisecond});
      EXPECT_THAT(outcome_of(answer), testing::MatchesRegex(each.outcome))
          << each.name << "\n"
          << answer.head.dump() << "\n"
          << answer.err;
      std::string then = outcome_of(answer);
      if (!answer.ended) {
        const CellAnswer next = run_cell(session, "x", {.wall_ns = 2000 * kMillisecond});
        then = outcome_of(next);
        if (next.ok() && !next.displays.empty())
          then = text_of(next.displays.back().head["data"], "text/plain");
      }
      EXPECT_THAT(then, testing::MatchesRegex(each.afterwards)) << each.name;
      EXPECT_LT(seconds_since(begun), 20) << each.name;
      EXPECT_TRUE(session.close()) << each.name;
    });
  }
}

constexpr const char* kEnded = "ended: .*";

TEST_F(HostileCells, WhoseReprIsAWeaponAreToldOrEnded) {
  try_all(
      {
          {"loops", "class A:\n def __repr__(self):\n  while True: pass\nA()", "interrupted", "7"},
          {"raises", "class A:\n def __repr__(self): 1 / 0\nA()", "ok", "7"},
          {"exits", "class A:\n def __repr__(self): sys.exit(3)\nA()", "ok", "7"},
          {"forks", "class A:\n def __repr__(self): return str(os.fork())\nA()", "ok", "7"},
          {"forks while shown by display",
           "class A:\n def _repr_html_(self): return str(os.fork())\ndisplay(A())", "ok", "7"},
          {"forks as an error",
           "class A(Exception):\n def __str__(self): return str(os.fork())\nraise A", "error", "7"},
          {"kills", "class A:\n def __repr__(self): os.kill(os.getpid(), 9)\nA()",
           "ended: signalled", kEnded},
          {"crashes", "import ctypes\nclass A:\n def __repr__(self): ctypes.string_at(0)\nA()",
           "ended: signalled", kEnded},
          {"recurses", "class A:\n def __repr__(self): return repr(self)\nA()", "ok", "7"},
          {"is no text", "class A:\n def __repr__(self): return 7\nA()", "ok", "7"},
      },
      *daemon_, false);
}

TEST_F(HostileCells, WithAHostileReprLoseOnlyWhatCameAfterTheirSavedState) {
  try_all(
      {
          {"kills", "class A:\n def __repr__(self): os.kill(os.getpid(), 9)\nA()", "died", "7"},
          {"forks", "x = 8\nclass A:\n def __repr__(self): return str(os.fork())\nA()", "ok", "8"},
          {"closes its requests", "x = 8; os.close(3)", "ok", "7|8|ended.*"},
          {"closes its answers", "x = 8; os.close(4)", "died", "7"},
          {"exits at once", "x = 8; os._exit(0)", "died", "7"},
          {"kills its holder",
           "x = 8\nfor pid in range(1, 50):\n if pid not in (1, os.getpid()):\n"
           "  try: os.kill(pid, 9)\n  except OSError: pass\n",
           "ok|died|ended: .*", "8|7|ended: .*"},
      },
      *daemon_, true);
}

TEST_F(HostileCells, ThatEndTheHolderOfTheirTrialAreToldAndLaterDeathsAreHeardOf) {
  const auto trial = [](const std::string& deed) {
    return "import os\nx = 2\n"
           "for pid in open(f'/proc/self/task/{os.getpid()}/children').read().split():\n"
           "    pid = int(pid); " +
           deed + "\n1 / 0";
  };
  for (const char* deed : {"os.kill(pid, 9); os.waitpid(pid, 0)", "os.kill(pid, 9)"}) {
    Session session = make_session(client_);
    run_cell(session, "x = 1");
    ASSERT_TRUE(session.savepoint());
    const CellAnswer answer = run_cell(session, trial(deed), {.transactional = true});
    EXPECT_EQ(outcome_of(answer), "refused") << deed;
    EXPECT_THAT(answer.head.dump(), HasSubstr("ended from within the session"));
    EXPECT_EQ(value_of(session, "x"), "2");
    EXPECT_EQ(outcome_of(run_cell(session, "os._exit(1)")), "died") << deed;
    EXPECT_EQ(value_of(session, "x"), "1");
    EXPECT_TRUE(session.close());
  }
  Session session = make_session(client_);  // the twin: one that is only stopped can be returned to
  run_cell(session, "x = 1");
  ASSERT_TRUE(session.savepoint());
  const CellAnswer answer = run_cell(session, trial("os.kill(pid, 19)"), {.transactional = true});
  EXPECT_EQ(outcome_of(answer), "error");
  EXPECT_EQ(value_of(session, "x"), "1");
  EXPECT_TRUE(session.close());
}

// A state is memory that no later cell may look at or change, whatever the cell before it did.
TEST_F(HostileCells, CannotOpenTheMemoryOfTheirSavedState) {
  Session session = make_session(client_);
  EXPECT_EQ(value_of(session,
                     "import ctypes, os\nprctl = ctypes.CDLL(None, use_errno=True).prctl\n"
                     "prctl(4, 1, 0, 0, 0), ctypes.get_errno(), prctl(3, 0, 0, 0, 0)"),
            "(-1, 1, 0)");  // PR_SET_DUMPABLE: EPERM; PR_GET_DUMPABLE: it is not
  ASSERT_TRUE(session.savepoint());
  EXPECT_EQ(value_of(session, R"(
def opens(pid, how):
    try: os.close(os.open(f'/proc/{pid}/mem', how))
    except OSError: return False
    return True
os.kill(os.getppid(), 0)  # it is there
[opens(os.getppid(), how) for how in (os.O_RDONLY, os.O_RDWR)])"),
            "[False, False]");
  // Only hiding is allowed.
  EXPECT_EQ(value_of(session, "prctl(4, 0, 0, 0, 0)"), "0");
  EXPECT_TRUE(session.close());
}

TEST_F(HostileCells, ThatCloseWhatTheyAreServedByEndOrGoOn) {
  try_all(
      {
          {"requests", "os.close(3)", "ok", "ended: nonzero_exit"},
          {"answers", "os.close(4)", "ended: nonzero_exit", kEnded},
          {"output", "os.close(1); os.close(2)", "ok", "7"},
          {"input", "os.close(0)", "ok", "7"},
          {"everything, as daemons do", "os.closerange(3, 1024)", "ended: nonzero_exit", kEnded},
          {"requests, another in their place", "os.dup2(os.open('/dev/zero', 0), 3)", "ok",
           "ended: nonzero_exit"},
          {"answers to a file", "os.dup2(os.open('/work/a', os.O_CREAT | os.O_WRONLY), 4)",
           "ended: wall_timeout", kEnded},
          {"streams", "sys.stdout = sys.stderr = None", "ok", "7"},
          {"no streams at all", "del sys.stdout, sys.stderr", "ok", "7"},
          {"a stream that raises",
           "class A:\n def write(self, t): 1 / 0\n flush = write\nsys.stdout = A()", "ok", "7"},
          {"displayhook and excepthook", "sys.displayhook = sys.excepthook = None\nx", "ok", "7"},
      },
      *daemon_, false);
}

TEST_F(HostileCells, ThatPatchWhatTheyAreServedByEndOrGoOn) {
  try_all(
      {
          {"json", "import json\njson.dumps = json.loads = None", "ok", "7"},
          {"os.write", "os.write = lambda fd, data: len(data)", "ok", "7"},
          {"os.read", "os.read = None", "ok", "7"},
          {"os.getpid", "os.getpid = lambda: 1", "ok", "7"},
          {"time", "import time\ntime.monotonic_ns = lambda: 'noon'", "ok", "7"},
          {"lstat", "os.lstat = os.walk = None\nopen('/work/a', 'w').close()", "ok|error|refused",
           "7|refused"},
          {"the session's own names",
           "import jailrun_session as s\ns.Channel.send = s.Session.reply = None", "ok|ended: .*",
           "7|ended: .*"},
          {"the session's caps",
           "import gc\nfor o in gc.get_objects():\n"
           " if type(o).__name__ == 'Session': o.caps = o.names = o.interrupts = None",
           "ok|error|refused|ended: .*", "7|refused|ended: .*"},
          {"builtins", "import builtins\nbuiltins.len = builtins.isinstance = None",
           "ok|error|refused|ended: .*", "7|error|refused|ended: .*"},
          {"modules", "sys.modules.clear()", "ok|error|refused|ended: .*",
           "7|error|refused|ended: .*"},
          {"its own names", "globals().clear()", "ok", "error"},
          {"a trace function that raises", "def t(*a): 1 / 0\nsys.settrace(t); sys.setprofile(t)",
           "ok|error", "7|error"},
          {"a trace function that prints",
           "def t(f, e, a):\n print(e, f.f_code.co_name)\n return t\nsys.settrace(t)", "ok", "7"},
          {"recursion", "sys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
           "error|ended: (signalled|out_of_memory)", "7|ended: .*"},
      },
      *daemon_, false);
}

TEST_F(HostileCells, WithSignalsAndThreadsOfTheirOwnEndOrGoOn) {
  try_all(
      {
          {"an alarm between cells",
           "import signal, time\ndef ring(*_): raise TimeoutError\n"
           "signal.signal(signal.SIGALRM, ring); signal.setitimer(signal.ITIMER_REAL, .01)",
           "ok|error|refused", "7"},
          {"alarms all the time",
           "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n"
           "signal.setitimer(signal.ITIMER_REAL, .001, .001)",
           "ok", "7"},
          {"a thread that writes answers",
           "import threading\ndef f():\n while True: os.write(4, os.urandom(4096))\n"
           "threading.Thread(target=f, daemon=True).start()",
           "ok|ended: wall_timeout", "7|ended: wall_timeout"},
          {"a thread that displays",
           "import threading\ndef f():\n while True: display(1)\n"
           "threading.Thread(target=f, daemon=True).start()",
           "ok", "7|1"},  // whatever was shown last, the thread's or ours
          {"a thread that prints",
           "import threading\ndef f():\n while True: print('x' * 9999)\n"
           "threading.Thread(target=f, daemon=True).start()",
           "ok", "7"},
          {"a thread that reads requests",
           "import threading\ndef f():\n while True: os.read(3, 1)\n"
           "threading.Thread(target=f, daemon=True).start()",
           "ok", "7|ended: .*"},
          {"a child that keeps everything",
           "if os.fork() == 0:\n import time\n time.sleep(600)\n os._exit(0)", "ok", "7"},
          {"a child that answers too",
           "if os.fork() == 0:\n while True: os.write(4, b'jrr1' * 1000)", "ok|ended: wall_timeout",
           "7|ended: wall_timeout"},
          {"stops itself", "os.kill(os.getpid(), 19)", "ended: wall_timeout", kEnded},
          {"ignores interrupts",
           "import signal\nsignal.signal(2, signal.SIG_IGN)\nwhile True: pass",
           "ended: wall_timeout", kEnded},
      },
      *daemon_, false);
}

TEST_F(HostileCells, WithForgedAnswersSpoilOnlyTheirOwn) {
  constexpr const char* kForge =
      "import gc, json, struct\n"
      "number = next(o.request for o in gc.get_objects() if type(o).__name__ == 'Session')\n"
      "def forge(head, size=0, body=b''):\n"
      " head = head if type(head) is bytes else json.dumps(head).encode()\n"
      " os.write(4, struct.pack('<III', 0x3172726a, len(head), size or len(body)) + head + body)\n";
  const std::vector<std::pair<const char*, Case>> cases = {
      {"forge({'kind': 'answer', 'id': number + 1, 'outcome': 'ok'})",
       {"the next one's answer", "", "ok", "ok|7"}},
      {"forge({'kind': 'answer', 'id': 1, 'outcome': 'ok'})", {"an old answer", "", "ok", "7"}},
      {"forge({'kind': 'answer', 'id': number, 'outcome': 'ok'})",
       {"its own answer", "", "ok", "7"}},
      {"forge({'kind': 'answer', 'id': number, 'outcome': ['ok'], 'error': 7, 'value': None})",
       {"an answer of other types", "", "", "7"}},
      {"forge({'kind': 'answer', 'id': -1}); forge({'kind': 'answer', 'id': 1e400})",
       {"answers without a number", "", "ok", "7"}},
      {"forge({'kind': 'answer', 'id': number}, 20 << 20); os.write(4, b'x' * 5000)",
       {"half a body, then silence", "", "ended: wall_timeout", kEnded}},
      {"forge({'kind': 'answer', 'id': number}, 200 << 20)",
       {"a body longer than any cell's", "", "ok", "7"}},
      {"os.write(4, struct.pack('<III', 0x3172726a, 8 << 20, 0))",
       {"half a head, then silence", "", "ended: wall_timeout", kEnded}},
      {"os.write(4, struct.pack('<II', 0x3172726a, 8))",
       {"half a header", "", "ok|ended: wall_timeout", "7|ended: wall_timeout"}},
      {"os.write(4, struct.pack('<III', 0x3172726a, 0xffffffff, 0xffffffff))",
       {"sizes that overflow", "", "ok", "7"}},
      {"forge(b'\\xff' * 1000); forge(b'{' * 1000); forge(b'[' * 100000)",
       {"heads that are no JSON", "", "ok", "7"}},
      {"part = b'jrr1' + b'\\xff' * 8 + b'{\"kind\":'\nfor _ in range(400): os.write(4, part * "
       "3000)",
       {"beginnings of frames only", "", "ok|interrupted", "7"}},
  };
  std::vector<std::string> codes;
  codes.reserve(cases.size());
  std::vector<Case> all;
  for (const auto& [code, each] : cases) {
    codes.push_back(std::string(kForge) + code);
    all.push_back(each);
    all.back().code = codes.back().c_str();
  }
  try_all(all, *daemon_, false);
}

}  // namespace
}  // namespace jailrun::test
