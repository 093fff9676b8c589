// The soak's clients of jaild's socket, or of `jailrun exec`: fresh jails by the thousand, each
// asked for something that only its own answer fits.
//
//     soak_worker --socket PATH --jobs FILE [--only NAME…] [--clients N] [--seconds S | --runs N]
//     soak_worker --exec JAILRUN --jobs FILE …
//
// FILE is what tests/soak/work.py writes. A line of JSON for each run that was not right, at once,
// with its time on CLOCK_MONOTONIC, so that whoever kills things knows whose doing it was; one at
// the end with the counts. Judges nobody: `run` does.
#include <poll.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "jail/daemon/client.h"
#include "jail/run/frames.h"
#include "jail/run/judge.h"
#include "tests/support/command.h"

namespace {

using namespace jailrun;
using Json = nlohmann::ordered_json;

constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::uint64_t kPrime = 1'000'000'007;
constexpr std::size_t kNonceDigits = 18;

struct Job {
  std::string name, script;           // with @NONCE@ where the number goes
  std::vector<std::string> verdicts;  // or "status N" of `jailrun exec`
  std::size_t repeat = 1;             // lines; 0: only the beginning is known
  std::uint64_t wall_ms = 0;
  double weight = 1;
};

struct Options {
  std::string socket = wire::socket_path(), exec, jobs, policy = "python";
  std::vector<std::string> only;
  int clients = 4;
  double seconds = 0;
  std::uint64_t runs = 0, seed = 1;
};

// What came of one run.
struct Seen {
  std::string kind = "right";  // or: refused, broken, ended, wrong, mixed
  std::string detail;
  std::int64_t begin_ns = 0, end_ns = 0, overshoot_ns = 0;
};

struct Tally {
  std::mutex lock;
  std::map<std::string, std::uint64_t> right;
  std::map<std::string, std::vector<std::int64_t>> took_us, overshoot_us;
};

std::string expected_line(std::uint64_t nonce) {
  const auto n = nonce % kPrime;
  const auto cube = n * n % kPrime * n % kPrime;
  return std::to_string(nonce) + " " + std::to_string(cube) + "\n";
}

// A number as long as a nonce that is not this run's: somebody else's.
bool has_foreign(const std::string& text, const std::string& own) {
  std::size_t digits = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] >= '0' && text[i] <= '9') {
      ++digits;
      continue;
    }
    if (digits == kNonceDigits && text.compare(i - digits, digits, own) != 0) return true;
    digits = 0;
  }
  return false;
}

class Runner {
 public:
  Runner(const Options& options, std::uint64_t seed) : options_(options), dice_(seed) {}
  Seen run(Client& client, const Job& job);
  Seen execute(const Job& job);
  std::mt19937_64& dice() { return dice_; }

 private:
  std::uint64_t draw();
  void drain(Client& client, Leased& lease);
  void judge(const Job& job, std::uint64_t nonce, const std::string& verdict,
             const std::string& reason, Seen& outcome) const;

  const Options& options_;
  std::mt19937_64 dice_;
  std::string out_, err_, exceeded_;
  std::int64_t drained_ns_ = 0;
};

// Both streams to their end; what is beyond the limit is told to jaild and dropped.
void Runner::drain(Client& client, Leased& lease) {
  out_.clear();
  err_.clear();
  exceeded_.clear();
  char buffer[65536];
  pollfd entries[2] = {{lease.out.get(), POLLIN, 0}, {lease.err.get(), POLLIN, 0}};
  while (entries[0].fd >= 0 || entries[1].fd >= 0) {
    if (::poll(entries, 2, -1) < 0) continue;
    for (const std::size_t i : {0u, 1u}) {
      if (entries[i].fd < 0 || entries[i].revents == 0) continue;
      const ssize_t n = ::read(entries[i].fd, buffer, sizeof buffer);
      if (n <= 0) {
        entries[i].fd = -1;
        continue;
      }
      std::string& text = i == 0 ? out_ : err_;
      const char* stream = i == 0 ? "stdout" : "stderr";
      text.append(buffer, static_cast<std::size_t>(n));
      if (text.size() <= lease.output_bytes) continue;
      text.resize(lease.output_bytes);
      if (exceeded_.empty()) (void)client.output_exceeded(lease.id, exceeded_ = stream);
    }
  }
  drained_ns_ = monotonic_ns();
}

