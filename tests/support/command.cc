#include "tests/support/command.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include "jail/sys/fd.h"

extern char** environ;

namespace jailrun::test {
namespace {

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  return {Fd(ends[0]), Fd(ends[1])};
}

std::int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

pid_t start(const Command& command, const Pipe& in, const Pipe& out, const Pipe& err) {
  std::vector<std::string> variables;
  for (char** v = environ; *v != nullptr; ++v) variables.emplace_back(*v);
  for (const std::string& v : command.environment) {
    const std::string prefix = v.substr(0, v.find('=') + 1);
    std::erase_if(variables, [&](const std::string& old) { return old.starts_with(prefix); });
    variables.push_back(v);
  }
  std::vector<char*> argv, envp;
  for (const std::string& a : command.argv) argv.push_back(const_cast<char*>(a.c_str()));
  for (std::string& v : variables) envp.push_back(v.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.read.get(), 0);
  ::posix_spawn_file_actions_adddup2(&actions, out.write.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, err.write.get(), 2);
  if (!command.directory.empty())
    ::posix_spawn_file_actions_addchdir_np(&actions, command.directory.c_str());
  pid_t child = -1;
  if (::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), envp.data()) != 0) child = -1;
  ::posix_spawn_file_actions_destroy(&actions);
  return child;
}

}  // namespace

Outcome run_command(const Command& command) {
  Outcome outcome;
  ::signal(SIGPIPE, SIG_IGN);
  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  const pid_t child = start(command, in, out, err);
  if (child < 0) {
    outcome.err = "cannot start " + command.argv[0];
    return outcome;
  }
  in.read.reset();
  out.write.reset();
  err.write.reset();
  ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
  std::string input = command.input;
  std::int64_t kill_at = command.kill_after_ms > 0 ? now_ms() + command.kill_after_ms : 0;
  while (out.read.valid() || err.read.valid()) {
    if (input.empty()) in.write.reset();
    pollfd entries[3] = {
        {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}, {in.write.get(), POLLOUT, 0}};
    const int timeout =
        kill_at == 0 ? -1 : static_cast<int>(std::max<std::int64_t>(kill_at - now_ms(), 0));
    if (::poll(entries, 3, timeout) == 0 && kill_at != 0) {
      ::kill(child, command.kill_signal);
      kill_at = 0;
    }
    Fd* const pipes[2] = {&out.read, &err.read};
    std::string* const texts[2] = {&outcome.out, &outcome.err};
    for (int i = 0; i < 2; ++i) {
      if (!pipes[i]->valid() || entries[i].revents == 0) continue;
      char buffer[65536];
      const ssize_t n = ::read(pipes[i]->get(), buffer, sizeof buffer);
      if (n > 0) texts[i]->append(buffer, static_cast<std::size_t>(n));
      if (n == 0 || (n < 0 && errno != EINTR)) pipes[i]->reset();
    }
    if (in.write.valid() && entries[2].revents != 0) {
      const ssize_t n = ::write(in.write.get(), input.data(), input.size());
      if (n > 0) input.erase(0, static_cast<std::size_t>(n));
      if (n < 0 && errno != EAGAIN) in.write.reset();
    }
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

std::string jailrun_program() { return std::string(JAILRUN_BIN_DIR) + "/jailrun"; }

}  // namespace jailrun::test
