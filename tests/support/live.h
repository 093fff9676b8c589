// A program that is still running: looked at, talked to and signalled from outside.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "jail/sys/fd.h"
#include "tests/support/command.h"

namespace jailrun::test {

class Live {
 public:
  // Starts it with pipes on its three streams. `prepare` runs in the child just before exec, so
  // that a test can leave it a hostile inheritance (descriptors, ignored signals, a personality);
  // there stdin, stdout and stderr are already in place.
  explicit Live(const std::vector<std::string>& argv, const std::function<void()>& prepare = {});
  Live(const Live&) = delete;
  Live& operator=(const Live&) = delete;
  ~Live();  // kills it, if it still lives

  pid_t pid() const { return pid_; }
  // The next line that it writes on stdout, without the newline; empty after its end or after 20
  // seconds.
  std::string read_line();
  void write(const std::string& text);
  void close_stdin() { in_.reset(); }
  void close_stdout() { out_.reset(); }
  void close_stderr() { err_.reset(); }
  void send(int signal) const;
  // Reads what is left of its output and waits for its end.
  Outcome finish();

  // Of a jailrun whose guest runs: pid 1 of the jail and the guest's first process, as the host
  // sees them.
  pid_t init() const;
  pid_t guest() const;

 private:
  pid_t pid_ = -1;
  Fd in_, out_, err_;
  std::string buffer_;
};

// Children of a process; a process that has ended has none.
std::vector<pid_t> children(pid_t pid);
// The whole of /proc/PID/FILE; empty where it cannot be read.
std::string proc_file(pid_t pid, const std::string& file);
// The value of one line of /proc/PID/status: status_field(pid, "Seccomp") is "2".
std::string status_field(pid_t pid, const std::string& name);
// Where a link of /proc/PID leads: "ns/net", "exe".
std::string proc_link(pid_t pid, const std::string& file);
// An open pidfd; invalid where there is no such process.
Fd open_pidfd(pid_t pid);
// True once the process behind the pidfd has ended, within `ms`.
bool ends_within(const Fd& pidfd, int ms);

// As run_command, for `jailrun VERB OPTIONS…`.
Outcome jailrun(std::vector<std::string> arguments, const std::string& input = {});

// What left_behind() reports of the jail's own kinds of things (processes, cgroups, mounts,
// descriptors, files in the run directory and /dev/shm; not cached Plans, which are meant to stay,
// and not what other programs do in /tmp), once it has stayed for longer than other jails on this
// host live. Empty: nothing was left.
std::string left_for_good(const std::map<std::string, std::string>& before);

}  // namespace jailrun::test
