// Warm jails one cycle at a time, and the unconfined Python that they are compared with: what
// warm_bench and ladder_bench have in common. Nothing here returns an error: a benchmark that
// cannot measure ends (stop).
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "jail/pool/warm_jail.h"
#include "jail/run/frames.h"

namespace jailrun::bench {

// The first statement tells when it ran: compile included.
inline constexpr const char* kScript = "import time; print(time.monotonic_ns())";

[[noreturn]] void stop(const std::string& why);  // exit status 125

// By name; given in nanoseconds, told in microseconds.
class Samples {
 public:
  void add(const std::string& name, std::int64_t ns) {
    of_[name].push_back(static_cast<double>(ns) / 1e3);
  }
  void clear() { of_.clear(); }
  double percentile(const std::string& name, double share) const;  // 0 where there is none
  std::vector<std::string> names() const;
  nlohmann::json json() const;  // name → p10, p50, p90, p99, count

 private:
  std::map<std::string, std::vector<double>> of_;
};

// The image's Python, unconfined, with a script of this folder: commands in, a line each out.
class Peer {
 public:
  explicit Peer(const std::string& script);
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer();
  std::istringstream ask(const std::string& command);
  std::string line();
  int request_fd() const { return request_.get(); }  // its descriptor 3

 private:
  pid_t pid_;
  std::FILE *to_, *from_;
  Fd request_;
};

// CPU time of this process and of everything in a world, its dead included.
class CpuClock {
 public:
  explicit CpuClock(World& world);
  std::int64_t ns() const;

 private:
  std::string file_;
};

// A world from the programs of a directory, its zygote ready. `report`: the zygote's own account.
std::unique_ptr<World> start_world(const Plan& plan, const std::string& programs,
                                   std::string& report);

// The word that an owner says at a lease comes so long before the client's request.
inline constexpr std::int64_t kLeaseNs = 100'000;

struct Wake {
  std::int64_t settle_ns = 2'000'000;  // until the guest certainly sleeps
  std::int64_t idle_ns = 0;            // then
  bool told = false;                   // with the word of a lease, kLeaseNs ahead
  int guest_cpu = -1;                  // pinned there; -1: as the product leaves it
};

// Times of one cycle, in ns since the request was sent; parked: since begin().
struct Cycle {
  std::int64_t parked, received, compiled, first, answer, result;
};

std::unique_ptr<WarmJail> must_park(World& world);
Cycle run_parked(World& world, const Wake& wake);
// The pool is empty: a jail for somebody who waits, from begin(); `slot_stands`: from a moment at
// which its slot has been built already. Only first and result are told.
Cycle run_forked(World& world, bool slot_stands);

void sleep_ns(std::int64_t ns);
void pin(pid_t pid, int cpu);  // 0: the caller; cpu -1: to any

}  // namespace jailrun::bench