std::uint64_t Runner::draw() {
  std::uniform_int_distribution<std::uint64_t> nonces(100'000'000'000'000'000,
                                                      999'999'999'999'999'999);
  return nonces(dice_);
}

std::string script_of(const Job& job, std::uint64_t nonce) {
  std::string script = job.script;
  for (std::size_t at; (at = script.find("@NONCE@")) != std::string::npos;)
    script.replace(at, 7, std::to_string(nonce));
  return script;
}

void Runner::judge(const Job& job, std::uint64_t nonce, const std::string& verdict,
                   const std::string& reason, Seen& outcome) const {
  const std::string own = std::to_string(nonce);
  const std::string seen = verdict + ", stdout \"" + out_.substr(0, 100) + "\", stderr \"" +
                           err_.substr(0, 300) + "\", " + reason;
  if (has_foreign(out_, own) || has_foreign(err_, own)) {
    outcome.kind = "mixed";
    outcome.detail = "asked with " + own + ": " + seen;
    return;
  }
  std::string expected;
  for (std::size_t i = 0; i < job.repeat; ++i) expected += expected_line(nonce);
  bool fits = job.repeat > 0 ? out_ == expected : out_.starts_with(own);
  // A busy host: it had no time to say so.
  if (verdict == name(Verdict::WallTimeout) && own.starts_with(out_)) fits = true;
  if (std::ranges::find(job.verdicts, verdict) != job.verdicts.end() && fits) return;
  // Somebody may have killed it: whether, the kills will show.
  const bool told = verdict == "cancelled" || verdict == "signalled";
  outcome.kind = told ? "ended" : "wrong";
  outcome.detail = seen;
}

Seen Runner::run(Client& client, const Job& job) {
  Seen outcome;
  const std::uint64_t nonce = draw();
  LeaseRequest request{.policy = options_.policy, .queue_ns = 60 * kSecondNs};
  if (job.wall_ms != 0) request.overrides = {"limits.wall=" + std::to_string(job.wall_ms) + "ms"};
  outcome.begin_ns = monotonic_ns();
  const auto end = [&](const char* kind, std::string detail) {
    outcome.kind = kind;
    outcome.detail = std::move(detail);
    outcome.end_ns = monotonic_ns();
    return outcome;
  };
  auto reply = client.lease(request);
  if (!reply) return end("broken", reply.error().line());
  if (const Refusal* refused = std::get_if<Refusal>(&*reply))
    return end("refused", refused->name + ": " + refused->message);
  Leased& lease = std::get<Leased>(*reply);
  const std::string frame = encode(Request{{"soak.py"}, script_of(job, nonce)});
  lease.in.reset();
  const bool asked = write_all(lease.to_request.get(), frame.data(), frame.size()) == 0;
  lease.to_request.reset();
  drain(client, lease);
  Expected<LeaseEnded> ended = client.wait_ended(lease.id);
  if (!ended) return end("broken", ended.error().line());
  outcome.end_ns = monotonic_ns();
  if (!exceeded_.empty()) judge_output(exceeded_, 0, ended->result);
  judge(job, nonce, std::string(name(ended->result.verdict)), ended->result.reason, outcome);
  if (!asked && outcome.kind == "wrong") outcome.kind = "ended";
  // jaild's clock began before it answered: what is said here is at most the truth and a wake-up.
  const std::int64_t begun = outcome.begin_ns + static_cast<std::int64_t>(lease.queued_ns);
  outcome.overshoot_ns = drained_ns_ - begun - static_cast<std::int64_t>(job.wall_ms) * 1'000'000;
  return outcome;
}

Seen Runner::execute(const Job& job) {
  Seen outcome;
  const std::uint64_t nonce = draw();
  test::Command command{.argv = {options_.exec, "exec"}};
  if (job.wall_ms != 0)
    command.argv.insert(command.argv.end(), {"-t", std::to_string(job.wall_ms) + "ms"});
  command.argv.insert(command.argv.end(), {"--", "/bin/sh", "-c", script_of(job, nonce)});
  outcome.begin_ns = monotonic_ns();
  test::Outcome ended = test::run_command(command);
  outcome.end_ns = monotonic_ns();
  out_ = std::move(ended.out);
  err_ = std::move(ended.err);
  judge(job, nonce, "status " + std::to_string(ended.status), "", outcome);
  return outcome;
}

std::vector<Job> read_jobs(const Options& options) {
  std::vector<Job> jobs;
  std::ifstream file(options.jobs);
  for (const Json& each : Json::parse(file, nullptr, false)) {
    Job job{each["name"],   each["script"],  each["verdicts"],
            each["repeat"], each["wall_ms"], each["weight"]};
    if (options.only.empty() || std::ranges::find(options.only, job.name) != options.only.end())
      jobs.push_back(std::move(job));
  }
  return jobs;
}

void note(Tally& tally, const Job& job, const Seen& outcome) {
  const std::lock_guard guard(tally.lock);
  if (outcome.kind == "right") {
    ++tally.right[job.name];
    auto& took = tally.took_us[job.name];
    if (took.size() < 10'000) took.push_back((outcome.end_ns - outcome.begin_ns) / 1000);
    if (job.verdicts == std::vector<std::string>{"wall_timeout"})
      tally.overshoot_us[job.name].push_back(outcome.overshoot_ns / 1000);
    return;
  }
  const Json line = {{"job", job.name},
                     {"kind", outcome.kind},
                     {"detail", outcome.detail},
                     {"begin_ns", outcome.begin_ns},
                     {"end_ns", outcome.end_ns}};
  std::printf("%s\n", line.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("The soak's clients of jaild's socket.", "soak_worker");
  app.add_option("--socket", options.socket, "jaild's socket")->capture_default_str();
  app.add_option("--exec", options.exec, "jailrun, instead: its `exec` for each");
  app.add_option("--jobs", options.jobs, "what to run")->required();
  app.add_option("--only", options.only, "of them, by name");
  app.add_option("--policy", options.policy, "of all jails")->capture_default_str();
  app.add_option("--clients", options.clients, "connections")->capture_default_str();
  app.add_option("--seconds", options.seconds, "how long; or");
  app.add_option("--runs", options.runs, "how many");
  app.add_option("--seed", options.seed, "of jobs and numbers")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const std::vector<Job> jobs = read_jobs(options);
  if (jobs.empty()) {
    std::fprintf(stderr, "soak_worker: no jobs in %s\n", options.jobs.c_str());
    return 2;
  }
  std::vector<double> weights;
  for (const Job& job : jobs) weights.push_back(job.weight);

  Tally tally;
  std::atomic<std::uint64_t> next = 0;
  const std::int64_t until =
      monotonic_ns() + static_cast<std::int64_t>(options.seconds * static_cast<double>(kSecondNs));
  const auto goes_on = [&] {
    return options.runs != 0 ? next++ < options.runs : monotonic_ns() < until;
  };
  const auto work = [&](std::uint64_t seed) {
    Runner runner(options, seed);
    std::discrete_distribution<std::size_t> choose(weights.begin(), weights.end());
    std::optional<Client> client;
    while (goes_on()) {
      const Job& job = jobs[choose(runner.dice())];
      if (!options.exec.empty()) {
        note(tally, job, runner.execute(job));
        continue;
      }
      while (!client) {
        if (Expected<Client> fresh = Client::connect(options.socket); fresh)
          client = std::move(*fresh);
        else if (::poll(nullptr, 0, 5); options.runs == 0 && monotonic_ns() >= until)
          return;
      }
      const Seen outcome = runner.run(*client, job);
      note(tally, job, outcome);
      if (outcome.kind == "broken") client.reset();
      if (outcome.kind == "refused") ::poll(nullptr, 0, 20);
    }
  };
  std::vector<std::jthread> threads;
  for (int i = 0; i < options.clients; ++i)
    threads.emplace_back(work, options.seed * 1000 + static_cast<std::uint64_t>(i));
  threads.clear();
  const Json summary = {
      {"right", tally.right}, {"took_us", tally.took_us}, {"overshoot_us", tally.overshoot_us}};
  std::printf("%s\n", summary.dump().c_str());
}
