// explain --trace: what it sees, what it proposes, and that it changes nothing.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/integration/cli/cli.h"
#include "tests/support/live.h"

namespace jailrun::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class CliTrace : public Cli {};

// Refused calls by the main thread, another thread and a child: three that a rule could allow,
// which would leave something behind if they were executed, and some that none is proposed for.
// What it prints is what it was answered.
constexpr const char* kGuest = R"(
import ctypes, os, signal, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *args):
    ctypes.set_errno(0)
    done = libc.syscall(number, *[ctypes.c_ulong(a) if isinstance(a, int) else a for a in args])
    return "done" if done >= 0 else ctypes.get_errno()

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        print(work(), flush=True)
        os._exit(0)
    return os.waitpid(child, 0)[1]

print("shmget", [call(29, 0, 4096, 0o600) for _ in range(3)])
answers = []
thread = threading.Thread(target=lambda: answers.extend(call(157, 7) for _ in range(2)))
thread.start()
thread.join()
print("prctl", answers)
in_child(lambda: ("mknod", call(133, b"/work/made", 0o100644, 0), os.path.exists("/work/made")))
refused = {"unshare": (272, 0x10000000), "socket": (41, 2, 1, 0), "io_uring_setup": (425, 1, 0),
           "userfaultfd": (323, 0), "keyctl": (250, 0, 0), "clone": (56, 0x10000011, 0),
           "personality": (135, 0x40000), "ioctl": (16, 0, 0x5412, b"x"), "clone3": (435, 0, 0)}
for name, args in refused.items():
    print(name, call(*args))
for name, number in {"ptrace": 101, "bpf": 321, "mount": 165}.items():
    print(name, in_child(lambda: call(number, 0, 0, 0)) & 0x7f)
# What tracers get wrong: stopping, going on, executing, dying.
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(3)
print(os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]))
os.kill(child, signal.SIGCONT)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(subprocess.run(["sh", "-c", "kill -TERM $$"]).returncode)
print([line for line in open("/proc/self/status") if line.startswith(("Tracer", "Seccomp"))])
sys.exit(7)
)";

const json& entry(const json& trace, const std::string& call) {
  static const json none = {{"answer", ""}, {"times", 0}, {"arguments", ""},
                            {"rule", ""},   {"set", ""},  {"no_rule", ""}};
  for (const json& each : trace["refused"])
    if (each["call"] == call) return each;
  ADD_FAILURE() << "no refused call " << call << " in " << trace["refused"].dump(2);
  return none;
}

TEST_F(CliTrace, SeesEachRefusalAndChangesNoAnswer) {
  write("guest.py", kGuest);
  const Outcome plain = sh("$J run --cold guest.py");
  ASSERT_EQ(plain.status, 7) << plain.err;
  const Outcome traced = sh("$J explain --trace --json guest.py");
  ASSERT_EQ(traced.status, 7) << traced.err;
  const json trace = json::parse(traced.out);
  EXPECT_EQ(trace["result"]["stdout"], plain.out);
  EXPECT_THAT(plain.out, HasSubstr("('mknod', 1, False)"));
  EXPECT_THAT(plain.out, HasSubstr("TracerPid:\\t0"));
  EXPECT_EQ(trace["policy"], "python");
  EXPECT_EQ(trace["answered_otherwise"], 0);
  EXPECT_EQ(trace["not_listed"], 0);

  const struct {
    const char *call, *answer;
    int times;
    json arguments;
    const char* rule;  // null: none is proposed
  } rows[] = {
      {"shmget", "ENOSYS", 3, json::object(), "calls: [\"shmget\"]\n  why"},
      {"prctl", "EPERM", 2, {{"0", 7}}, "args { index: 0 compare: EQUAL value: 7 }"},
      {"mknod", "EPERM", 1, {{"1", 0100644}}, "mask: 0xf000 value: 0x8000"},
      {"unshare", "EPERM", 1, json::object(), nullptr},
      {"io_uring_setup", "ENOSYS", 1, json::object(), nullptr},
      {"userfaultfd", "EPERM", 1, json::object(), nullptr},
      {"keyctl", "ENOSYS", 1, json::object(), nullptr},
      {"clone", "EPERM", 1, {{"0", 0x10000011}}, nullptr},
      {"personality", "EPERM", 1, {{"0", 0x40000}}, nullptr},
      {"ioctl", "ENOTTY", 1, {{"1", 0x5412}}, nullptr},
      {"ptrace", "kill", 1, json::object(), nullptr},
      {"bpf", "kill", 1, json::object(), nullptr},
      {"mount", "kill", 1, json::object(), nullptr},
  };
  for (const auto& row : rows) {
    const json& seen = entry(trace, row.call);
    SCOPED_TRACE(seen.dump(2));
    EXPECT_EQ(seen["answer"], row.answer);
    EXPECT_EQ(seen["times"], row.times);
    EXPECT_EQ(seen["arguments"], row.arguments);
    EXPECT_EQ(seen["rule"].is_null(), row.rule == nullptr);
    EXPECT_EQ(seen["no_rule"].is_null(), row.rule != nullptr);
    if (row.rule == nullptr || !seen["rule"].is_string()) continue;
    EXPECT_THAT(seen["rule"].get<std::string>(), HasSubstr(row.rule));
  }
  // Threads ask for it too, so how often is the C library's affair.
  EXPECT_TRUE(entry(trace, "clone3")["rule"].is_null());
}

