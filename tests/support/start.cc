#include "tests/support/start.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

#include "jail/confine/ids.h"
#include "tests/support/command.h"
#include "tests/support/live.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;

std::string start() {
  const char* start = std::getenv("JAILRUN_TEST_START");
  return start == nullptr ? "cold" : start;
}

std::set<std::string> pipes_of(pid_t pid) {
  std::set<std::string> pipes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
    const std::string target = fs::read_symlink(entry.path(), error).string();
    if (target.starts_with("pipe:")) pipes.insert(target);
  }
  return pipes;
}

std::vector<pid_t> processes() {
  std::vector<pid_t> pids;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename().string();
    if (std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; }))
      pids.push_back(std::stoi(name));
  }
  std::ranges::sort(pids);
  return pids;
}

// The pid of a process in its own namespace.
pid_t innermost(pid_t pid) {
  std::istringstream numbers(status_field(pid, "NSpid"));
  pid_t last = -1;
  for (pid_t number; numbers >> number;) last = number;
  return last;
}

}  // namespace

namespace {

// Nothing delegates a cgroup to that user: the policy that may do without.
std::vector<std::string> as_plain_user(const std::vector<std::string>& argv) {
  std::vector<std::string> plain = {JAILRUN_SOURCE_DIR "/tests/support/as_user",
                                    start() == "plain_own" ? "own" : "range",
                                    argv[0],
                                    argv[1],
                                    "--cold",
                                    "--policy",
                                    "python-unlimited"};
  bool options = true;
  for (std::size_t i = 2; i < argv.size(); ++i) {
    options = options && argv[i] != "--";
    const bool same = options && argv[i] == "--policy" && i + 1 < argv.size() &&
                      (argv[i + 1] == "python" || argv[i + 1] == "exec");
    if (same)
      ++i;
    else
      plain.push_back(argv[i]);
  }
  return plain;
}

}  // namespace

bool is_plain_start() { return start().starts_with("plain"); }

GuestIds guest_ids() {
  if (start() == "plain_own") return {1'899'999'000, 1, "1899999001"};
  if (start() == "plain_range") return {1'899'000'000, 1000, ""};
  return {kUidBase, kUidCount + kWorldCount * kWorldUids, ""};
}

bool is_warm_start() { return start() == "parked" || start() == "forked"; }

std::vector<std::string> as_started(const std::vector<std::string>& argv) {
  const char* feature = std::getenv("JAILRUN_DISABLE_FEATURE");
  if (feature != nullptr && !argv.empty() && argv[0] == jailrun_program()) {
    std::vector<std::string> without = {JAILRUN_BIN_DIR "/../tests/older_kernel", feature};
    without.insert(without.end(), argv.begin(), argv.end());
    return without;
  }
  const bool verb =
      argv.size() > 1 && argv[0] == jailrun_program() && (argv[1] == "exec" || argv[1] == "run");
  if (is_plain_start() && verb) return as_plain_user(argv);
  if (!is_warm_start() || argv.size() < 3 || argv[0] != jailrun_program() || argv[1] != "exec")
    return argv;
  std::string policy = "python-exec";
  std::vector<std::string> options, command;
  for (std::size_t i = 2; i < argv.size(); ++i) {
    if (argv[i] == "--") {
      command.assign(argv.begin() + static_cast<std::ptrdiff_t>(i) + 1, argv.end());
      break;
    }
    const std::string value = i + 1 < argv.size() ? argv[i + 1] : "";
    if (argv[i] == "--policy") {
      if (value != "python" && value != "exec") return argv;
      if (value == "python" && policy == "python-exec") policy = "python";
      ++i;
    } else if (argv[i] == "--set" && value.starts_with("files.exec=")) {
      policy = value == "files.exec=true" ? "python-exec" : "python";
      ++i;
    } else {
      options.push_back(argv[i]);
    }
  }
  // Read by the client that is started next.
  ::setenv("JAILRUN_SOCKET", ("/run/jailrun-test/" + start()).c_str(), 1);
  std::vector<std::string> warm = {argv[0], "run", "--warm", "--policy", policy};
  warm.insert(warm.end(), options.begin(), options.end());
  warm.push_back(JAILRUN_SOURCE_DIR "/tests/guests/exec.py");
  warm.insert(warm.end(), command.begin(), command.end());
  return warm;
}

pid_t warm_guest(pid_t client) {
  const std::set<std::string> shared = pipes_of(client);
  pid_t guest = -1;
  for (const pid_t pid : processes()) {
    // In a jail below a world: host, world, jail.
    if (pid == client || std::ranges::count(status_field(pid, "NSpid"), '\t') != 2) continue;
    const std::set<std::string> pipes = pipes_of(pid);
    const bool related =
        std::ranges::any_of(pipes, [&](const std::string& pipe) { return shared.contains(pipe); });
    if (related && (guest < 0 || innermost(pid) < innermost(guest))) guest = pid;
  }
  return guest;
}

pid_t warm_init(pid_t guest) {
  const std::string ns = proc_link(guest, "ns/pid");
  for (const pid_t pid : processes()) {
    if (!ns.empty() && proc_link(pid, "ns/pid") == ns && innermost(pid) == 1) return pid;
  }
  return -1;
}

}  // namespace jailrun::test
