// Two sessions cannot see, signal, slow beyond their limits or fill up one another. Each probe has
// its twin within one session, where it works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/jaild/cells.h"

namespace jailrun::test {
namespace {

class Neighbours : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = new Daemon({"--warm", "python"}); }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  void TearDown() override {
    EXPECT_EQ(value_of(victim_, "1 + 1"), "2");
    EXPECT_TRUE(attacker_.close());
    EXPECT_TRUE(victim_.close());
    EXPECT_TRUE(soon([] { return daemon_->metric("jaild_leased") == 0; }));
  }

  static Daemon* daemon_;
  Client client_ = daemon_->connect(), other_ = daemon_->connect();
  Session attacker_ = make_session(client_), victim_ = make_session(other_);
};
Daemon* Neighbours::daemon_ = nullptr;

TEST_F(Neighbours, SeeNoFileOrNameOfEachOther) {
  constexpr const char* kMark = R"(
import os
open('/work/canary', 'w').write('canary'); open('/tmp/canary', 'w').write('canary')
open('/dev/shm/canary', 'w').write('canary')
canary = 'in memory')";
  constexpr const char* kLook = R"(
import glob, os
(sorted(glob.glob('/*/canary') + glob.glob('/*/*/canary')), 'canary' in globals()))";
  EXPECT_EQ(outcome_of(run_cell(attacker_, kMark)), "ok");
  EXPECT_EQ(value_of(attacker_, kLook),
            "(['/dev/shm/canary', '/tmp/canary', '/work/canary'], True)");
  EXPECT_EQ(value_of(victim_, kLook), "([], False)");
}

TEST_F(Neighbours, SignalOnlyTheirOwn) {
  // All that there may be: whatever can be signalled ends.
  constexpr const char* kShoot = R"(
import os
mine, hit = {os.getpid(), os.getppid(), 1}, 0
for pid in range(2, 70_000):
    if pid in mine: continue
    try: os.kill(pid, 9); hit += 1
    except OSError: pass

hit)";
  run_cell(victim_, "import os, time\nchild = os.fork()\nif child == 0: time.sleep(600)\nx = 7");
  EXPECT_EQ(value_of(attacker_, kShoot), "0");
  EXPECT_EQ(value_of(victim_, "(x, os.waitpid(child, os.WNOHANG))"), "(7, (0, 0))");
  EXPECT_EQ(value_of(victim_, kShoot), "1");
  EXPECT_EQ(value_of(victim_, "os.waitpid(child, 0)[1]"), "9");
}

// How much of a CPU a busy cell gets while `hog` is busy as well.
double share(Session& session) {
  return std::stod(value_of(session, R"(
import time
begun, used = time.monotonic(), time.process_time()
while time.monotonic() - begun < 1: pass
(time.process_time() - used) / (time.monotonic() - begun))"));
}

TEST_F(Neighbours, TakeNoMoreOfACpuThanTheirPolicySays) {
  constexpr const char* kHog = R"(
import os, time
hogs = []
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        end = time.monotonic() + 600
        while time.monotonic() < end: pass
        os._exit(0)
    hogs.append(pid)
)";
  EXPECT_EQ(outcome_of(run_cell(attacker_, kHog)), "ok");
  const double beside = share(victim_);
  EXPECT_EQ(value_of(attacker_, "for pid in hogs: os.kill(pid, 9); os.waitpid(pid, 0)\n\n1"), "1");
  EXPECT_EQ(outcome_of(run_cell(victim_, kHog)), "ok");
  const double among = share(victim_);
  EXPECT_LT(among, 0.2);  // the probe: 30 of its own leave it a thirtieth
  EXPECT_GT(beside, 3 * among);
}

TEST_F(Neighbours, FillUpOnlyTheirOwn) {
  constexpr const char* kFill = R"(
import errno, os
def fill(path, size):
    try:
        with open(path, 'wb', buffering=0) as file:
            for _ in range(size >> 20): file.write(bytes(1 << 20))
        return 'ok'
    except OSError as error: return errno.errorcode[error.errno]

def names(count):
    made = 0
    try:
        for made in range(count): os.close(os.open(f'/work/name{made}', os.O_CREAT))
    except OSError as error: return errno.errorcode[error.errno]
    return 'ok'

def forks(count):
    pids, said = [], 'ok'
    try:
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                os.read(lock[0], 1); os._exit(0)
            pids.append(pid)
    except OSError as error: said = errno.errorcode[error.errno]
    return said

lock = os.pipe()
def all(much): return [fill('/tmp/f', much * 80 << 10), fill('/dev/shm/f', much * 80 << 10),
                       names(much * 20), forks(much // 16), fill('/work/f', much * 300 << 10)]
)";
  for (Session* session : {&attacker_, &victim_}) run_cell(*session, kFill);
  // 64 MiB, 64 MiB, 16384 names, 64 processes; 256 MiB.
  EXPECT_EQ(value_of(attacker_, "all(1024)"), "['ENOSPC', 'ENOSPC', 'ENOSPC', 'EAGAIN', 'ENOSPC']")
      << "the probe";
  EXPECT_EQ(value_of(victim_, "all(256)"), "['ok', 'ok', 'ok', 'ok', 'ok']");
}

TEST_F(Neighbours, RunOutOfMemoryAlone) {
  constexpr const char* kGrow =
      "kept = []\nfor _ in range(300): kept.append(bytearray(1 << 20))\nx = len(kept)";
  EXPECT_EQ(outcome_of(run_cell(victim_, kGrow)), "ok");
  EXPECT_EQ(outcome_of(
                run_cell(attacker_, "kept = []\nwhile True: kept.append(bytes(b'x' * (1 << 24)))")),
            "ended: out_of_memory");
  EXPECT_EQ(value_of(victim_, "x"), "300");
  attacker_ = make_session(client_);
}

TEST_F(Neighbours, WhoseOutputNobodyReadsStandInNobodysWay) {
  // A thread goes on after its cell; its pipe is full at once.
  EXPECT_EQ(outcome_of(run_cell(attacker_,
                                "import threading\ndef flood():\n  while True: print('x' * 9999)\n"
                                "threading.Thread(target=flood, daemon=True).start()")),
            "ok");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(value_of(victim_, "print('mine'); 1"), "1");
}

}  // namespace
}  // namespace jailrun::test
