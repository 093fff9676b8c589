// A warm jail in all its ways, beside os.fork() of the same interpreter and beside a parked child
// that nothing confines: one run, contenders in turns, ratios at the end.
//
//   build/bench/benchmarks/warm_bench [--rounds N] [--parked N] [--mounts N] [--json FILE]
//
// --parked: up to so many jails wait at once, for the memory of one (at least 9); at most 64 of
// them are beside the one measured in "with others". --mounts: that many tmpfs more in the mount
// namespace that owner and world live in. 0 leaves such a part out.
//
// Needs root and the image `python`. Measures the library, without a daemon; no pinning.
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "benchmarks/warm_cycle.h"
#include "tests/support/plans.h"

namespace jailrun::bench {
namespace {

constexpr int kAtOnce = 8;
constexpr std::size_t kBeside = 63;
constexpr int kBlocks = 5;  // of turns, where a contender takes time to set up

struct Options {
  int rounds = 200, most = 128, mounts = 1000;
  std::string json;
};

Samples samples;
nlohmann::json document;

std::string label(const std::string& what, std::int64_t gap_ms) {
  return what + " after " + std::to_string(gap_ms) + " ms";
}

// --- the parts of a round -------------------------------------------------------------------

void bare_fork(Peer& peer) {
  std::int64_t first = 0, cycle = 0, cpu = 0;
  peer.ask("fork") >> first >> cycle >> cpu;
  samples.add("bare fork: first byte", first);
  samples.add("bare fork: cycle", cycle);
}

void bare_parked(Peer& peer, std::int64_t gap_ms) {
  if (peer.ask("park").str() != "parked\n") stop("the unconfined child did not park");
  sleep_ns(2'000'000 + gap_ms * 1'000'000);  // it sleeps by then
  const std::int64_t sent = monotonic_ns();
  (void)write_all(peer.request_fd(), kScript, std::strlen(kScript));
  samples.add(label("unconfined parked: first bytecode", gap_ms),
              std::atoll(peer.line().c_str()) - sent);
  peer.ask("reap");
}

void parked(World& world, std::int64_t gap_ms, bool leased) {
  const std::string kind = leased ? "leased" : "parked";
  const Cycle cycle = run_parked(world, {.idle_ns = gap_ms * 1'000'000, .told = leased});
  samples.add("jail: until it is parked", cycle.parked);
  samples.add(label(kind + ": request read", gap_ms), cycle.received);
  samples.add(label(kind + ": compiled", gap_ms), cycle.compiled);
  samples.add(label(kind + ": first bytecode", gap_ms), cycle.first);
  samples.add(label(kind + ": answer", gap_ms), cycle.answer);
  samples.add(label(kind + ": Result", gap_ms), cycle.result);
}

void forked(World& world) {
  const Cycle cycle = run_forked(world, false);
  samples.add("forked: first bytecode", cycle.first);
  samples.add("forked: Result", cycle.result);
}

// --- many at once ---------------------------------------------------------------------------

struct Live {
  std::unique_ptr<WarmJail> jail;
  WarmJail::Ends ends;
};

// What has become readable moves on; each jail that parks gets its request.
void move_on(std::vector<Live>& live, const std::vector<pollfd>& entries) {
  static const std::string request = encode(Request{{"script.py"}, kScript});
  for (std::size_t i = 0; i < live.size(); ++i) {
    if (entries[i + 1].fd < 0 || entries[i + 1].revents == 0) continue;
    const auto state = live[i].jail->advance();
    if (!state) stop(state.error().line());
    if (*state != WarmJail::State::Parked) continue;
    live[i].ends = live[i].jail->take_ends();
    (void)write_all(live[i].ends.request.get(), request.data(), request.size());
  }
}

void bury(World& world, std::vector<Live>& live) {
  for (auto ended = world.next_ended(); ended && *ended; ended = world.next_ended()) {
    for (Live& each : live) {
      if (each.jail->note(**ended)) continue;
      if (each.jail->guest_ended() && !each.jail->gone()) each.jail->kill();
    }
  }
  std::erase_if(live, [&](const Live& each) {
    if (!each.jail->gone()) return false;
    Evidence evidence;
    if (each.jail->settle(world.plan(), evidence).verdict != Verdict::Ok) stop("a jail failed");
    return true;
  });
}

// `count` jails with up to kAtOnce of them under way at a time.
void storm(World& world, int count) {
  std::vector<Live> live;
  while (count > 0 || !live.empty()) {
    for (; count > 0 && live.size() < kAtOnce; --count) {
      Expected<std::unique_ptr<WarmJail>> jail = WarmJail::begin(world);
      if (!jail) stop(jail.error().line());
      live.push_back({std::move(*jail), {}});
    }
    std::vector<pollfd> entries{{world.keeper_fd(), POLLIN, 0}};
    for (const Live& each : live) entries.push_back({each.jail->control_fd(), POLLIN, 0});
    ::poll(entries.data(), entries.size(), 20'000);
    move_on(live, entries);
    if (entries[0].revents != 0) bury(world, live);
  }
}

struct Load {
  double wall_us, cpu_us;  // per cycle
};

void measure_load(World& world, Peer& peer, int count) {
  const CpuClock cpu(world);
  std::vector<Load> bare, ours;
  const auto per_cycle = [&](std::int64_t ns) { return static_cast<double>(ns) / 1e3 / count; };
  for (int block = 0; block < kBlocks; ++block) {
    std::int64_t wall = 0, used = 0;
    peer.ask("storm " + std::to_string(count)) >> wall >> used;
    bare.push_back({per_cycle(wall), per_cycle(used)});
    const std::int64_t cpu_before = cpu.ns(), begun = monotonic_ns();
    storm(world, count);
    ours.push_back({per_cycle(monotonic_ns() - begun), per_cycle(cpu.ns() - cpu_before)});
  }
  const auto median = [](std::vector<Load>& all, double Load::* field) {
    std::ranges::sort(all, {}, field);
    return all[all.size() / 2].*field;
  };
  document["cpu_us"] = {{"bare", median(bare, &Load::cpu_us)},
                        {"jail", median(ours, &Load::cpu_us)}};
  document["per_second"] = {{"bare", 1e6 / median(bare, &Load::wall_us)},
                            {"jail", 1e6 / median(ours, &Load::wall_us)}};
}

// --- what must not matter -------------------------------------------------------------------

// Blocks in turns: `rounds` runs of each contender in all.
void in_blocks(int rounds, const std::array<std::function<void(int)>, 2>& contenders) {
  const int count = std::max(1, rounds / kBlocks);
  for (int block = 0; block < kBlocks; ++block) {
    for (const auto& contender : contenders) contender(count);
  }
}

void leased_as(World& world, const std::string& name, int count) {
  (void)run_parked(world, {.told = true});  // unmeasured: what the change of turns disturbed
  for (int i = 0; i < count; ++i) {
    const Cycle cycle = run_parked(world, {.told = true});
    samples.add(name + ": first bytecode", cycle.first);
    samples.add(name + ": Result", cycle.result);
  }
}

void measure_company(World& world, int rounds, std::size_t beside) {
  const auto with_others = [&](int count) {
    std::vector<std::unique_ptr<WarmJail>> others;
    while (others.size() < beside) others.push_back(must_park(world));
    leased_as(world, "with others parked", count);
  };
  in_blocks(rounds, {[&](int count) { leased_as(world, "alone", count); }, with_others});
  document["parked_beside"] = beside;
}

// Their mount namespace is this process's own, so that nothing stays of them.
class Mounts {
 public:
  explicit Mounts(int count) {
    char path[] = "/tmp/jailrun-mounts-XXXXXX";
    if (::mkdtemp(path) == nullptr || ::mount("none", path, "tmpfs", 0, nullptr) != 0)
      stop("cannot mount a tmpfs");
    directory_ = path;
    for (int i = 0; i < count; ++i) {
      const std::string at = directory_ + "/" + std::to_string(i);
      if (::mkdir(at.c_str(), 0700) != 0 ||
          ::mount("none", at.c_str(), "tmpfs", 0, "size=64k") != 0)
        stop("cannot mount " + at);
    }
  }
  Mounts(const Mounts&) = delete;
  Mounts& operator=(const Mounts&) = delete;
  ~Mounts() {
    ::umount2(directory_.c_str(), MNT_DETACH);
    ::rmdir(directory_.c_str());
  }

 private:
  std::string directory_;
};

// Both worlds live in this process's mount namespace; the second one was born among the mounts.
void measure_mounts(const Plan& plan, World& world, int rounds, int count) {
  std::string report;
  std::unique_ptr<World> crowded;
  const auto among_mounts = [&](int runs) {
    const Mounts mounts(count);
    if (!crowded) crowded = start_world(plan, JAILRUN_BIN_DIR, report);
    leased_as(*crowded, "with more mounts", runs);
  };
  in_blocks(rounds,
            {[&](int runs) { leased_as(world, "without more mounts", runs); }, among_mounts});
  document["more_mounts"] = count;
}

double available_kib() {
  std::ifstream info("/proc/meminfo");
  std::string key;
  for (double value = 0; info >> key;) {
    if (key == "MemAvailable:" && info >> value) return value;
  }
  return 0;
}

double slope_mib(World& world, int most) {
  std::vector<std::unique_ptr<WarmJail>> jails;
  double before = 0;
  for (int i = 0; i < most; ++i) {
    if (i == 8) before = available_kib();
    jails.push_back(must_park(world));
  }
  return (before - available_kib()) / 1024 / (most - 8);
}

void measure(const Plan& plan, World& world, const Options& options) {
  Peer peer("warm_peer.py");
  for (int round = -5; round < options.rounds; ++round) {
    if (round == 0) samples.clear();
    bare_fork(peer);
    forked(world);
    for (const std::int64_t gap_ms : {0, 1, 10}) {
      bare_parked(peer, gap_ms);
      parked(world, gap_ms, false);
      parked(world, gap_ms, true);
    }
  }
  measure_load(world, peer, std::max(options.rounds, 8));
  if (options.most > 0)
    measure_company(world, options.rounds,
                    std::min(kBeside, static_cast<std::size_t>(options.most - 1)));
  if (options.mounts > 0) measure_mounts(plan, world, options.rounds, options.mounts);
  if (options.most > 0) document["mib_per_parked_jail"] = slope_mib(world, options.most);
}

// --- telling --------------------------------------------------------------------------------

void goal(const std::string& what, double is, double most) {
  std::printf("%-56s %8.2f  goal %7.2f  %s\n", what.c_str(), is, most,
              is <= most ? "met" : "MISSED");
  document["goals"].push_back({{"what", what}, {"is", is}, {"most", most}});
}

void show() {
  const auto p50 = [](const std::string& name) { return samples.percentile(name, .5); };
  std::printf("\n%-46s %9s %9s %9s %9s\n", "us", "p10", "p50", "p90", "p99");
  for (const std::string& name : samples.names()) {
    std::printf("%-46s %9.1f %9.1f %9.1f %9.1f\n", name.c_str(), samples.percentile(name, .1),
                p50(name), samples.percentile(name, .9), samples.percentile(name, .99));
  }
  document["us"] = samples.json();
  const std::string first = "leased: first bytecode after 0 ms";
  const auto& cpu = document["cpu_us"];
  const auto& rate = document["per_second"];
  const double cpu_bare = cpu["bare"], cpu_jail = cpu["jail"], bare = rate["bare"],
               jails = rate["jail"];
  std::printf("\nCPU per cycle: bare %.0f us, jail %.0f us; per second: bare %.0f, jail %.0f\n",
              cpu_bare, cpu_jail, bare, jails);
  goal("request to first bytecode, p50, us", p50(first), 50);
  goal("request to first bytecode, p99, us", samples.percentile(first, .99), 250);
  goal("  over an unconfined parked child",
       p50(first) / p50("unconfined parked: first bytecode after 0 ms"), 1.2);
  goal("Result, p50, ms", p50("leased: Result after 0 ms") / 1e3, 3);
  goal("pool empty: first bytecode over bare fork's",
       p50("forked: first bytecode") / p50("bare fork: first byte"), 1.0);
  goal("CPU time of a cycle over bare fork's", cpu_jail / cpu_bare, 1.0);
  goal("bare forks per second over jails per second", bare / jails, 1.0);
  if (document.contains("parked_beside"))
    goal("p50 with " + std::to_string(document["parked_beside"].get<int>() + 1) +
             " parked jails instead of 1",
         p50("with others parked: first bytecode") / p50("alone: first bytecode"), 1.1);
  if (document.contains("more_mounts"))
    goal("p50 with " + std::to_string(document["more_mounts"].get<int>()) + " more host mounts",
         p50("with more mounts: first bytecode") / p50("without more mounts: first bytecode"), 1.1);
  if (document.contains("mib_per_parked_jail"))
    goal("memory per parked jail, MiB", document["mib_per_parked_jail"].get<double>(), 3);
}

}  // namespace
}  // namespace jailrun::bench

int main(int argc, char** argv) {
  using namespace jailrun;
  bench::Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc) bench::stop(option + " wants a value");
    if (option == "--rounds")
      options.rounds = std::atoi(argv[i + 1]);
    else if (option == "--parked")
      options.most = std::atoi(argv[i + 1]);
    else if (option == "--mounts")
      options.mounts = std::atoi(argv[i + 1]);
    else if (option == "--json")
      options.json = argv[i + 1];
    else
      bench::stop("unknown option " + option);
  }
  if (options.rounds < 1 || (options.most != 0 && options.most < 9))
    bench::stop("a bad option: --rounds at least 1, --parked at least 9 or 0");
  const std::unique_ptr<Plan> plan = test::plan_of("python");
  if (plan == nullptr) bench::stop("no policy `python`");
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    bench::stop("no mount namespace of its own: root is needed");
  std::string report;
  const std::unique_ptr<World> world = bench::start_world(*plan, JAILRUN_BIN_DIR, report);
  bench::measure(*plan, *world, options);
  bench::show();
  if (!options.json.empty()) std::ofstream(options.json) << bench::document.dump(2) << "\n";
  return 0;
}
