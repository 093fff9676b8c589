// Every system call of set-up, lease, collection and teardown failed, once each, with what a host
// short of something answers. Whatever fails: the run ends in time with the right output or with an
// error of ours that names a thing, never with a verdict about the guest; nothing is left; the next
// run is good. Here a part of them, drawn by a fixed seed; tests/faults/sweep takes all.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "jail/sys/error.h"
#include "jail/sys/fd.h"
#include "tests/faults/inject.h"
#include "tests/integration/jaild/daemon.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace jailrun {
namespace {

using test::Call;
using test::Fault;
using test::Watched;
using Words = std::vector<std::string>;
namespace fs = std::filesystem;

constexpr int kErrors[] = {ENOMEM, EMFILE, ENOSPC, EINTR, EAGAIN, EIO};
constexpr unsigned kSeed = 8;
constexpr int kBoundMs = 20'000;

// Not calls that fail by contract, or whose failure the C library itself answers with an abort;
// brk(2) knows no error, and takes one for an address.
const std::set<long> kLeftOut = {SYS_exit,
                                 SYS_exit_group,
                                 SYS_rt_sigreturn,
                                 SYS_futex,
                                 SYS_rseq,
                                 SYS_restart_syscall,
                                 SYS_sched_yield,
                                 SYS_set_tid_address,
                                 SYS_set_robust_list,
                                 SYS_clock_gettime,
                                 SYS_brk,
                                 SYS_arch_prctl};

std::string name_of(long call) {
  char* const name = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, static_cast<int>(call));
  std::string text = name == nullptr ? std::to_string(call) : name;
  std::free(name);
  return text;
}

std::string told(const Fault& fault) {
  return fault.call.first + " " + name_of(fault.call.second) + " #" + std::to_string(fault.nth) +
         " " + errno_name(fault.error);
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool takes_all() { return !variable("JAILRUN_SWEEP_ALL").empty(); }

// What is wrong with how a run ended; empty: nothing. `whole`: its output is what it should be.
std::string fault_of(const Watched& run, const std::function<bool(const nlohmann::json&)>& whole) {
  if (!run.in_time) return "it did not end";
  if (!run.killed.empty()) return run.killed;
  const auto top = nlohmann::json::parse(run.out, nullptr, false);
  // It was ended for that reason, and says so.
  if (run.status == 130 && top.is_object() && top.value("verdict", "") == "cancelled") return "";
  if (run.status == 130 && run.err.find("jailrun: cannot write the result") == 0) return "";
  if (run.status == 0) {
    if (!top.is_object()) return "status 0, and no Result: " + run.out;
    if (whole(top)) return "";
    if (!top["warnings"].empty() || !top["files_skipped"].empty()) return "";
    return "status 0 with a wrong Result: " + run.out.substr(0, 800);
  }
  if (run.status != 125) return "status " + std::to_string(run.status) + ": " + run.out + run.err;
  if (run.err.find("jailrun: ") != std::string::npos) return "";
  // The Result could not be printed, or it says what the error is.
  if (top.is_object() && top.contains("error") && !top["error"].value("message", "").empty())
    return "";
  return "status 125 without an error that names anything: " + run.out + run.err;
}

class Sweep : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    // Whoever loses its parent becomes a child of this process, and is seen.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  void TearDown() override { ::prctl(PR_SET_CHILD_SUBREAPER, 0); }

  // (call, nth, error) of all that were counted, or a part of them.
  static std::vector<Fault> faults_of(const std::map<Call, int>& calls, std::size_t most) {
    std::vector<Fault> all;
    const std::string only = variable("JAILRUN_SWEEP_CALL"), by = variable("JAILRUN_SWEEP_BY");
    std::map<std::string, int> counts;
    for (const auto& [call, count] : calls) {
      const auto& [whose, number] = call;
      if (kLeftOut.contains(number) || (!only.empty() && name_of(number) != only)) continue;
      counts[whose] += count;
      if (!by.empty() && whose != by) continue;
      for (int nth = 1; nth <= count; ++nth)
        for (const int error : kErrors) all.push_back({call, nth, error});
    }
    for (const auto& [whose, count] : counts) std::printf("%s: %d calls\n", whose.c_str(), count);
    if (takes_all()) return all;
    const std::string wanted = variable("JAILRUN_SWEEP_MOST");
    std::mt19937 random(kSeed);
    std::shuffle(all.begin(), all.end(), random);
    all.resize(std::min(all.size(), wanted.empty() ? most : std::stoul(wanted)));
    return all;
  }

  // Processes without a parent; they have a moment to end.
  static std::string orphans() {
    for (int i = 0; i < 1000; ++i) {
      const pid_t ended = ::waitpid(-1, nullptr, WNOHANG | __WALL);
      if (ended > 0) continue;
      if (ended < 0) return "";
      ::poll(nullptr, 0, 10);
    }
    return "a process outlives its run; ";
  }
  // What is there and was not, once it has had the time to go.
  std::string left() const {
    if (!variable("JAILRUN_SWEEP_AMONG_OTHERS").empty()) return "";
    std::string text;
    for (int i = 0; i < 1000; ++i) {
      text = test::left_behind(before_, test::take_census());
      if (text.empty()) return "";
      ::poll(nullptr, 0, 10);
    }
    return text;
  }

  std::map<std::string, std::string> before_;
};