// Of the main thread, another and a child; of a call whose argument rules look at, each rule's own.
TEST_F(CliTrace, CountsTheCallsThatEachRuleAllows) {
  write("guest.py", R"(
import ctypes, os, threading
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(3): os.getsid(0)
thread = threading.Thread(target=lambda: [os.getsid(0) for _ in range(2)])
thread.start()
thread.join()
child = os.fork()
if child == 0:
    os.getsid(0)
    os._exit(0)
os.waitpid(child, 0)
for option in (16, 16, 3, 7): libc.syscall(157, option, ctypes.create_string_buffer(16))
libc.syscall(29, 0, 4096, 0o600)
)");
  const json trace = json::parse(sh("$J explain --trace --json guest.py").out);
  std::map<std::string, int> times, listed;
  for (const json& each : trace["allowed"]) times[each["call"]] = each["times"];
  EXPECT_EQ(times.size(), trace["allowed"].size());
  EXPECT_EQ(times.at("getsid"), 6);
  EXPECT_EQ(times.at("prctl where args[0] == 0x10"), 2);
  EXPECT_EQ(times.at("prctl where args[0] == 3"), 1);
  EXPECT_EQ(times.at("timer_create"), 0);  // allowed, and not made
  EXPECT_FALSE(times.contains("prctl where args[0] == 7"));
  EXPECT_FALSE(times.contains("shmget"));  // made, and not allowed
  // The list is the policy's, whatever was made.
  const json policy = json::parse(sh("$J explain --json").out);
  for (const json& group : policy["syscalls"]["groups"]) {
    for (const json& rule : group["rules"]) {
      if (rule["action"] != "allow") continue;
      for (const json& call : rule["calls"]) listed[call] = times.at(call);
    }
  }
  EXPECT_EQ(listed, times);
}

TEST_F(CliTrace, WhatItProposesIsSoundPolicyTextThatAllowsJustThat) {
  write("guest.py", kGuest);
  const json before = json::parse(sh("$J explain --trace --json guest.py").out);
  std::string rules;
  for (const char* call : {"shmget", "prctl", "mknod"})
    rules += entry(before, call)["rule"].get<std::string>();
  write("mine.textproto",
        "name: \"mine\" description: \"with what was traced\" base: \"python\"\n"
        "syscalls {\n" +
            rules + "}\n");
  EXPECT_EQ(sh("$J explain ./mine.textproto").status, 0);
  const Outcome ran = sh("$J run --cold -p ./mine.textproto guest.py");
  EXPECT_THAT(ran.out, HasSubstr("shmget ['done', 'done', 'done']"));
  EXPECT_THAT(ran.out, HasSubstr("prctl ['done', 'done']"));
  EXPECT_THAT(ran.out, HasSubstr("('mknod', 'done', True)"));
  EXPECT_THAT(ran.out, HasSubstr("\nunshare 1\n"));

  const Outcome again = sh("$J explain --trace -p ./mine.textproto guest.py");
  EXPECT_EQ(again.status, 7);
  EXPECT_THAT(again.err, HasSubstr("('mknod', 'done', True)"));  // the guest's own output
  EXPECT_THAT(again.out, testing::ContainsRegex("kill +ptrace"));
  EXPECT_THAT(again.out, HasSubstr("(red list: only a "));
  for (const char* allowed : {"shmget", "prctl", "mknod", "Paste", "rules {"})
    EXPECT_THAT(again.out, testing::Not(HasSubstr(allowed)));
  EXPECT_EQ(read("mine.textproto").find("unshare"), std::string::npos);
  // By a single rule, without a file.
  const std::string set = entry(before, "mknod")["set"];
  EXPECT_THAT(sh("$J run --cold --set '" + set + "' guest.py").out,
              HasSubstr("('mknod', 'done', True)"));
}

