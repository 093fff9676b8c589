// What a session costs: to make, to execute in, to save, to roll back, to keep.
//
//     session_bench [--socket PATH] [--policy NAME] [--mib N] [--runs N] [--idle N | --calls]
//                   [--json]
//
// --mib: what is loaded as a DataFrame before states are saved; the policy must allow it twice
// over.
// --idle: nothing but this many sessions, in each of which one cell has run, and what they hold:
// proportional memory of their processes, memory of the kernel, and by how much less there is for
// others. jaild must allow as many (--sessions-per-user, LimitNOFILE: twenty for each).
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "jail/launch/timeline.h"
#include "jail/session/session.h"

namespace {

using namespace jailrun;

struct Options {
  std::string socket = wire::socket_path(), policy = "python";
  int mib = 50, runs = 100, idle = 0;
  bool json = false, calls = false;
};

[[noreturn]] void stop(const std::string& what) {
  std::fprintf(stderr, "session_bench: %s\n", what.c_str());
  std::exit(1);
}

template <typename T>
T get(Expected<T> value) {
  if (!value) stop(value.error().line());
  return std::move(*value);
}
void check(const Expected<void>& done) {
  if (!done) stop(done.error().line());
}

void must(Session& session, const std::string& code) {
  const CellAnswer answer = get(session.execute(code));
  if (!answer.ok()) stop("a cell failed: " + answer.head.dump());
}

struct Figures {
  std::vector<double> us;
  void add(std::int64_t since) { us.push_back(static_cast<double>(monotonic_ns() - since) / 1e3); }
};

class Report {
 public:
  explicit Report(bool json) : json_(json) {}
  ~Report() {
    if (json_) std::printf("%s\n", all_.dump(2).c_str());
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  void add(const std::string& name, Figures figures) {
    std::ranges::sort(figures.us);
    const auto at = [&](double part) {
      return figures
          .us[static_cast<std::size_t>(part * static_cast<double>(figures.us.size() - 1))];
    };
    all_[name] = {{"p50_us", at(.5)}, {"p90_us", at(.9)}, {"p99_us", at(.99)}};
    if (!json_)
      std::printf("%-44s p50 %9.1f  p90 %9.1f  p99 %9.1f us\n", name.c_str(), at(.5), at(.9),
                  at(.99));
  }
  void add(const std::string& name, double value, const char* unit) {
    all_[name] = {{"value", value}, {"unit", unit}};
    if (!json_) std::printf("%-44s %9.2f %s\n", name.c_str(), value, unit);
  }

 private:
  bool json_;
  nlohmann::ordered_json all_;
};

double available_mib() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  double value = 0;
  while (file >> key >> value) {
    if (key == "MemAvailable:") return value / 1024;
    file.ignore(100, '\n');
  }
  return 0;
}

void measure_calls(Client& client, const LeaseRequest& request, const Options& options,
                   Report& report) {
  Figures create, first, both, idle, busy;
  for (int i = 0; i < options.runs / 5 + 1; ++i) {
    ::usleep(20'000);  // the pool fills again
    const std::int64_t asked = monotonic_ns();
    Session session = get(Session::create(client, request));
    create.add(asked);
    const std::int64_t begun = monotonic_ns();
    must(session, "x = 1");
    first.add(begun);
    both.add(asked);
    check(session.close());
  }
  Session session = get(Session::create(client, request));
  must(session, "x = 1");
  for (int i = 0; i < options.runs; ++i) {
    const std::int64_t begun = monotonic_ns();
    must(session, "x");
    busy.add(begun);
  }
  for (int i = 0; i < options.runs; ++i) {
    ::usleep(3000);
    const std::int64_t begun = monotonic_ns();
    must(session, "x");
    idle.add(begun);
  }
  check(session.close());
  report.add("create", create);
  report.add("first cell", first);
  report.add("create and first cell", both);
  report.add("execute `x`, one after the other", busy);
  report.add("execute `x`, 3 ms after the last", idle);
}

// A large file shown to a jail that waits: what a session costs with it, and without.
void measure_file(Client& client, LeaseRequest request, const Options& options, Report& report) {
  char path[] = P_tmpdir "/session_bench-XXXXXX";
  const Fd file(::mkstemp(path));  // with a name: what has none cannot be mounted
  if (!file.valid() || ::ftruncate(file.get(), 100 << 20) != 0) stop("no room for 100 MB");
  Figures with, without;
  for (int i = 0; i < options.runs / 5 + 1; ++i) {
    for (const bool given : {false, true}) {
      request.files.clear();
      if (given) request.files.push_back({"big.csv", file.get()});
      ::usleep(20'000);  // the pool fills again
      const std::int64_t begun = monotonic_ns();
      Session session = get(Session::create(client, request));
      (given ? with : without).add(begun);
      check(session.close());
    }
  }
  ::unlink(path);
  report.add("create, beside the next", without);
  report.add("create with a file of 100 MB", with);
}

void measure_states(Client& client, const LeaseRequest& request, const Options& options,
                    Report& report) {
  Session session = get(Session::create(client, request));
  must(session, "import numpy as np, pandas as pd\ndf = pd.DataFrame({'x': np.ones(" +
                    std::to_string(options.mib) + " << 17)})\nn = 0");
  Figures save, back, trial, next, branch;
  double memory = 0;
  for (int i = 0; i < options.runs; ++i) {
    const double before = available_mib();
    std::int64_t begun = monotonic_ns();
    const std::uint32_t state = get(session.savepoint());
    save.add(begun);
    memory += (before - available_mib()) / options.runs;
    must(session, "n += 1");
    begun = monotonic_ns();
    check(session.rollback(state));
    back.add(begun);
    begun = monotonic_ns();
    must(session, "n += 1");
    next.add(begun);
    check(session.drop(state));
    begun = monotonic_ns();
    (void)get(session.execute("n += 1", {.transactional = true}));
    trial.add(begun);
    begun = monotonic_ns();
    Session second = get(session.branch());
    branch.add(begun);
    check(second.close());
  }
  const std::string with = " with " + std::to_string(options.mib) + " MiB";
  report.add("save" + with, save);
  report.add("roll back" + with, back);
  report.add("first cell after it" + with, next);
  report.add("transactional `n += 1`" + with, trial);
  report.add("branch" + with, branch);
  report.add("memory of a saved state" + with, memory, "MiB");
  check(session.close());
}

// --- idle ones ----------------------------------------------------------------------------------

namespace fs = std::filesystem;

double number_in(const fs::path& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  double value = 0;
  if (key.empty()) return file >> value ? value : 0;
  while (file >> word)
    if (word == key && file >> value) return value;
  return 0;
}

pid_t daemon_pid(const Client& client) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(client.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) stop("who is jaild?");
  return peer.pid;
}

// Of a process and all below it, in MiB.
double pss_mib(pid_t pid) {
  const fs::path proc = "/proc/" + std::to_string(pid);
  double sum = number_in(proc / "smaps_rollup", "Pss:") / 1024;
  std::ifstream children(proc / "task" / std::to_string(pid) / "children");
  for (pid_t child = 0; children >> child;) sum += pss_mib(child);
  return sum;
}

// What the kernel holds for jails: page tables, stacks, sockets, tmpfs inodes.
double kernel_mib() {
  double sum = 0;
  std::error_code error;
  fs::recursive_directory_iterator at("/sys/fs/cgroup", error);
  for (const fs::recursive_directory_iterator end; at != end; at.increment(error)) {
    if (error) break;
    if (!at->is_directory() || !at->path().filename().string().starts_with("jailrun-")) continue;
    sum += number_in(at->path() / "memory.kmem.usage_in_bytes", "");
    if (!fs::exists(at->path() / "cgroup.subtree_control")) continue;
    if (at->path().filename().string().starts_with("jailrun-world-")) continue;
    sum += number_in(at->path() / "memory.stat", "kernel");
  }
  return sum / (1 << 20);
}

void measure_idle(Client& client, const LeaseRequest& request, int count, Report& report) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const auto waiting = [&] {
    double parked = 0;
    for (const Metric& metric : get(client.stats()))
      if (metric.name == "jaild_parked") parked += metric.value;
    return parked;
  };
  const pid_t daemon = daemon_pid(client);
  std::vector<Session> sessions;
  const double parked = waiting();
  const double pss = pss_mib(daemon), kernel = kernel_mib(), available = available_mib();
  for (int i = 0; i < count; ++i) {
    Expected<Session> session = Session::create(client, request);
    if (!session) {
      std::fprintf(stderr, "session_bench: no more than %d: %s\n", i,
                   session.error().line().c_str());
      break;
    }
    must(*session, "x = 1");
    sessions.push_back(std::move(*session));
  }
  // As many wait as before: those in stock are not counted.
  for (int i = 0; waiting() != parked && i < 9000; ++i) ::usleep(10'000);
  const auto all = static_cast<double>(sessions.size());
  report.add("idle sessions", all, "");
  report.add("proportional memory of one (Pss)", (pss_mib(daemon) - pss) / all, "MiB");
  report.add("memory of the kernel for one", (kernel_mib() - kernel) / all, "MiB");
  report.add("less in MemAvailable for one", (available - available_mib()) / all, "MiB");
  Figures first;
  for (Session& session : sessions) {
    const std::int64_t begun = monotonic_ns();
    must(session, "x");
    first.add(begun);
  }
  report.add("execute `x` in each of them", first);
  for (Session& session : sessions) check(session.close());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("What sessions of jaild cost", "session_bench");
  app.add_option("--socket", options.socket, "of jaild")->capture_default_str();
  app.add_option("--policy", options.policy, "of the sessions")->capture_default_str();
  app.add_option("--mib", options.mib, "size of the DataFrame")->capture_default_str();
  app.add_option("--runs", options.runs, "of each thing")->capture_default_str();
  app.add_option("--idle", options.idle, "only this: so many idle sessions, and what they hold");
  app.add_flag("--calls", options.calls, "only this: making sessions and executing in them");
  app.add_flag("--json", options.json, "as JSON");
  CLI11_PARSE(app, argc, argv);
  Client client = get(Client::connect(options.socket));
  LeaseRequest request;
  request.policy = options.policy;
  Report report(options.json);
  if (options.idle > 0) {
    measure_idle(client, request, options.idle, report);
    return 0;
  }
  measure_calls(client, request, options, report);
  if (options.calls) return 0;
  measure_file(client, request, options, report);
  measure_states(client, request, options, report);
}
