#include "agent/base/subprocess.h"

#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

namespace jailrun::agent {
namespace {

constexpr auto kGrace = std::chrono::seconds(5);

Error spawn_error(const std::string& program, int errno_value, const char* what) {
  return Error{Stage::None, program, errno_value, std::string("cannot ") + what + " " + program,
               "check that it is installed beside this program"};
}

Expected<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return std::unexpected(sys_error(Stage::None, "pipe", "cannot make a pipe",
                                     "raise the limit of open files (ulimit -n)"));
  Pipe made{Fd(ends[0]), Fd(ends[1])};
  fcntl(made.read.get(), F_SETFL, O_NONBLOCK);
  return made;
}

// The input as a file in memory: no feeding loop, and no SIGPIPE if the program does not read.
Expected<Fd> make_input(const std::string& text) {
  Fd file(memfd_create("input", MFD_CLOEXEC));
  if (!file.valid())
    return std::unexpected(
        sys_error(Stage::None, "input", "cannot make a file in memory", "free some memory"));
  if (int failed = write_all(file.get(), text.data(), text.size()); failed != 0)
    return std::unexpected(
        Error{Stage::None, "input", failed, "cannot write the input", "free some memory"});
  lseek(file.get(), 0, SEEK_SET);
  return file;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const auto& text : strings) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

// Its own process group: a Ctrl-C reaches it once, from us, and not a second time from the
// terminal.
int spawn(const Command& command, int in, int out, int err, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  auto argv = pointers(command.argv);
  auto environment = pointers(command.environment);
  int failed = posix_spawn(pid, argv[0], &actions, &attributes, argv.data(), environment.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return failed;
}

// Reads what is there; false at the end of the stream.
bool drain(int fd, std::string& into, std::size_t limit, bool& over) {
  std::array<char, 65536> block;
  while (true) {
    ssize_t got = read(fd, block.data(), block.size());
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    auto room = limit - into.size();
    auto size = static_cast<std::size_t>(got);
    into.append(block.data(), std::min(room, size));
    over = over || size > room;
  }
}

// What the loop watches: both streams, the end of the process, a cancellation.
struct Watch {
  const Command& command;
  const Cancel& cancel;
  pid_t pid;
  Fd pidfd, out, err;
  bool stopping = false, cancelled = false;
  Deadline kill_at = Deadline::max();

  void stop() {
    stopping = true;
    kill_at = Clock::now() + kGrace;
    kill(pid, SIGINT);
  }

  void loop(Finished& done) {
    while (true) {
      std::array<pollfd, 4> polled{{{out.get(), POLLIN, 0},
                                    {err.get(), POLLIN, 0},
                                    {pidfd.get(), POLLIN, 0},
                                    {stopping ? -1 : cancel.fd(), POLLIN, 0}}};
      poll(polled.data(), polled.size(), poll_ms(stopping ? kill_at : command.deadline));
      read_streams(done);
      if (polled[2].revents != 0) return;
      if (polled[3].revents != 0) {
        cancelled = true;
        stop();
      }
      if (!stopping && Clock::now() >= command.deadline) {
        done.late = true;
        stop();
      }
      if (stopping && Clock::now() >= kill_at) {
        kill(pid, SIGKILL);
        kill_at += kGrace;
      }
    }
  }

  void read_streams(Finished& done) {
    if (out.valid() && !drain(out.get(), done.out, command.stdout_limit_bytes, done.stdout_over))
      out.reset();
    if (err.valid() && !drain(err.get(), done.err, command.stderr_limit_bytes, done.stderr_over))
      err.reset();
  }
};

}  // namespace

Expected<Finished> run_command(const Command& command, const Cancel& cancel) {
  if (cancel.requested()) return std::unexpected(cancelled_error());
  TRY(Fd input, make_input(command.input));
  TRY(Pipe out, make_pipe());
  TRY(Pipe err, make_pipe());
  pid_t pid = -1;
  if (int failed = spawn(command, input.get(), out.write.get(), err.write.get(), &pid); failed != 0)
    return std::unexpected(spawn_error(command.argv[0], failed, "start"));
  out.write.reset();
  err.write.reset();

  Finished done;
  Watch watch{command,
              cancel,
              pid,
              Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))),
              std::move(out.read),
              std::move(err.read)};
  bool watched = watch.pidfd.valid();
  if (watched)
    watch.loop(done);
  else
    kill(pid, SIGKILL);
  while (waitpid(pid, &done.wait_status, 0) < 0 && errno == EINTR) continue;
  if (!watched) return std::unexpected(spawn_error(command.argv[0], EMFILE, "watch"));
  watch.read_streams(done);
  if (watch.cancelled) return std::unexpected(cancelled_error());
  return done;
}

}  // namespace jailrun::agent
