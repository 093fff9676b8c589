// From evidence to verdict: the order of precedence, the statuses, and what may never decide.
#include "jail/run/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstring>

namespace jailrun {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr int kExit0 = 0, kExit3 = 3 << 8, kSegv = SIGSEGV, kSys = SIGSYS, kKill = SIGKILL;

Plan plan() {
  Plan plan{};
  std::strcpy(plan.policy, "python");
  plan.memory_bytes = 64 << 20;
  plan.pids = 8;
  plan.wall_ns = 400'000'000;
  plan.cpu_ns = 300'000'000;
  plan.output_bytes = 65536;
  return plan;
}

Result judged(const Evidence& evidence) {
  Result result;
  judge(plan(), evidence, result);
  return result;
}

Evidence ended(int wait_status) {
  Evidence evidence;
  evidence.guest_ended = true;
  evidence.wait_status = wait_status;
  return evidence;
}

// Each sets one kind of evidence, in order of precedence.
struct Cause {
  Verdict verdict;
  int status;
  void (*happen)(Evidence&);
};

constexpr Cause kKilling[] = {
    {Verdict::Cancelled, 130, [](Evidence& e) { e.cancelled = "SIGINT received"; }},
    {Verdict::OutOfMemory, 137, [](Evidence& e) { e.cgroup.oom_kills = 1; }},
    {Verdict::WallTimeout, 124, [](Evidence& e) { e.wall_expired = true; }},
    {Verdict::CpuTimeout, 124, [](Evidence& e) { e.cpu_expired = true; }},
    {Verdict::OutputLimit, 153, [](Evidence& e) { e.output_exceeded = "stdout"; }},
};

TEST(Judge, EachCauseOfDeathIsItsVerdictWhetherWeKilledOrTheGuestEndedJustBefore) {
  for (const Cause& cause : kKilling) {
    for (Evidence evidence :
         {Evidence{}, ended(kExit0), ended(kExit3), ended(kSegv), ended(kKill)}) {
      cause.happen(evidence);
      const Result result = judged(evidence);
      EXPECT_EQ(result.verdict, cause.verdict) << evidence.wait_status;
      EXPECT_EQ(result.status, cause.status);
      EXPECT_NE(result.reason, "");
    }
  }
}

TEST(Judge, OfTwoCausesTheEarlierInTheListIsTheVerdict) {
  for (std::size_t first = 0; first < std::size(kKilling); ++first) {
    for (std::size_t second = first; second < std::size(kKilling); ++second) {
      Evidence evidence;
      kKilling[second].happen(evidence);
      kKilling[first].happen(evidence);
      evidence.cgroup.pids_refused = 5;
      evidence.disk_full = "/work";
      EXPECT_EQ(judged(evidence).verdict, kKilling[first].verdict) << first << " before " << second;
    }
  }
}

TEST(Judge, AViolationStandsBetweenCancelledAndMemory) {
  Evidence evidence = ended(kSys);
  EXPECT_EQ(judged(evidence).verdict, Verdict::PolicyViolation);
  EXPECT_EQ(judged(evidence).status, 159);
  evidence.cgroup.oom_kills = 1;
  evidence.wall_expired = true;
  EXPECT_EQ(judged(evidence).verdict, Verdict::PolicyViolation);
  evidence.cancelled = "SIGTERM received";
  EXPECT_EQ(judged(evidence).verdict, Verdict::Cancelled);
}

// 137, 139 and 159 are numbers that a guest may exit with: none of them is evidence.
TEST(Judge, AnExitStatusIsNeverTakenForASignal) {
  for (const int status : {124, 130, 137, 139, 153, 159}) {
    const Result result = judged(ended(status << 8));
    EXPECT_EQ(result.verdict, Verdict::NonzeroExit) << status;
    EXPECT_EQ(result.status, status);
    EXPECT_EQ(result.exit_code, status);
    EXPECT_FALSE(result.signal.has_value());
    EXPECT_THAT(result.limits_hit, IsEmpty());
  }
}

TEST(Judge, DeathBySigkillAloneIsNoMemoryLimit) {
  const Result result = judged(ended(kKill));
  EXPECT_EQ(result.verdict, Verdict::Signalled);
  EXPECT_EQ(result.status, 137);
  EXPECT_EQ(result.signal, SIGKILL);
}

TEST(Judge, MemoryIsKnownByTheCounterOrTheEvent) {
  Evidence by_event = ended(kExit0);
  by_event.oom_event = true;
  by_event.cgroup.memory_peak_bytes = std::uint64_t{1} << 40;
  EXPECT_EQ(judged(by_event).verdict, Verdict::OutOfMemory);
  EXPECT_THAT(judged(by_event).limits_hit, Contains("memory"));
  Evidence by_failures =
      ended(kExit0);  // the limit was reached and memory could be reclaimed: no death
  by_failures.cgroup.memory_failures = 1000;
  EXPECT_EQ(judged(by_failures).verdict, Verdict::Ok);
}

TEST(Judge, ACountedLimitIsTheVerdictOnlyIfTheRunDidNotExitWithZero) {
  for (const bool disk : {false, true}) {
    const auto with_limit = [&](int wait_status) {
      Evidence evidence = ended(wait_status);
      if (disk)
        evidence.disk_full = "/tmp";
      else
        evidence.cgroup.pids_refused = 2;
      return judged(evidence);
    };
    const Verdict verdict = disk ? Verdict::DiskLimit : Verdict::PidsLimit;
    const std::string hit = disk ? "disk" : "pids";
    EXPECT_EQ(with_limit(kExit0).verdict, Verdict::Ok);
    EXPECT_EQ(with_limit(kExit0).status, 0);
    EXPECT_THAT(with_limit(kExit0).limits_hit, Contains(hit));
    EXPECT_EQ(with_limit(kExit3).verdict, verdict);
    EXPECT_EQ(with_limit(kExit3).status, disk ? 153 : 3);
    EXPECT_EQ(with_limit(kSegv).verdict, verdict);
    EXPECT_EQ(with_limit(kSegv).status, disk ? 153 : 139) << "pids limit keeps the guest's";
    EXPECT_THAT(with_limit(kExit3).limits_hit, Contains(hit));
  }
}

TEST(Judge, PidsStandBeforeDisk) {
  Evidence evidence = ended(kExit3);
  evidence.cgroup.pids_refused = 1;
  evidence.disk_full = "/work";
  EXPECT_EQ(judged(evidence).verdict, Verdict::PidsLimit);
  EXPECT_THAT(judged(evidence).limits_hit, testing::ElementsAre("pids", "disk"));
}

TEST(Judge, PlainEnds) {
  EXPECT_EQ(judged(ended(kExit0)).verdict, Verdict::Ok);
  EXPECT_EQ(judged(ended(kExit0)).exit_code, 0);
  EXPECT_EQ(judged(ended(kExit3)).verdict, Verdict::NonzeroExit);
  const Result crashed = judged(ended(kSegv | 0x80));  // the bit says that a core was wanted
  EXPECT_EQ(crashed.verdict, Verdict::Signalled);
  EXPECT_EQ(crashed.status, 139);
  EXPECT_EQ(crashed.signal, SIGSEGV);
  EXPECT_THAT(crashed.reason, HasSubstr("SIGSEGV"));
}

// Somebody else killed the jail's init: no cause is known, and none is made up.
TEST(Judge, AJailThatIsGoneWithoutACauseWasKilled) {
  const Result result = judged(Evidence{});
  EXPECT_EQ(result.verdict, Verdict::Signalled);
  EXPECT_EQ(result.status, 137);
  EXPECT_EQ(result.signal, SIGKILL);
  EXPECT_FALSE(result.exit_code.has_value());
  EXPECT_THAT(result.limits_hit, IsEmpty());
}

TEST(Judge, EvidenceNamesItsSource) {
  Evidence evidence;
  evidence.cgroup.memory_source = "cgroup v2 memory.events";
  evidence.cgroup.pids_source = "cgroup v2 pids.events";
  evidence.cgroup.oom_kills = 2;
  evidence.killed_by_owner = true;
  const Result result = judged(evidence);
  const auto has = [&](const std::string& key, const EvidenceValue& value) {
    return std::find(result.evidence.begin(), result.evidence.end(), std::pair(key, value)) !=
           result.evidence.end();
  };
  EXPECT_TRUE(has("killed_by_owner", true));
  EXPECT_TRUE(has("cgroup v2 memory.events oom_kill", std::uint64_t{2}));
  EXPECT_TRUE(has("cgroup v2 pids.events max", std::uint64_t{0}));
}

TEST(Judge, MemoryThatRanOutAroundTheJailIsNoLimitOfItsOwn) {
  Evidence evidence;
  evidence.cgroup.oom_kills = 2;
  evidence.cgroup.memory_source = "cgroup v2 memory.events";
  evidence.cgroup.oom_outside = true;
  const Result result = judged(evidence);
  EXPECT_EQ(result.verdict, Verdict::OutOfMemory);
  EXPECT_EQ(result.status, 137);
  EXPECT_THAT(result.limits_hit, IsEmpty());
  EXPECT_THAT(result.reason, HasSubstr("around the jail"));
}

TEST(Judge, EveryReasonButTheGuestsOwnEndNamesTheRemedy) {
  struct {
    void (*happen)(Evidence&);
    const char* remedy;
  } const cases[] = {
      {[](Evidence& e) { e.cgroup.oom_kills = 1; }, "limits.memory"},
      {[](Evidence& e) { e.wall_expired = true; }, "--timeout"},
      {[](Evidence& e) { e.cpu_expired = true; }, "limits.cpu_time"},
      {[](Evidence& e) { e.output_exceeded = "stderr"; }, "limits.output"},
      {[](Evidence& e) { e.cgroup.pids_refused = 1; }, "limits.pids"},
      {[](Evidence& e) { e.disk_full = "/work"; }, "files.work"},
      {[](Evidence& e) { e.disk_full = "/tmp"; }, "files.tmp"},
      {[](Evidence& e) { e.disk_full = "/dev/shm"; }, "files.shm"},
  };
  for (const auto& each : cases) {
    Evidence evidence;
    each.happen(evidence);
    EXPECT_THAT(judged(evidence).reason, HasSubstr(each.remedy));
    EXPECT_THAT(judged(evidence).reason, Not(HasSubstr("\n")));
  }
}

}  // namespace
}  // namespace jailrun
