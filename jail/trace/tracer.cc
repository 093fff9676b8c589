#include "jail/trace/tracer.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <future>
#include <optional>
#include <system_error>

namespace jailrun {
namespace {

constexpr int kFollow = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
                        PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;

// A task that is killed meanwhile is waited for next: no request needs to look at its result.
void go_on(pid_t task, int signal = 0) { (void)::ptrace(PTRACE_SYSCALL, task, nullptr, signal); }

bool stops(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

Error refused(int error) {
  return {Stage::None, "trace", error, "this host does not let jailrun trace its guest",
          "kernel.yama.ptrace_scope must be below 3; a container must allow ptrace; `jailrun run` "
          "needs neither"};
}

}  // namespace

struct Tracer::Follower {
  // The call that a task is in.
  struct Entered {
    int number;
    int expected;  // errno that the filter gives; 0: none
  };

  void run();
  void stopped(pid_t task, int status);
  void at_call(pid_t task);
  void entered(pid_t task, const Call& call);
  void left(pid_t task, std::int64_t result);
  void keep(const Call& call, const Answer& answer);
  std::vector<AllowedCalls> allowed() const;
  void forget_caller(pid_t leader);

  std::shared_ptr<const Judge> policy, looked_at;
  std::map<pid_t, Entered> inside;
  std::map<Call, std::size_t> kinds;
  std::map<const FlatRule*, std::uint64_t> times_allowed;
  Trace trace;
};

// Until none is left to be waited for. Each child is followed before its parent goes on.
void Tracer::Follower::run() {
  for (;;) {
    int status = 0;
    // __WNOTHREAD: init is the launching thread's child, and that one's to reap.
    const pid_t task = ::waitpid(-1, &status, __WALL | __WNOTHREAD);
    if (task < 0 && errno == EINTR) continue;
    if (task < 0) return;
    if (WIFSTOPPED(status))
      stopped(task, status);
    else
      inside.erase(task);
  }
}

void Tracer::Follower::stopped(pid_t task, int status) {
  const int signal = WSTOPSIG(status), event = status >> 16;
  if (signal == (SIGTRAP | 0x80)) {
    at_call(task);
    go_on(task);
  } else if (event == PTRACE_EVENT_STOP && stops(signal)) {
    (void)::ptrace(PTRACE_LISTEN, task, nullptr, 0);  // it stays stopped, as it would untraced
  } else {
    if (event == PTRACE_EVENT_EXEC) forget_caller(task);
    go_on(task, event == 0 ? signal : 0);
  }
}

// A thread that executes takes over its leader's id; what either was in is over.
void Tracer::Follower::forget_caller(pid_t leader) {
  unsigned long former = 0;
  (void)::ptrace(PTRACE_GETEVENTMSG, leader, nullptr, &former);
  inside.erase(static_cast<pid_t>(former));
  inside.erase(leader);
}

void Tracer::Follower::at_call(pid_t task) {
  __ptrace_syscall_info info{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, task, sizeof info, &info) <= 0) return;
  if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
    Call call{info.arch, static_cast<int>(info.entry.nr), {}};
    std::ranges::copy(info.entry.args, call.args.begin());
    entered(task, call);
  } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
    left(task, info.exit.rval);
  }
}

void Tracer::Follower::entered(pid_t task, const Call& call) {
  const Answer answer = policy->answer(call);
  inside[task] = {call.number, answer.action == Action::Errno ? answer.errno_value : 0};
  if (answer.action == Action::Allow)
    ++times_allowed[answer.rule];
  else
    keep(call, answer);
}

std::vector<AllowedCalls> Tracer::Follower::allowed() const {
  std::vector<AllowedCalls> all;
  for (const FlatRule& rule : policy->rules()) {
    if (rule.action != Action::Allow) continue;
    const auto counted = times_allowed.find(&rule);
    all.push_back({&rule, counted == times_allowed.end() ? 0 : counted->second});
  }
  return all;
}

void Tracer::Follower::left(pid_t task, std::int64_t result) {
  const auto found = inside.find(task);
  if (found == inside.end()) return;
  const Entered call = found->second;
  inside.erase(found);
  if (call.expected != 0) {
    if (result != -call.expected) ++trace.answered_otherwise;
    return;
  }
  if (result != -EACCES && result != -EPERM && result != -EROFS) return;
  const int error = static_cast<int>(-result);
  auto& list = trace.elsewhere;
  const auto same = std::ranges::find_if(list, [&](const RefusedElsewhere& one) {
    return one.number == call.number && one.errno_value == error;
  });
  if (same == list.end())
    list.push_back({call.number, error, 1});
  else
    ++same->times;
}

void Tracer::Follower::keep(const Call& call, const Answer& answer) {
  Call kind{call.arch, call.number, {}};
  for (const Judge* judge : {policy.get(), looked_at.get()}) {
    if (is_foreign(call)) break;
    for (const FlatRule* rule : judge->rules_of(call.number)) {
      for (const Condition& condition : decisive(rule->conditions, call))
        kind.args[condition.index.get()] = call.args[condition.index.get()];
    }
  }
  const auto known = kinds.find(kind);
  if (known != kinds.end()) {
    ++trace.refused[known->second].times;
  } else if (kinds.size() == kMostKinds) {
    ++trace.not_kept;
  } else {
    kinds[kind] = trace.refused.size();
    trace.refused.push_back({kind, answer, 1});
  }
}

Tracer::Tracer(std::shared_ptr<const Judge> policy, std::shared_ptr<const Judge> looked_at)
    : follower_(std::make_shared<Follower>()) {
  follower_->policy = std::move(policy);
  follower_->looked_at = std::move(looked_at);
}

// Not joined: of a jail that could not be ended a process hangs in the kernel, maybe for ever.
Tracer::~Tracer() {
  if (thread_.joinable()) thread_.detach();
}

Expected<void> Tracer::follow(pid_t guest) {
  auto seized = std::make_shared<std::promise<int>>();
  std::future<int> error = seized->get_future();
  // Only the thread that seized a task may wait for it and let it go on.
  const auto work = [guest, seized, follower = follower_] {
    // The guest stays where it is; it first stops when it executes, so that none of the calls
    // before, which are jailrun's own, is seen.
    const bool held = ::ptrace(PTRACE_SEIZE, guest, nullptr, kFollow) == 0;
    seized->set_value(held ? 0 : errno);
    if (held) follower->run();
  };
  try {
    thread_ = std::thread(work);
  } catch (const std::system_error& failed) {
    return std::unexpected(Error{Stage::None, "trace", failed.code().value(),
                                 "cannot start a thread for the trace",
                                 "raise the limit of processes of this user"});
  }
  if (const int errno_value = error.get(); errno_value != 0)
    return std::unexpected(refused(errno_value));
  return {};
}

Trace Tracer::finish() {
  if (thread_.joinable()) thread_.join();
  follower_->trace.allowed = follower_->allowed();
  return std::move(follower_->trace);
}

}  // namespace jailrun
