// What a client of jaild sees: one program on one connection, then many at once.
//
//     lease_bench [--socket PATH] [--runs N] [--seconds S] [--clients N] [--script TEXT]
//                 [--on-demand] [--json]
//
// Latencies are of one client that waits until a jail is parked (--on-demand: does not), leases,
// runs a script, reads its answer and waits for its Result. "first bytecode" is time.monotonic_ns()
// in the guest just before the script's first statement, minus our clock before write(2). In turns
// the request is written after the lease and travels with it. Throughput counts whole runs, their
// Results included, so that building and taking down are in it.
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "jail/daemon/client.h"
#include "jail/run/frames.h"

namespace {

using namespace jailrun;
using Json = nlohmann::ordered_json;

struct Options {
  std::string socket = wire::socket_path();
  int runs = 400;
  double seconds = 4;
  std::vector<int> clients = {1, 2, 8, 64};
  std::string script = "import pandas as pd\nprint(1)\n";
  bool json = false, on_demand = false;
};

[[noreturn]] void stop(const std::string& what) {
  std::fprintf(stderr, "lease_bench: %s\n", what.c_str());
  std::exit(1);
}

template <typename T>
T get(Expected<T> value) {
  if (!value) stop(value.error().line());
  return std::move(*value);
}

struct Run {
  std::string start;
  double lease_us = 0, received_us = 0, first_us = 0, answer_us = 0, result_us = 0;
  bool whole = false;
};

void drain(const Fd& fd) {
  char buffer[4096];
  while (::read(fd.get(), buffer, sizeof buffer) > 0) {
  }
}

// One lease, one script, its Result. Nothing where it was refused. `together`: jaild puts the
// request into the jail, and its way counts from the lease on.
std::optional<Run> run_once(Client& client, const std::string& request, bool together) {
  Run run;
  LeaseRequest ask;
  if (together) ask.first = request;
  const std::int64_t began = monotonic_ns();
  auto reply = get(client.lease(ask));
  if (std::holds_alternative<Refusal>(reply)) return std::nullopt;
  Leased& lease = std::get<Leased>(reply);
  const std::int64_t leased = monotonic_ns();
  lease.in.reset();
  if (!together && write_all(lease.to_request.get(), request.data(), request.size()) != 0)
    return std::nullopt;
  char buffer[sizeof(AnswerFrame)];
  const ssize_t n = ::read(lease.from_answer.get(), buffer, sizeof buffer);
  const std::int64_t answered = monotonic_ns();
  const auto answer = parse_answer({buffer, static_cast<std::size_t>(n > 0 ? n : 0)});
  drain(lease.out);
  const LeaseEnded ended = get(client.wait_ended(lease.id));
  const std::int64_t done = monotonic_ns();
  const auto us = [](std::int64_t ns) { return static_cast<double>(ns) / 1e3; };
  run.start = lease.start;
  run.lease_us = us(leased - began);
  if (answer) {
    run.received_us = us(answer->received_ns - (together ? began : leased));
    run.first_us = us(answer->first_ns - (together ? began : leased));
  }
  run.answer_us = us(answered - began);
  run.result_us = us(done - began);
  run.whole = answer.has_value() && ended.result.verdict == Verdict::Ok;
  return run;
}

double parked(Client& client) {
  for (const Metric& metric : get(client.stats())) {
    if (metric.name == "jaild_parked" && metric.policy == "python") return metric.value;
  }
  return 0;
}

Json percentiles(std::vector<double> values) {
  std::ranges::sort(values);
  const auto at = [&](double part) {
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
  };
  if (values.empty()) return nullptr;
  return {{"p50", at(.5)}, {"p90", at(.9)}, {"p99", at(.99)}, {"p99.9", at(.999)}};
}

Json measure_latency(const Options& options, const std::string& request) {
  Client client = get(Client::connect(options.socket));
  (void)run_once(client, request, true);  // from here on the daemon knows the policy
  std::map<std::string, std::map<std::string, std::vector<double>>> seen;
  for (int i = 0; i < 2 * options.runs; ++i) {
    const bool together = i % 2 == 1;
    const std::int64_t patience = monotonic_ns() + 30'000'000'000;
    while (!options.on_demand && parked(client) < 1) {
      if (monotonic_ns() > patience) stop("no jail of policy python is parked; see jaild's log");
      ::poll(nullptr, 0, 2);
    }
    ::poll(nullptr, 0, 5);  // what the refill disturbed is quiet again
    const auto run = run_once(client, request, together);
    if (!run || !run->whole) stop("a run did not end well");
    auto& of = seen[run->start];
    const std::string first = together ? "lease with request" : "request";
    const std::string whole = together ? "lease with request" : "lease, request";
    if (!together) of["lease"].push_back(run->lease_us);
    of[first + " to received"].push_back(run->received_us);
    of[first + " to first bytecode"].push_back(run->first_us);
    of[whole + ", answer"].push_back(run->answer_us);
    of[whole + ", result"].push_back(run->result_us);
  }
  Json all = Json::object();
  for (const auto& [start, steps] : seen) {
    for (const auto& [step, values] : steps) all[start][step] = percentiles(values);
    all[start]["runs"] = steps.begin()->second.size();
  }
  return all;
}

Json measure_throughput(const Options& options, const std::string& request) {
  Json all = Json::array();
  for (const int clients : options.clients) {
    std::atomic<std::uint64_t> whole = 0, refused = 0, broken = 0;
    const std::int64_t begin = monotonic_ns();
    const std::int64_t end = begin + static_cast<std::int64_t>(options.seconds * 1e9);
    std::vector<std::jthread> threads;
    for (int i = 0; i < clients; ++i) {
      threads.emplace_back([&] {
        Client client = get(Client::connect(options.socket));
        while (monotonic_ns() < end) {
          const auto run = run_once(client, request, true);
          ++(!run ? refused : run->whole ? whole : broken);
        }
      });
    }
    threads.clear();
    const double seconds = static_cast<double>(monotonic_ns() - begin) / 1e9;
    all.push_back({{"clients", clients},
                   {"runs_per_second", static_cast<double>(whole) / seconds},
                   {"refused", refused.load()},
                   {"broken", broken.load()}});
  }
  return all;
}

void print(const Json& result) {
  for (const auto& [start, steps] : result["latency_us"].items()) {
    std::printf("%s (%llu runs), us\n", start.c_str(), steps["runs"].get<unsigned long long>());
    for (const auto& [step, p] : steps.items()) {
      if (!p.is_object()) continue;
      std::printf("  %-40s p50 %8.1f  p90 %8.1f  p99 %8.1f  p99.9 %8.1f\n", step.c_str(),
                  p["p50"].get<double>(), p["p90"].get<double>(), p["p99"].get<double>(),
                  p["p99.9"].get<double>());
    }
  }
  for (const Json& row : result["throughput"]) {
    std::printf("%3d clients: %7.1f runs/s, %llu refused, %llu broken\n", row["clients"].get<int>(),
                row["runs_per_second"].get<double>(), row["refused"].get<unsigned long long>(),
                row["broken"].get<unsigned long long>());
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("What a client of jaild sees.", "lease_bench");
  app.add_option("--socket", options.socket, "jaild's socket")->capture_default_str();
  app.add_option("--runs", options.runs, "runs for the latencies, of each way")
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "for each number of clients; 0: no throughput");
  app.add_option("--clients", options.clients, "at once; again for more")->capture_default_str();
  app.add_option("--script", options.script, "what each jail runs");
  app.add_flag("--on-demand", options.on_demand, "jaild keeps no jail: do not wait for one");
  app.add_flag("--json", options.json, "one JSON document");
  CLI11_PARSE(app, argc, argv);

  const std::string request = encode(Request{{"script.py"}, options.script});
  Json result = {{"latency_us", measure_latency(options, request)}, {"throughput", Json::array()}};
  if (options.seconds > 0) result["throughput"] = measure_throughput(options, request);
  if (options.json) {
    std::printf("%s\n", result.dump(1).c_str());
  } else {
    print(result);
  }
}
