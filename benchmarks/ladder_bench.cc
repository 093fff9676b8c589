// The rungs of benchmarks/ladder, measured in turns; benchmarks/ladder starts it and shows what it
// says. A variant of the product is a directory of programs; every one has a world of its own here.
//
//     ladder_bench --rounds N [--gaps 0|1] NAME=PROGRAMS …
//
// JSON on stdout. Needs root and the image `python`. The last variant is the product itself: the
// wake-ups after idle gaps are its.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "benchmarks/warm_cycle.h"
#include "tests/support/plans.h"

namespace jailrun::bench {
namespace {

constexpr std::array<double, 5> kGapsMs = {0, 0.1, 1, 10, 100};
constexpr int kClientCpu = 0;
// Where the one that wakes runs; the one that wakes it is on kClientCpu, or free, too.
constexpr struct {
  const char* name;
  int cpu;
} kCores[] = {{"same", 0}, {"other", 1}, {"free", -1}};

Samples samples;

struct Variant {
  std::string name, report;
  std::unique_ptr<World> world;
  std::unique_ptr<CpuClock> cpu;
};

// --- unconfined -----------------------------------------------------------------------------

// `command` of a peer that forks: first byte, cycle, CPU time.
bool fork_rung(Peer& peer, const std::string& name, const std::string& command) {
  std::int64_t first = 0, cycle = 0, cpu = 0;
  const std::string said = peer.ask(command).str();
  if (!(std::istringstream(said) >> first >> cycle >> cpu)) {
    std::fprintf(stderr, "ladder: %s is left out: %s", name.c_str(), said.c_str());
    return false;
  }
  samples.add(name + "/start", first);
  samples.add(name + "/cycle", cycle);
  samples.add(name + "/cpu", cpu);
  return true;
}

void unconfined_parked(Peer& peer) {
  if (peer.ask("park").str() != "parked\n") stop("the unconfined child did not park");
  sleep_ns(2'000'000);
  const std::int64_t sent = monotonic_ns();
  (void)write_all(peer.request_fd(), kScript, std::strlen(kScript));
  samples.add("bare fork/wake", std::atoll(peer.line().c_str()) - sent);
  peer.ask("reap");
}

// A process that reads a byte and writes the time at which it woke.
class Echo {
 public:
  Echo() {
    if (::pipe(to_) != 0 || ::pipe(from_) != 0 || (pid_ = ::fork()) < 0) stop("cannot fork");
    if (pid_ > 0) return;
    ::close(to_[1]);
    for (char byte = 0; ::read(to_[0], &byte, 1) == 1;) {
      const std::int64_t now = monotonic_ns();
      (void)!::write(from_[1], &now, sizeof now);
    }
    ::_exit(0);
  }
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;
  ~Echo() {
    ::close(to_[1]);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  std::int64_t wake_ns() {
    std::int64_t woke = 0;
    const std::int64_t sent = monotonic_ns();
    if (::write(to_[1], "", 1) != 1 || ::read(from_[0], &woke, sizeof woke) != sizeof woke)
      stop("a pipe broke");
    return woke - sent;
  }

 private:
  int to_[2], from_[2];
  pid_t pid_ = -1;
};

// --- jails ----------------------------------------------------------------------------------

void variant_round(const Variant& variant) {
  World& world = *variant.world;
  const auto cycle = [&](const std::string& kind, auto run) {
    const std::int64_t before = variant.cpu->ns();
    const Cycle seen = run();
    samples.add(variant.name + "/" + kind, seen.first);
    samples.add(variant.name + "/" + kind + " cpu", variant.cpu->ns() - before);
    return seen;
  };
  samples.add(variant.name + "/start cycle",
              cycle("start", [&] { return run_forked(world, false); }).result);
  cycle("slot", [&] { return run_forked(world, true); });
  cycle("wake", [&] { return run_parked(world, {}); });
  cycle("told", [&] { return run_parked(world, {.told = true}); });
}

// A jail that has just parked is given its request after the gap; so is a process on a pipe.
void gap_round(World& world) {
  for (const auto& core : kCores) {
    const bool pinned = core.cpu >= 0;
    if (core.cpu >= ::sysconf(_SC_NPROCESSORS_ONLN)) continue;
    Echo echo;
    if (pinned) {
      pin(0, kClientCpu);
      pin(echo.pid(), core.cpu);
    }
    (void)echo.wake_ns();
    for (const double gap_ms : kGapsMs) {
      const auto gap_ns = static_cast<std::int64_t>(gap_ms * 1e6);
      char name[64];
      std::snprintf(name, sizeof name, "gap/%s/%g", core.name, gap_ms);
      sleep_ns(gap_ns);
      samples.add(std::string(name) + "/pipe", echo.wake_ns());
      const Cycle cycle =
          run_parked(world, {.settle_ns = 0, .idle_ns = gap_ns, .guest_cpu = core.cpu});
      samples.add(std::string(name) + "/jail", cycle.first);
      samples.add(std::string(name) + "/read", cycle.received);
    }
    if (pinned) pin(0, -1);
  }
}

void measure(std::vector<Variant>& variants, int rounds, bool gaps) {
  Peer bare("warm_peer.py"), namespaces("namespace_peer.py");
  bool own = true, null = true;
  for (Variant& variant : variants) variant.cpu = std::make_unique<CpuClock>(*variant.world);
  for (int round = -3; round < rounds; ++round) {
    if (round == 0) samples.clear();
    fork_rung(bare, "bare fork", "fork");
    null = null && fork_rung(namespaces, "namespaces in the child, null network", "fork null");
    own = own && fork_rung(namespaces, "namespaces in the child, own network", "fork own");
    unconfined_parked(bare);
    for (const Variant& variant : variants) variant_round(variant);
    if (gaps) gap_round(*variants.back().world);
    if (::isatty(2)) std::fprintf(stderr, "\rround %d of %d ", round + 1, rounds);
  }
}

}  // namespace
}  // namespace jailrun::bench

int main(int argc, char** argv) {
  using namespace jailrun;
  int rounds = 50;
  bool gaps = true;
  std::vector<bench::Variant> variants;
  const std::unique_ptr<Plan> plan = test::plan_of("python");
  if (plan == nullptr) bench::stop("no policy `python`");
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::size_t equal = word.find('=');
    if (word == "--rounds" && i + 1 < argc) {
      rounds = std::max(1, std::atoi(argv[++i]));
    } else if (word == "--gaps" && i + 1 < argc) {
      gaps = std::atoi(argv[++i]) != 0;
    } else if (equal != std::string::npos) {
      bench::Variant variant{.name = word.substr(0, equal), .report = {}, .world = {}, .cpu = {}};
      variant.world = bench::start_world(*plan, word.substr(equal + 1), variant.report);
      variants.push_back(std::move(variant));
    } else {
      bench::stop("unknown option " + word);
    }
  }
  if (variants.empty()) bench::stop("no variant; benchmarks/ladder names them");
  bench::measure(variants, rounds, gaps);
  nlohmann::json document = {{"rounds", rounds}, {"us", bench::samples.json()}};
  for (const bench::Variant& variant : variants) document["zygotes"][variant.name] = variant.report;
  std::printf("%s\n", document.dump(1).c_str());
  return 0;
}
