// A warm jail in all its ways, beside os.fork() of the same interpreter and beside a parked child
// that nothing confines: one run, contenders in turns, ratios at the end.
//
//   build/bench/benchmarks/warm_bench [--rounds N] [--parked N] [--json FILE]
//
// Needs root and the image `python`. Measures the library, without a daemon; no pinning.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/plans.h"
#include "tests/support/warm.h"

namespace jailrun {
namespace {

// The first statement tells when it ran: compile included.
constexpr const char* kScript = "import time; print(time.monotonic_ns())";
constexpr int kAtOnce = 8;
constexpr int kLeaseUs = 100;  // between an owner's choice of a jail and its client's request

std::map<std::string, std::vector<double>> samples;  // microseconds
nlohmann::json document;

void sample(const std::string& name, std::int64_t ns) {
  samples[name].push_back(static_cast<double>(ns) / 1e3);
}

double percentile(const std::string& name, double share) {
  std::vector<double>& all = samples[name];
  if (all.empty()) return 0;
  std::ranges::sort(all);
  return all[std::min(all.size() - 1,
                      static_cast<std::size_t>(share * static_cast<double>(all.size())))];
}

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "warm_bench: %s\n", why.c_str());
  std::exit(125);
}

// --- the unconfined Python ------------------------------------------------------------------

