#include "tools/full/probe_child.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "jail/confine/ids.h"
#include "jail/sys/fd.h"
#include "jail/sys/uapi.h"

namespace jailrun::full {
namespace {

constexpr int kPatienceMs = 10'000;
constexpr std::size_t kMaxText = 65536;

// Reads until end-of-file, `kMaxText` bytes or our patience ends; false in the last case.
bool read_until_end(int fd, std::string& text) {
  char buffer[4096];
  while (text.size() < kMaxText) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = poll(&waiting, 1, kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return true;
}

int reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// What a child answers: its errno as its exit status.
[[noreturn]] void answer(const std::function<int(int)>& what, int text_fd) {
  _exit(what(text_fd) & 0xff);
}

Tried collect(pid_t pid, const Fd& read_end) {
  Tried tried;
  if (!read_until_end(read_end.get(), tried.text)) {
    kill(pid, SIGKILL);
    reap(pid);
    tried.error = ETIMEDOUT;
    return tried;
  }
  const int status = reap(pid);
  tried.error = WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
  return tried;
}

bool make_pipe(Fd& read_end, Fd& write_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  read_end = Fd(ends[0]);
  write_end = Fd(ends[1]);
  return true;
}

// As for a jail: its parent writes the maps, one id of the host inside.
bool map_one_id(pid_t child) {
  const std::string proc = "/proc/" + std::to_string(child) + "/";
  const bool root = geteuid() == 0;
  const auto line = [&](unsigned own) {
    return "0 " + std::to_string(root ? kUidBase : own) + " 1";
  };
  write_file_at(AT_FDCWD, (proc + "setgroups").c_str(), "deny");
  return write_file_at(AT_FDCWD, (proc + "gid_map").c_str(), line(getegid())) == 0 &&
         write_file_at(AT_FDCWD, (proc + "uid_map").c_str(), line(geteuid())) == 0;
}

}  // namespace

Tried try_in_child(const std::function<int(int)>& what) {
  Fd read_end, write_end;
  if (!make_pipe(read_end, write_end)) return {errno, ""};
  const pid_t pid = fork();
  if (pid < 0) return {errno, ""};
  if (pid == 0) answer(what, write_end.get());
  write_end.reset();
  return collect(pid, read_end);
}

Tried try_in_namespaces(unsigned long flags, const std::function<int(int)>& what) {
  Fd read_end, write_end, gate_read, gate_write;
  if (!make_pipe(read_end, write_end) || !make_pipe(gate_read, gate_write)) return {errno, ""};
  uapi::clone_args args{};
  args.flags = CLONE_NEWUSER | flags;
  args.exit_signal = SIGCHLD;
  const long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return {errno, ""};
  if (pid == 0) {
    gate_write.reset();
    char go = 0;
    if (read(gate_read.get(), &go, 1) != 1) _exit(EPERM);  // the maps could not be written
    answer(what, write_end.get());
  }
  write_end.reset();
  gate_read.reset();
  if (map_one_id(static_cast<pid_t>(pid))) write_all(gate_write.get(), "g", 1);
  gate_write.reset();
  return collect(static_cast<pid_t>(pid), read_end);
}

Tried try_clone_into(int cgroup) {
  uapi::clone_args args{};
  args.flags = uapi::kCloneIntoCgroup;
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<std::uint64_t>(cgroup);
  const long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return {errno, ""};
  if (pid == 0) _exit(0);
  reap(static_cast<pid_t>(pid));
  return {};
}

Ran run_program(const std::vector<std::string>& argv) {
  Ran ran;
  // Files, not pipes: two pipes read one after the other could block a program that fills the
  // second.
  const Fd out(memfd_create("out", MFD_CLOEXEC)), err(memfd_create("err", MFD_CLOEXEC));
  std::vector<char*> pointers;
  for (const std::string& word : argv) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err.get(), 2);
  pid_t pid = 0;
  const int failed =
      posix_spawn(&pid, argv[0].c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    ran.err = argv[0] + ": cannot be started";
    return ran;
  }
  const int status = reap(pid);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  for (const auto& [fd, text] : {std::pair{out.get(), &ran.out}, std::pair{err.get(), &ran.err}}) {
    text->resize(kMaxText);
    const ssize_t got = pread(fd, text->data(), kMaxText, 0);
    text->resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  }
  return ran;
}

}  // namespace jailrun::full
