#include "tests/support/live.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/support/census.h"
#include "tests/support/start.h"

namespace jailrun::test {
namespace {

constexpr int kPatienceMs = 20'000;

std::int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  return {Fd(ends[0]), Fd(ends[1])};
}

}  // namespace

Live::Live(const std::vector<std::string>& words, const std::function<void()>& prepare) {
  const std::vector<std::string> argv = as_started(words);
  ::signal(SIGPIPE, SIG_IGN);
  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  std::vector<char*> pointers;
  for (const std::string& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(in.read.get(), 0);
    ::dup2(out.write.get(), 1);
    ::dup2(err.write.get(), 2);
    ::signal(SIGPIPE, SIG_DFL);
    if (prepare) prepare();
    ::execv(pointers[0], pointers.data());
    ::_exit(255);
  }
  in_ = std::move(in.write);
  out_ = std::move(out.read);
  err_ = std::move(err.read);
}

Live::~Live() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::string Live::read_line() {
  const std::int64_t until = now_ms() + kPatienceMs;
  for (;;) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    pollfd entry{out_.get(), POLLIN, 0};
    const std::int64_t left = until - now_ms();
    if (left <= 0 || ::poll(&entry, 1, static_cast<int>(left)) <= 0) return {};
    char chunk[4096];
    const ssize_t n = ::read(out_.get(), chunk, sizeof chunk);
    if (n <= 0) return {};
    buffer_.append(chunk, static_cast<std::size_t>(n));
  }
}

void Live::write(const std::string& text) { (void)write_all(in_.get(), text.data(), text.size()); }

void Live::send(int signal) const { ::kill(pid_, signal); }

Outcome Live::finish() {
  Outcome outcome;
  outcome.out = std::move(buffer_);
  in_.reset();
  Fd* const pipes[2] = {&out_, &err_};
  std::string* const texts[2] = {&outcome.out, &outcome.err};
  while (out_.valid() || err_.valid()) {
    pollfd entries[2] = {{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}};
    if (::poll(entries, 2, 3 * kPatienceMs) <= 0) break;
    for (int i = 0; i < 2; ++i) {
      if (!pipes[i]->valid() || entries[i].revents == 0) continue;
      char chunk[65536];
      const ssize_t n = ::read(pipes[i]->get(), chunk, sizeof chunk);
      if (n > 0) texts[i]->append(chunk, static_cast<std::size_t>(n));
      if (n == 0 || (n < 0 && errno != EINTR)) pipes[i]->reset();
    }
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

pid_t Live::init() const {
  if (is_warm_start()) return warm_init(warm_guest(pid_));
  const std::vector<pid_t> found = children(pid_);
  return found.empty() ? -1 : found.front();
}

pid_t Live::guest() const {
  if (is_warm_start()) return warm_guest(pid_);
  const std::vector<pid_t> found = children(init());
  return found.empty() ? -1 : found.front();
}

std::vector<pid_t> children(pid_t pid) {
  std::vector<pid_t> found;
  std::istringstream text(proc_file(pid, "task/" + std::to_string(pid) + "/children"));
  for (pid_t child = 0; text >> child;) found.push_back(child);
  return found;
}

std::string proc_file(pid_t pid, const std::string& file) {
  std::ifstream stream("/proc/" + std::to_string(pid) + "/" + file);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string status_field(pid_t pid, const std::string& name) {
  std::istringstream text(proc_file(pid, "status"));
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with(name + ":")) continue;
    const std::size_t first = line.find_first_not_of(" \t", name.size() + 1);
    if (first == std::string::npos) return {};
    return line.substr(first, line.find_last_not_of(" \t") - first + 1);
  }
  return "no such line";
}

std::string proc_link(pid_t pid, const std::string& file) {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/" + file, error).string();
}

Fd open_pidfd(pid_t pid) { return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

bool ends_within(const Fd& pidfd, int ms) {
  pollfd entry{pidfd.get(), POLLIN, 0};
  return pidfd.valid() && ::poll(&entry, 1, ms) == 1;
}

Outcome jailrun(std::vector<std::string> arguments, const std::string& input) {
  arguments.insert(arguments.begin(), jailrun_program());
  return run_command(
      {.argv = as_started(arguments), .input = input, .environment = {}, .directory = {}});
}

std::string left_for_good(const std::map<std::string, std::string>& before) {
  const auto ours = [](const std::string& name) {
    const bool elsewhere =
        name.starts_with("file /tmp/") || name.starts_with("file /var/lib/jailrun");
    return !elsewhere && !name.starts_with("file /run/jailrun/plan-");
  };
  std::map<std::string, std::string> left;
  const std::int64_t until = now_ms() + kPatienceMs;
  for (bool first = true; first || (!left.empty() && now_ms() < until); first = false) {
    const auto now = take_census();
    std::map<std::string, std::string> still;
    for (const auto& [name, detail] : now) {
      if (before.contains(name) || !ours(name)) continue;
      if (first || left.contains(name)) still.emplace(name, detail);
    }
    left = std::move(still);
    // Another jail of this host may have come just now; what it uses goes with it.
    if (!left.empty()) ::poll(nullptr, 0, 50);
  }
  return left_behind({}, left);
}

}  // namespace jailrun::test