class Account {
 public:
  ~Account() {
    std::printf("%d faults met, %d not reached: %d good runs, %d honest errors, %d failures\n",
                hits_, missed_, good_, honest_, wrong_);
  }
  void add(const Fault& fault, const Watched& run, const std::string& wrong) {
    if (!run.hit) ++missed_;
    if (run.hit) ++hits_;
    if (!wrong.empty()) {
      ++wrong_;
      ADD_FAILURE() << told(fault) << ": " << wrong;
    } else if (run.hit) {
      ++(run.status == 0 ? good_ : honest_);
    }
  }

 private:
  int hits_ = 0, missed_ = 0, good_ = 0, honest_ = 0, wrong_ = 0;
};

bool is_whole_cold(const nlohmann::json& top) {
  return top.value("verdict", "") == "ok" && top.value("stdout", "") == "hello\n" &&
         top["files"].size() == 1 && top["files"][0].value("bytes", 0) == 2;
}

TEST_F(Sweep, OfAColdRunEndsInItsOutputOrAnHonestErrorAndLeavesNothing) {
  const Words argv = {
      test::jailrun_program(), "exec", "-f", "/etc/hostname", "--json", "--", "/bin/sh", "-c",
      "echo hello; echo a > a"};
  const auto good = [&] {
    const test::Outcome next = test::run_command({.argv = argv, .kill_after_ms = kBoundMs});
    return next.status == 0 ? "" : "the next run fails: " + next.out + next.err;
  };
  ASSERT_EQ(good(), "");
  before_ = test::take_census();
  const Watched whole = test::watch(argv, {}, kBoundMs);
  ASSERT_EQ(fault_of(whole, is_whole_cold), "") << whole.err;
  Account account;
  for (const Fault& fault : faults_of(whole.calls, 200)) {
    const Watched run = test::watch(argv, fault, kBoundMs);
    std::string wrong = fault_of(run, is_whole_cold) + orphans();
    if (run.hit) wrong += good();
    if (run.hit) wrong += left();
    account.add(fault, run, wrong);
  }
}

// An installation whose interpreters import nothing: one that a fault has ended is soon there
// again.
class Installation {
 public:
  Installation() {
    std::string name = "/tmp/jaild-sweep-XXXXXX";
    dir_ = ::mkdtemp(name.data());
    fs::permissions(dir_, fs::perms(0755));
    fs::create_directories(dir_ / "bin");
    fs::create_directories(dir_ / "lib");
    const fs::path built = JAILRUN_BIN_DIR;
    for (const char* program : {"jaild", "jailrun-spawner"})
      fs::copy(built / program, dir_ / "bin" / program);
    fs::copy(built / "../lib/jailrun", dir_ / "lib/jailrun");
    import_nothing();
    std::ofstream(script()) << "open('a', 'w').write('a\\n')\n"
                               "print('hello' * len(open('/data/hosts').read(1)))\n";
  }
  Installation(const Installation&) = delete;
  Installation& operator=(const Installation&) = delete;
  ~Installation() { fs::remove_all(dir_); }
  std::string programs() const { return dir_ / "bin"; }
  std::string script() const { return dir_ / "hello.py"; }

 private:
  void import_nothing() const {
    std::ofstream(dir_ / "lib/jailrun/preload.txt") << "io\n";
    const fs::path file = dir_ / "lib/jailrun/zygote.py";
    std::string code = read_file_at(AT_FDCWD, file.c_str(), 1 << 20);
    code.insert(code.find("if __name__ =="),
                "WARM_UP, TOUCH = '', BRIEF\n"
                "refresh = touch_session = jailrun_early.start = lambda: None\n"
                "jailrun_lean.drop_exit_functions = jailrun_lean.drop_fonts = lambda: None\n"
                "jailrun_lean.numpy_key = lambda: None\n\n\n");
    std::ofstream(file) << code;
  }

  fs::path dir_;
};