class Peer {
 public:
  Peer() {
    int in[2], out[2], request[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0 ||
        ::pipe2(request, O_CLOEXEC) != 0)
      stop("cannot make pipes");
    pid_ = ::fork();
    if (pid_ == 0) become_python(in[0], out[1], request[0]);
    ::close(in[0]);
    ::close(out[1]);
    ::close(request[0]);
    to_ = ::fdopen(in[1], "w");
    from_ = ::fdopen(out[0], "r");
    request_ = Fd(request[1]);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() {
    std::fclose(to_);
    std::fclose(from_);
    ::waitpid(pid_, nullptr, 0);
  }

  std::istringstream ask(const std::string& command) {
    std::fprintf(to_, "%s\n", command.c_str());
    std::fflush(to_);
    return std::istringstream(line());
  }
  std::string line() {
    char text[256];
    if (std::fgets(text, sizeof text, from_) == nullptr) stop("the unconfined Python is dead");
    return text;
  }
  int request_fd() const { return request_.get(); }

 private:
  [[noreturn]] static void become_python(int in, int out, int request) {
    const std::string tree = "/var/lib/jailrun/rootfs/python/tree";
    std::ifstream file(std::string(JAILRUN_SOURCE_DIR) + "/benchmarks/warm_peer.py");
    std::stringstream script;
    script << file.rdbuf();
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(request, 3);
    const bool there =
        ::unshare(CLONE_NEWNS) == 0 &&
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        // Read-only, with a /tmp: libraries that cache must not write to the image.
        ::mount(tree.c_str(), tree.c_str(), nullptr, MS_BIND, nullptr) == 0 &&
        ::mount(nullptr, tree.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0 &&
        ::mount("none", (tree + "/tmp").c_str(), "tmpfs", 0, nullptr) == 0 &&
        ::mount("/dev", (tree + "/dev").c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0 &&
        ::mount("/proc", (tree + "/proc").c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0 &&
        ::chroot(tree.c_str()) == 0 && ::chdir("/") == 0;
    if (!there) stop("cannot enter the image: " + std::string(std::strerror(errno)));
    const std::string code = script.str();
    const char* const argv[] = {"python3", "-c", code.c_str(), nullptr};
    const char* const env[] = {"PATH=/usr/bin",
                               "HOME=/tmp",
                               "PYTHONUNBUFFERED=1",
                               "PYTHONDONTWRITEBYTECODE=1",
                               "MPLBACKEND=Agg",
                               "OPENBLAS_NUM_THREADS=1",
                               "OMP_NUM_THREADS=1",
                               "ARROW_IO_THREADS=1",
                               "JE_ARROW_MALLOC_CONF=background_thread:false",
                               nullptr};
    ::execve("/usr/bin/python3", const_cast<char* const*>(argv), const_cast<char* const*>(env));
    stop("the image has no python3");
  }
  pid_t pid_;
  std::FILE *to_, *from_;
  Fd request_;
};

void bare_fork(Peer& peer) {
  std::int64_t first = 0, cycle = 0, cpu = 0;
  peer.ask("fork") >> first >> cycle >> cpu;
  sample("bare fork: first byte", first);
  sample("bare fork: cycle", cycle);
}

void idle(int gap_ms) {
  if (gap_ms > 0) ::usleep(static_cast<useconds_t>(gap_ms) * 1000);
}

std::string label(const std::string& what, int gap_ms) {
  return what + " after " + std::to_string(gap_ms) + " ms";
}

void bare_parked(Peer& peer, int gap_ms) {
  if (peer.ask("park").str() != "parked\n") stop("the unconfined child did not park");
  ::usleep(2000);  // until it sleeps
  idle(gap_ms);
  const std::int64_t sent = monotonic_ns();
  (void)write_all(peer.request_fd(), kScript, std::strlen(kScript));
  sample(label("unconfined parked: first bytecode", gap_ms),
         std::atoll(peer.line().c_str()) - sent);
  peer.ask("reap");
}

// --- jails ----------------------------------------------------------------------------------

std::unique_ptr<WarmJail> must_park(World& world) {
  Expected<std::unique_ptr<WarmJail>> jail = test::park(world);
  if (!jail) stop(jail.error().line());
  return std::move(*jail);
}

std::string read_once(const Fd& fd) {
  char text[256];
  const ssize_t n = ::read(fd.get(), text, sizeof text);
  return {text, static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
}

// True when all of the jail is gone.
bool hear_end(World& world, WarmJail& jail) {
  pollfd entry{world.keeper_fd(), POLLIN, 0};
  if (::poll(&entry, 1, 20'000) <= 0) stop("a jail does not end");
  const Expected<std::optional<Ended>> ended = world.next_ended();
  if (!ended) stop(ended.error().line());
  if (*ended) jail.note(**ended);
  if (jail.guest_ended() && !jail.gone()) jail.kill();
  return jail.gone();
}

// `leased`: with the word that an owner says at the lease, and the time that a lease takes.
void parked(World& world, int gap_ms, bool leased) {
  const std::string kind = leased ? "leased" : "parked";
  const std::int64_t begun = monotonic_ns();
  const std::unique_ptr<WarmJail> jail = must_park(world);
  sample("jail: until it is parked", monotonic_ns() - begun);
  WarmJail::Ends ends = jail->take_ends();
  const std::string request = encode(Request{{"script.py"}, kScript});
  ::usleep(2000);
  if (leased) {
    (void)write_all(ends.request.get(), reinterpret_cast<const char*>(&kRequestComes),
                    sizeof kRequestComes);
    ::usleep(kLeaseUs);
  }
  idle(gap_ms);
  const std::int64_t sent = monotonic_ns();
  (void)write_all(ends.request.get(), request.data(), request.size());
  const std::optional<AnswerFrame> answer = parse_answer(read_once(ends.answer));
  const std::int64_t answered = monotonic_ns();
  const std::int64_t first = std::atoll(read_once(ends.out).c_str());
  if (!answer || first == 0) stop("the jail did not answer: " + read_once(ends.err));
  while (!hear_end(world, *jail)) {
  }
  Evidence evidence;
  jail->settle(world.plan(), evidence);
  sample(label(kind + ": request read", gap_ms), answer->received_ns - sent);
  sample(label(kind + ": compiled", gap_ms), answer->first_ns - sent);
  sample(label(kind + ": first bytecode", gap_ms), first - sent);
  sample(label(kind + ": answer", gap_ms), answered - sent);
  sample(label(kind + ": Result", gap_ms), monotonic_ns() - sent);
}

void forked(World& world) {
  const std::int64_t sent = monotonic_ns();
  Expected<std::unique_ptr<WarmJail>> jail = WarmJail::begin(world, true);
  if (!jail) stop(jail.error().line());
  WarmJail::Ends ends = (*jail)->take_ends();
  const std::string request = encode(Request{{"script.py"}, kScript});
  (void)write_all(ends.request.get(), request.data(), request.size());
  while ((*jail)->state() != WarmJail::State::Parked) {
    pollfd entry{(*jail)->control_fd(), POLLIN, 0};
    ::poll(&entry, 1, 20'000);
    if (const auto state = (*jail)->advance(); !state) stop(state.error().line());
  }
  const std::int64_t first = std::atoll(read_once(ends.out).c_str());
  while (!hear_end(world, **jail)) {
  }
  Evidence evidence;
  (*jail)->settle(world.plan(), evidence);
  sample("forked: first bytecode", first - sent);
  sample("forked: Result", monotonic_ns() - sent);
}

// `count` jails with up to kAtOnce of them under way at a time.
void storm(World& world, int count) {
  const std::string request = encode(Request{{"script.py"}, kScript});
  std::vector<std::unique_ptr<WarmJail>> live;
  std::map<const WarmJail*, WarmJail::Ends> ends;
  while (count > 0 || !live.empty()) {
    while (count > 0 && live.size() < kAtOnce) {
      Expected<std::unique_ptr<WarmJail>> jail = WarmJail::begin(world);
      if (!jail) stop(jail.error().line());
      --count;
      live.push_back(std::move(*jail));
    }
    std::vector<pollfd> entries{{world.keeper_fd(), POLLIN, 0}};
    for (const auto& jail : live) entries.push_back({jail->control_fd(), POLLIN, 0});
    ::poll(entries.data(), entries.size(), 20'000);
    for (std::size_t i = 0; i < live.size(); ++i) {
      if (entries[i + 1].fd < 0 || entries[i + 1].revents == 0) continue;
      const auto state = live[i]->advance();
      if (!state) stop(state.error().line());
      if (*state != WarmJail::State::Parked) continue;
      WarmJail::Ends& mine = ends[live[i].get()] = live[i]->take_ends();
      (void)write_all(mine.request.get(), request.data(), request.size());
    }
    if (entries[0].revents == 0) continue;
    for (auto ended = world.next_ended(); ended && *ended; ended = world.next_ended()) {
      for (auto& jail : live) {
        if (jail->note(**ended)) continue;
        if (jail->guest_ended() && !jail->gone()) jail->kill();
      }
    }
    std::erase_if(live, [&](const std::unique_ptr<WarmJail>& jail) {
      if (!jail->gone()) return false;
      Evidence evidence;
      if (jail->settle(world.plan(), evidence).verdict != Verdict::Ok) stop("a jail failed");
      ends.erase(jail.get());
      return true;
    });
  }
}

// --- CPU time and memory --------------------------------------------------------------------

// Of this process and of everything in the world, its dead included.
class CpuClock {
 public:
  explicit CpuClock(pid_t member) {
    std::ifstream table("/proc/" + std::to_string(member) + "/cgroup");
    for (std::string line; std::getline(table, line);) {
      if (!line.starts_with("0::")) continue;
      const std::string group = line.substr(3, line.rfind('/') - 3);
      for (const char* root : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
        file_ = root + group + "/cpu.stat";
        if (::access(file_.c_str(), R_OK) == 0) return;
      }
    }
    stop("cannot read the world's cpu.stat");
  }
  std::int64_t ns() const {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    std::ifstream stat(file_);
    std::string key;
    std::int64_t us = 0;
    stat >> key >> us;
    const auto of = [](const timeval& time) { return time.tv_sec * 1'000'000 + time.tv_usec; };
    return (us + of(usage.ru_utime) + of(usage.ru_stime)) * 1000;
  }

 private:
  std::string file_;
};

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

struct Load {
  double wall_us, cpu_us;  // per cycle
};

void measure(World& world, int rounds, int most) {
  Peer peer;
  const CpuClock cpu(must_park(world)->guest_host_pid());
  for (int round = -5; round < rounds; ++round) {
    if (round == 0) samples.clear();
    bare_fork(peer);
    forked(world);
    for (const int gap : {0, 1, 10}) {
      bare_parked(peer, gap);
      parked(world, gap, false);
      parked(world, gap, true);
    }
  }
  std::vector<Load> bare, ours;
  for (int block = 0; block < 5; ++block) {
    std::int64_t wall = 0, used = 0;
    const int count = std::max(rounds, 8);
    peer.ask("storm " + std::to_string(count)) >> wall >> used;
    bare.push_back(
        {static_cast<double>(wall) / 1e3 / count, static_cast<double>(used) / 1e3 / count});
    const std::int64_t cpu_before = cpu.ns(), begun = monotonic_ns();
    storm(world, count);
    wall = monotonic_ns() - begun;
    used = cpu.ns() - cpu_before;
    ours.push_back(
        {static_cast<double>(wall) / 1e3 / count, static_cast<double>(used) / 1e3 / count});
  }
  const auto median = [](std::vector<Load>& all, double Load::* field) {
    std::ranges::sort(all, {}, field);
    return all[all.size() / 2].*field;
  };
  document["cpu_us"] = {{"bare", median(bare, &Load::cpu_us)},
                        {"jail", median(ours, &Load::cpu_us)}};
  document["per_second"] = {{"bare", 1e6 / median(bare, &Load::wall_us)},
                            {"jail", 1e6 / median(ours, &Load::wall_us)}};
  document["mib_per_parked_jail"] = slope_mib(world, most);
}

void show() {
  std::printf("\n%-46s %9s %9s %9s %9s\n", "us", "p10", "p50", "p90", "p99");
  for (const auto& [name, all] : samples) {
    const double p10 = percentile(name, .1), p50 = percentile(name, .5), p90 = percentile(name, .9),
                 p99 = percentile(name, .99);
    std::printf("%-46s %9.1f %9.1f %9.1f %9.1f\n", name.c_str(), p10, p50, p90, p99);
    document["us"][name] = {{"p10", p10}, {"p50", p50}, {"p90", p90}, {"p99", p99}};
  }
  const auto goal = [](const std::string& what, double is, double most) {
    std::printf("%-56s %8.2f  goal %7.2f  %s\n", what.c_str(), is, most,
                is <= most ? "met" : "MISSED");
    document["goals"].push_back({{"what", what}, {"is", is}, {"most", most}});
  };
  const std::string first = "leased: first bytecode after 0 ms";
  std::printf("\n");
  goal("request to first bytecode, p50, us", percentile(first, .5), 50);
  goal("request to first bytecode, p99, us", percentile(first, .99), 250);
  goal("  over an unconfined parked child",
       percentile(first, .5) / percentile("unconfined parked: first bytecode after 0 ms", .5), 1.2);
  goal("Result, p50, ms", percentile("leased: Result after 0 ms", .5) / 1e3, 3);
  goal("pool empty: first bytecode over bare fork's",
       percentile("forked: first bytecode", .5) / percentile("bare fork: first byte", .5), 1.0);
  const auto& cpu = document["cpu_us"];
  const auto& rate = document["per_second"];
  std::printf("CPU per cycle: bare %.0f us, jail %.0f us; per second: bare %.0f, jail %.0f\n",
              cpu["bare"].get<double>(), cpu["jail"].get<double>(), rate["bare"].get<double>(),
              rate["jail"].get<double>());
  goal("CPU time of a cycle over bare fork's",
       cpu["jail"].get<double>() / cpu["bare"].get<double>(), 1.0);
  goal("bare forks per second over jails per second",
       rate["bare"].get<double>() / rate["jail"].get<double>(), 1.0);
  goal("memory per parked jail, MiB", document["mib_per_parked_jail"].get<double>(), 3);
}

}  // namespace
}  // namespace jailrun

int main(int argc, char** argv) {
  using namespace jailrun;
  int rounds = 200, most = 128;
  std::string json;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--rounds")
      rounds = std::atoi(argv[i + 1]);
    else if (option == "--parked")
      most = std::atoi(argv[i + 1]);
    else if (option == "--json")
      json = argv[i + 1];
    else
      stop("unknown option " + option);
  }
  const std::unique_ptr<Plan> plan = test::plan_of("python");
  const std::unique_ptr<World> world = plan ? test::start_world(*plan) : nullptr;
  if (world == nullptr || rounds < 1 || most < 9) stop("no world of warm jails, or a bad option");
  measure(*world, rounds, most);
  show();
  if (!json.empty()) std::ofstream(json) << document.dump(2) << "\n";
  return 0;
}
