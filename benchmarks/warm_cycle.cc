#include "benchmarks/warm_cycle.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>

namespace jailrun::bench {
namespace {

constexpr int kPatienceMs = 20'000;

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, kPatienceMs) > 0;
}

// The image read-only, with a /tmp, as a root of its own; not by chroot, where no user namespace
// can be made.
bool enter_image() {
  const std::string tree = "/var/lib/jailrun/rootfs/python/tree";
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount(tree.c_str(), tree.c_str(), nullptr, MS_BIND, nullptr) == 0 &&
         ::mount(nullptr, tree.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0 &&
         ::mount("none", (tree + "/tmp").c_str(), "tmpfs", 0, nullptr) == 0 &&
         ::mount("/dev", (tree + "/dev").c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0 &&
         ::mount("/proc", (tree + "/proc").c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0 &&
         ::chdir(tree.c_str()) == 0 && ::syscall(SYS_pivot_root, ".", ".") == 0 &&
         ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0;
}

[[noreturn]] void become_python(const std::string& name, int in, int out, int request) {
  std::ifstream file(std::string(JAILRUN_SOURCE_DIR) + "/benchmarks/" + name);
  std::stringstream script;
  script << file.rdbuf();
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(request, 3);
  if (!enter_image()) stop("cannot enter the image: " + std::string(std::strerror(errno)));
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

std::string read_once(const Fd& fd) {
  char text[256];
  const ssize_t n = ::read(fd.get(), text, sizeof text);
  return {text, static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
}

void must_advance(WarmJail& jail) {
  if (!readable(jail.control_fd())) stop("a jail hangs while it is made");
  if (const auto state = jail.advance(); !state) stop(state.error().line());
}

// Until all of the jail is gone, and judged.
void end(World& world, WarmJail& jail) {
  while (!jail.gone()) {
    if (!readable(world.keeper_fd())) stop("a jail does not end");
    const Expected<std::optional<Ended>> ended = world.next_ended();
    if (!ended) stop(ended.error().line());
    if (*ended) jail.note(**ended);
    if (jail.guest_ended() && !jail.gone()) jail.kill();
  }
  Evidence evidence;
  if (jail.settle(world.plan(), evidence).verdict != Verdict::Ok) stop("a jail failed");
}

}  // namespace

void stop(const std::string& why) {
  std::fprintf(stderr, "benchmark: %s\n", why.c_str());
  std::exit(125);
}

// --- samples --------------------------------------------------------------------------------

double Samples::percentile(const std::string& name, double share) const {
  const auto found = of_.find(name);
  if (found == of_.end()) return 0;
  std::vector<double> all = found->second;
  std::ranges::sort(all);
  return all[std::min(all.size() - 1,
                      static_cast<std::size_t>(share * static_cast<double>(all.size())))];
}

std::vector<std::string> Samples::names() const {
  std::vector<std::string> all;
  for (const auto& [name, values] : of_) all.push_back(name);
  return all;
}

nlohmann::json Samples::json() const {
  nlohmann::json all = nlohmann::json::object();
  for (const auto& [name, values] : of_) {
    all[name] = {{"p10", percentile(name, .1)},
                 {"p50", percentile(name, .5)},
                 {"p90", percentile(name, .9)},
                 {"p99", percentile(name, .99)},
                 {"count", values.size()}};
  }
  return all;
}

// --- the unconfined Python ------------------------------------------------------------------

Peer::Peer(const std::string& script) {
  int in[2], out[2], request[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0 ||
      ::pipe2(request, O_CLOEXEC) != 0)
    stop("cannot make pipes");
  pid_ = ::fork();
  if (pid_ == 0) become_python(script, in[0], out[1], request[0]);
  ::close(in[0]);
  ::close(out[1]);
  ::close(request[0]);
  to_ = ::fdopen(in[1], "w");
  from_ = ::fdopen(out[0], "r");
  request_ = Fd(request[1]);
}

Peer::~Peer() {
  std::fclose(to_);
  std::fclose(from_);
  ::waitpid(pid_, nullptr, 0);
}

std::istringstream Peer::ask(const std::string& command) {
  std::fprintf(to_, "%s\n", command.c_str());
  std::fflush(to_);
  return std::istringstream(line());
}

std::string Peer::line() {
  char text[256];
  if (std::fgets(text, sizeof text, from_) == nullptr) stop("the unconfined Python is dead");
  return text;
}

// --- CPU time -------------------------------------------------------------------------------

CpuClock::CpuClock(World& world) {
  const std::unique_ptr<WarmJail> jail = must_park(world);
  std::ifstream table("/proc/" + std::to_string(jail->guest_host_pid()) + "/cgroup");
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

std::int64_t CpuClock::ns() const {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::ifstream stat(file_);
  std::string key;
  std::int64_t us = 0;
  stat >> key >> us;
  const auto of = [](const timeval& time) { return time.tv_sec * 1'000'000 + time.tv_usec; };
  return (us + of(usage.ru_utime) + of(usage.ru_stime)) * 1000;
}

// --- jails ----------------------------------------------------------------------------------

std::unique_ptr<World> start_world(const Plan& plan, const std::string& programs,
                                   std::string& report) {
  Expected<std::unique_ptr<World>> world = World::start(plan, 2, programs);
  if (!world) stop(world.error().line());
  for (Expected<bool> ready = false; !*ready;) {
    if (!readable((*world)->zygote_fd())) stop("the zygote hangs");
    ready = (*world)->zygote_ready(report);
    if (!ready) stop(ready.error().line());
  }
  return std::move(*world);
}

std::unique_ptr<WarmJail> must_park(World& world) {
  Expected<std::unique_ptr<WarmJail>> jail = WarmJail::begin(world);
  if (!jail) stop(jail.error().line());
  while ((*jail)->state() != WarmJail::State::Parked) must_advance(**jail);
  return std::move(*jail);
}

Cycle run_parked(World& world, const Wake& wake) {
  const std::int64_t begun = monotonic_ns();
  const std::unique_ptr<WarmJail> jail = must_park(world);
  Cycle cycle{};
  cycle.parked = monotonic_ns() - begun;
  if (wake.guest_cpu >= 0) pin(jail->guest_host_pid(), wake.guest_cpu);
  const std::string request = encode(Request{{"script.py"}, kScript});
  sleep_ns(wake.settle_ns);
  if (wake.told) {
    jail->announce_request();
    sleep_ns(kLeaseNs);
  }
  const WarmJail::Ends ends = jail->take_ends();
  sleep_ns(wake.idle_ns);
  const std::int64_t sent = monotonic_ns();
  (void)write_all(ends.request.get(), request.data(), request.size());
  const std::optional<AnswerFrame> answer = parse_answer(read_once(ends.answer));
  cycle.answer = monotonic_ns() - sent;
  const std::int64_t first = std::atoll(read_once(ends.out).c_str());
  if (!answer || first == 0) stop("a jail did not answer: " + read_once(ends.err));
  end(world, *jail);
  cycle.result = monotonic_ns() - sent;
  cycle.received = answer->received_ns - sent;
  cycle.compiled = answer->first_ns - sent;
  cycle.first = first - sent;
  return cycle;
}

Cycle run_forked(World& world, bool slot_stands) {
  std::int64_t sent = monotonic_ns();
  Expected<std::unique_ptr<WarmJail>> jail = WarmJail::begin(world, true);
  if (!jail) stop(jail.error().line());
  const WarmJail::Ends ends = (*jail)->take_ends();
  if (slot_stands) {
    if (!readable((*jail)->control_fd())) stop("a slot is not built");
    sleep_ns(1'000'000);
    sent = monotonic_ns();
  }
  const std::string request = encode(Request{{"script.py"}, kScript});
  (void)write_all(ends.request.get(), request.data(), request.size());
  while ((*jail)->state() != WarmJail::State::Parked) must_advance(**jail);
  const std::int64_t first = std::atoll(read_once(ends.out).c_str());
  if (first == 0) stop("a jail did not answer: " + read_once(ends.err));
  end(world, **jail);
  Cycle cycle{};
  cycle.first = first - sent;
  cycle.result = monotonic_ns() - sent;
  return cycle;
}

void sleep_ns(std::int64_t ns) {
  const timespec span{ns / 1'000'000'000, ns % 1'000'000'000};
  if (ns > 0) ::clock_nanosleep(CLOCK_MONOTONIC, 0, &span, nullptr);
}

void pin(pid_t pid, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int any = 0; any < CPU_SETSIZE; ++any) {
    if (cpu < 0 || any == cpu) CPU_SET(static_cast<std::size_t>(any), &set);
  }
  if (::sched_setaffinity(pid, sizeof set, &set) != 0)
    stop("cannot pin to CPU " + std::to_string(cpu));
}

}  // namespace jailrun::bench
