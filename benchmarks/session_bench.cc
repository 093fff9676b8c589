// What a session costs: to make, to execute in, to save, to roll back, to keep.
//
//     session_bench [--socket PATH] [--policy NAME] [--mib N] [--runs N] [--sessions N] [--json]
//
// --mib: what is loaded as a DataFrame before states are saved; the policy must allow it twice
// over.
// --sessions: how many idle ones the memory of one is measured with.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "jail/launch/timeline.h"
#include "jail/session/session.h"

namespace {

using namespace jailrun;

struct Options {
  std::string socket = wire::socket_path(), policy = "python";
  int mib = 50, runs = 100, sessions = 0;
  bool json = false;
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
  Figures create, first, idle, busy;
  for (int i = 0; i < options.runs / 5 + 1; ++i) {
    ::usleep(20'000);  // the pool fills again
    std::int64_t begun = monotonic_ns();
    Session session = get(Session::create(client, request));
    create.add(begun);
    begun = monotonic_ns();
    must(session, "x = 1");
    first.add(begun);
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
  report.add("execute `x`, one after the other", busy);
  report.add("execute `x`, 3 ms after the last", idle);
}

void measure_states(Client& client, const LeaseRequest& request, const Options& options,
                    Report& report) {
  Session session = get(Session::create(client, request));
  must(session, "import numpy as np, pandas as pd\ndf = pd.DataFrame({'x': np.ones(" +
                    std::to_string(options.mib) + " << 17)})\nn = 0");
  Figures save, back, trial, next;
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
  }
  const std::string with = " with " + std::to_string(options.mib) + " MiB";
  report.add("save" + with, save);
  report.add("roll back" + with, back);
  report.add("first cell after it" + with, next);
  report.add("transactional `n += 1`" + with, trial);
  report.add("memory of a saved state" + with, memory, "MiB");
  check(session.close());
}

void measure_memory(Client& client, const LeaseRequest& request, int count, Report& report) {
  const auto waiting = [&] {
    double parked = 0;
    for (const Metric& metric : get(client.stats()))
      if (metric.name == "jaild_parked") parked += metric.value;
    return parked;
  };
  std::vector<Session> sessions;
  const double parked = waiting(), before = available_mib();
  for (int i = 0; i < count; ++i) {
    sessions.push_back(get(Session::create(client, request)));
    must(sessions.back(), "x = 1");
  }
  while (waiting() < parked) ::usleep(10'000);
  report.add("memory of an idle session", (before - available_mib()) / count, "MiB");
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
  app.add_option("--sessions", options.sessions, "idle sessions, for their memory");
  app.add_flag("--json", options.json, "as JSON");
  CLI11_PARSE(app, argc, argv);
  Client client = get(Client::connect(options.socket));
  LeaseRequest request;
  request.policy = options.policy;
  Report report(options.json);
  measure_calls(client, request, options, report);
  measure_states(client, request, options, report);
  if (options.sessions > 0) measure_memory(client, request, options.sessions, report);
}