// Lent narrowed and with an input, with a file to take out: with all that there is to fail.
class WarmSweep : public Sweep {
 protected:
  static bool is_whole(const nlohmann::json& top) {
    return top.value("verdict", "") == "ok" && top.value("stdout", "") == "hello\n" &&
           top["files"].size() == 1 && top["files"][0].value("bytes", 0) == 2;
  }
  Words argv() const {
    return {test::jailrun_program(),
            "run",
            "--warm",
            "--policy",
            "mine",
            "--json",
            "--set",
            "limits.memory=256MiB",
            "--file",
            "/etc/hosts",
            installed_->script()};
  }
  void SetUp() override {
    Sweep::SetUp();
    if (IsSkipped()) return;
    policies_ = std::make_unique<test::PolicyDir>(
        test::PolicyDir::Changes{{"min: 4", "min: 1"}, {"max: 64", "max: 1"}});
    installed_ = std::make_unique<Installation>();
    start();
    static bool first = true;  // what stays since a host's first jail is there then
    if (std::exchange(first, false)) {
      EXPECT_EQ(good(), "");
      daemon_.reset();
      start();
    }
  }
  void start() {
    before_ = test::take_census();
    daemon_ = std::make_unique<test::Daemon>(Words{"--warm", "mine"}, Words{policies_->variable()},
                                             installed_->programs());
    ::setenv("JAILRUN_SOCKET", daemon_->socket().c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("JAILRUN_SOCKET");
    if (HasFailure() && daemon_) std::printf("%s", daemon_->log().c_str());
    daemon_.reset();
    EXPECT_EQ(IsSkipped() ? "" : left(), "");
    Sweep::TearDown();
  }
  // What a fault has ended is made again.
  std::string good() const {
    test::Outcome next;
    const bool well = test::soon([&] {
      next = test::run_command({.argv = argv(), .kill_after_ms = kBoundMs});
      return next.status == 0;
    });
    return well ? "" : "the next run fails: " + next.out + next.err;
  }
  // jaild, its keepers, their zygotes.
  std::vector<pid_t> processes() const {
    std::vector<pid_t> all = test::children(daemon_->pid());
    all.push_back(daemon_->pid());
    if (const pid_t zygote = daemon_->zygote(); zygote > 0) all.push_back(zygote);
    return all;
  }
  // What jaild holds: descriptors, processes.
  struct Held {
    std::size_t descriptors = 0, processes = 0;
  };
  Held held() const {
    Held now{daemon_->descriptors().size(), 0};
    std::vector<pid_t> all = {daemon_->pid()};
    for (; now.processes < all.size(); ++now.processes)
      for (const pid_t child : test::children(all[now.processes])) all.push_back(child);
    return now;
  }
  // With every place of its pool taken.
  Held most_held() const {
    Held most;
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(good(), "");
      const Held now = held();
      most = {std::max(most.descriptors, now.descriptors), std::max(most.processes, now.processes)};
    }
    return most;
  }
  std::string leaks(Held& most) const {
    Held now;
    if (test::soon([&] {
          now = held();
          return now.descriptors <= most.descriptors && now.processes <= most.processes;
        }))
      return "";
    const std::string text = std::to_string(now.descriptors) + " descriptors for " +
                             std::to_string(most.descriptors) + ", " +
                             std::to_string(now.processes) + " processes for " +
                             std::to_string(most.processes) + "; ";
    most = now;  // what comes next is not to blame
    return text;
  }
  // Fails each call of jaild's and of what it makes, while `command` says what is run.
  void fail_each(const std::function<Words()>& command, std::size_t most) {
    std::map<Call, int> calls;
    for (int i = 0; i < 3; ++i) {
      ASSERT_EQ(good(), "");
      const Watched whole = test::watch_others(processes(), command(), {}, kBoundMs);
      ASSERT_EQ(fault_of(whole, is_whole), "") << whole.err;
      for (const auto& [call, count] : whole.calls) calls[call] = std::max(calls[call], count);
    }
    Held bound = most_held();
    Account account;
    for (const Fault& fault : faults_of(calls, most)) {
      Watched run;
      for (int i = takes_all() ? 3 : 1; i > 0 && !run.hit; --i)
        run = test::watch_others(processes(), command(), fault, kBoundMs);
      std::string wrong = fault_of(run, is_whole);
      if (run.hit || !wrong.empty()) wrong += good() + leaks(bound);
      account.add(fault, run, wrong);
    }
  }

  std::unique_ptr<Installation> installed_;
  std::unique_ptr<test::PolicyDir> policies_;
  std::unique_ptr<test::Daemon> daemon_;
};

TEST_F(WarmSweep, OfAClientEndsInItsOutputOrAnHonestError) {
  ASSERT_EQ(good(), "");
  const Watched whole = test::watch(argv(), {}, kBoundMs);
  ASSERT_EQ(fault_of(whole, is_whole), "") << whole.err;
  Account account;
  for (const Fault& fault : faults_of(whole.calls, 80)) {
    const Watched run = test::watch(argv(), fault, kBoundMs);
    account.add(fault, run, fault_of(run, is_whole) + (run.hit ? good() : ""));
  }
}

TEST_F(WarmSweep, OfJaildAndWhatMakesItsJailsIsSurvived) {
  fail_each([this] { return argv(); }, 40);
}

// A keeper's end is the end of a world: another is made, from jaild to the interpreter.
TEST_F(WarmSweep, OfAWorldMadeAnewIsSurvived) {
  const auto command = [this] {
    Words words = {"/bin/sh", "-c",
                   "kill -9 " + std::to_string(daemon_->keeper()) + "; exec \"$0\" \"$@\""};
    for (const std::string& word : argv()) words.push_back(word);
    return words;
  };
  fail_each(command, 6);
}

}  // namespace
}  // namespace jailrun
