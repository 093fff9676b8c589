// What `jailrun top` shows, as lines of a terminal: of numbers, without asking anybody.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "jail/daemon/client.h"

namespace jailrun::full {

// What jaild and jailagent say at one time.
struct Sample {
  std::int64_t at_ns = 0;
  std::string fault;  // why jaild does not answer; empty: it does
  Metrics metrics;
  JailList jails;
  std::vector<SessionInfo> sessions;
  std::map<std::string, double> service;  // samples of jailagent's /metrics; empty: no answer
};

struct PoolRow {
  std::string policy, failure;
  double parked = 0, target = 0, building = 0, leased = 0, waiting = 0, leases = 0, refused = 0;
  std::optional<double> per_second;  // leases, since the sample of before
  double median_start_s = 0;         // of all of them: the bound of its bucket
  bool warm = false;
};
std::vector<PoolRow> pool_rows(const Sample& now, const Sample* before);
std::map<std::string, double> verdicts(const Sample& sample);
double total(const Sample& sample, const std::string& name);

struct Screen {
  std::size_t columns = 80, rows = 24;
  bool colour = false;
};
// At most `rows` lines of at most `columns` characters, colours apart. Nothing of what clients call
// themselves reaches the terminal but printable ASCII.
std::vector<std::string> lines_of(const Sample& now, const Sample* before, const Screen& screen);

// As one JSON object.
std::string json_of(const Sample& now, const Sample* before);

}  // namespace jailrun::full
