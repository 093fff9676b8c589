#include "jail/pool/branch.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <string>
#include <vector>

namespace jailrun {
namespace {

std::string proc_file(pid_t pid, const char* name) {
  return read_file_at(AT_FDCWD, ("/proc/" + std::to_string(pid) + "/" + name).c_str());
}

pid_t number_in(std::string_view text) {
  pid_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// The last of the pids that a process has, one for each namespace: the jail's own. 0: it is gone.
pid_t pid_inside(pid_t pid) {
  const std::string status = proc_file(pid, "status");
  const std::size_t line = status.find("\nNSpid:");
  if (line == std::string::npos) return 0;
  const std::size_t end = status.find('\n', line + 1);
  const std::size_t last = status.find_last_of("\t ", end);
  return last == std::string::npos ? 0 : number_in(std::string_view(status).substr(last + 1));
}

// Its POSIX session. The name before it may hold anything, ')' too.
pid_t session_of(pid_t pid) {
  const std::string stat = proc_file(pid, "stat");
  std::size_t at = stat.rfind(')');
  for (int field = 0; field < 4 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  return at == std::string::npos ? 0 : number_in(std::string_view(stat).substr(at + 1));
}

Fd open_pidfd(pid_t pid) { return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

bool has(const std::vector<pid_t>& members, pid_t pid) {
  return std::ranges::find(members, pid) != members.end();
}

Error unsound(const std::string& what) {
  return Error{Stage::None, "branch", 0, what, "the session itself goes on as it was"};
}

}  // namespace

Expected<std::unique_ptr<Branch>> Branch::open(const Cgroup& cgroup, pid_t inside,
                                               const std::array<int, 5>& ends) {
  const std::vector<pid_t> members = cgroup.members();
  // 1 is the jail's init, which is not the guest's to give away.
  const auto found = inside <= 1 ? members.end() : std::ranges::find_if(members, [&](pid_t each) {
    return pid_inside(each) == inside;
  });
  if (found == members.end())
    return std::unexpected(unsound("the session has no process " + std::to_string(inside)));
  Fd pidfd = open_pidfd(*found);
  // Whoever still is of this jail and bears that number has borne it since before the descriptor.
  if (!pidfd.valid() || !has(cgroup.members(), *found) || pid_inside(*found) != inside)
    return std::unexpected(unsound("the branch has ended already"));
  std::unique_ptr<Branch> branch(new Branch(std::move(pidfd), *found));
  WarmJail::Ends& mine = branch->ends_;
  Fd* const places[] = {&mine.request, &mine.answer, &mine.in, &mine.out, &mine.err};
  for (std::size_t i = 0; i < ends.size(); ++i) {
    Fd taken(static_cast<int>(::syscall(SYS_pidfd_getfd, branch->pidfd(), ends[i], 0)));
    struct statfs kind{};
    // Nothing else is handed on, and only the one side of it that its reader or writer needs.
    const bool writes = i == 0 || i == 2;
    if (!taken.valid() || ::fstatfs(taken.get(), &kind) != 0 || kind.f_type != PIPEFS_MAGIC ||
        (::fcntl(taken.get(), F_GETFL) & O_ACCMODE) != (writes ? O_WRONLY : O_RDONLY))
      return std::unexpected(unsound("an end of the branch is no pipe"));
    *places[i] = std::move(taken);
  }
  return branch;
}

void Branch::signal(int number) const {
  ::syscall(SYS_pidfd_send_signal, pidfd(), number, nullptr, 0);
}

void Branch::kill(const Cgroup& cgroup) const {
  signal(SIGKILL);
  // Who forks while this goes on is met in the next round.
  for (int round = 0; round < 8; ++round) {
    bool any = false;
    for (const pid_t pid : cgroup.members()) {
      if (pid == pid_ || session_of(pid) != pid_ || pid_inside(pid) <= 1) continue;
      const Fd pidfd = open_pidfd(pid);
      if (!pidfd.valid() || session_of(pid) != pid_ || !has(cgroup.members(), pid)) continue;
      any = ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0) == 0 || any;
    }
    if (!any) return;
  }
}

}  // namespace jailrun