TEST_F(CliTrace, OfACommandEndsAsTheCommandDoesAndNothingIsLeft) {
  const Outcome quiet = sh("$J explain --trace -- /bin/true");
  EXPECT_EQ(quiet.status, 0) << quiet.err;
  EXPECT_THAT(quiet.out, testing::StartsWith("Under policy exec the filter refused "));
  const Outcome killed =
      sh("$J explain --trace -- python3 -c 'import ctypes; ctypes.CDLL(None).syscall(101, 0, 0)'");
  EXPECT_EQ(killed.status, 159);
  EXPECT_THAT(killed.out, HasSubstr("the run ended as policy_violation."));
  EXPECT_THAT(killed.out, HasSubstr("reads, writes or robs other processes"));
  const Outcome elsewhere = sh("$J explain --trace -t 30s -- sh -c ': > /usr/x'");
  EXPECT_THAT(elsewhere.out, testing::ContainsRegex("EROFS +openat"));
  EXPECT_EQ(sh("$J explain --trace -t 1s -- sleep 60").status, 124);
  EXPECT_EQ(sh("$J explain --trace -- no-such-command").status, 127);
}

TEST_F(CliTrace, ThatIsKilledTakesTheGuestWithIt) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  // Its stderr, where the guest's output goes, is the stdout that this test reads.
  Live jailrun({jailrun_program(), "explain", "--trace", "--", "sh", "-c",
                "sleep 60 & echo up; exec sleep 60"},
               [] { ::dup2(1, 2); });
  ASSERT_EQ(jailrun.read_line(), "up");
  std::vector<pid_t> tasks = children(jailrun.guest());
  tasks.push_back(jailrun.guest());
  ASSERT_EQ(tasks.size(), 2u);
  std::vector<Fd> processes;
  for (const pid_t task : tasks) {
    EXPECT_NE(status_field(task, "TracerPid"), "0");
    processes.push_back(open_pidfd(task));
  }
  jailrun.send(SIGKILL);
  for (const Fd& process : processes) EXPECT_TRUE(ends_within(process, 20'000));
  jailrun.finish();
  // Its init came to this process, and is reaped before anything is counted.
  while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR) {
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  EXPECT_EQ(sh("$J exec -- /bin/true").status, 0);  // takes down the empty cgroup
}

TEST_F(CliTrace, WhereTheHostRefusesItIsRefusedInOneLine) {
  const auto without_ptrace = [] {
    constexpr sock_filter kCode[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
                                     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                                     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog program{std::size(kCode), const_cast<sock_filter*>(kCode)};
    ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
  };
  Live jailrun({jailrun_program(), "explain", "--trace", "--", "/bin/echo", "ran"}, without_ptrace);
  expect_refused(jailrun.finish(), 125, {"does not let jailrun trace", "ptrace_scope"});
  expect_refused(sh("$J explain --trace --warm -- /bin/true"), 125, {"--warm"});
  expect_refused(sh("$J explain --trace"), 125, {"no script given", "explain --help"});
  expect_refused(sh("$J explain --trace --jsn -- /bin/true"), 125, {"--jsn", "--json"});
  expect_refused(sh("$J explain --trace -p pyton -- /bin/true"), 125, {"pyton", "'python'"});
}

}  // namespace
}  // namespace jailrun::test
