#include "tools/full/top_view.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "jail/sys/units.h"

namespace jailrun::full {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char *kBold = "\x1b[1m", *kRed = "\x1b[31m", *kDim = "\x1b[2m", *kPlain = "\x1b[0m";

std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out;
}

std::string count(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", value);
  return text;
}

std::string short_seconds(double seconds) {
  if (seconds <= 0) return "-";
  char text[32];
  if (seconds < 1) {
    std::snprintf(text, sizeof text, "%.3gms", seconds * 1000);
  } else {
    std::snprintf(text, sizeof text, "%.3gs", seconds);
  }
  return text;
}

std::string rate(const std::optional<double>& per_second) {
  if (!per_second) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", *per_second);
  return text;
}

double value_of(const Sample& sample, const std::string& name, const std::string& policy) {
  double sum = 0;
  for (const Metric& each : sample.metrics)
    if (each.name == name && each.policy == policy) sum += each.value;
  return sum;
}

double median_start(const Sample& sample, const std::string& policy) {
  std::map<double, double> below;
  for (const Metric& each : sample.metrics)
    if (each.name == "jaild_start_seconds_bucket" && each.policy == policy && each.text != "+Inf")
      below[std::strtod(each.text.c_str(), nullptr)] += each.value;
  const double all = value_of(sample, "jaild_start_seconds_count", policy);
  for (const auto& [bound, number] : below)
    if (all > 0 && number * 2 >= all) return bound;
  return 0;
}

std::optional<double> per_second(const Sample& now, const Sample* before, double value,
                                 double earlier) {
  if (before == nullptr || now.at_ns <= before->at_ns || value < earlier) return std::nullopt;
  return (value - earlier) * 1e9 / static_cast<double>(now.at_ns - before->at_ns);
}

struct Column {
  const char* head;
  std::size_t width;
  bool to_right;
};

std::string row(const std::vector<Column>& columns, const std::vector<std::string>& cells) {
  std::string line;
  for (std::size_t i = 0; i < columns.size() && i < cells.size(); ++i) {
    const std::string cell = cells[i].substr(0, columns[i].width);
    const std::string space(columns[i].width - cell.size(), ' ');
    line += (i == 0 ? "" : " ") + (columns[i].to_right ? space + cell : cell + space);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string heads(const std::vector<Column>& columns) {
  std::vector<std::string> cells;
  for (const Column& each : columns) cells.emplace_back(each.head);
  return row(columns, cells);
}

class Page {
 public:
  explicit Page(const Screen& screen) : screen_(screen) {}
  void add(const std::string& text, const char* colour = "") {
    const std::string cut = text.substr(0, screen_.columns);
    const bool coloured = screen_.colour && *colour != '\0' && !cut.empty();
    lines_.push_back(coloured ? colour + cut + kPlain : cut);
  }
  std::size_t left() const {
    return screen_.rows > lines_.size() ? screen_.rows - lines_.size() : 0;
  }
  std::vector<std::string> take() {
    if (lines_.size() > screen_.rows) lines_.resize(screen_.rows);
    return std::move(lines_);
  }

 private:
  const Screen screen_;
  std::vector<std::string> lines_;
};

void add_head(const Sample& now, const Sample* before, Page& page) {
  if (!now.fault.empty()) {
    page.add("jaild does not answer: " + plain(now.fault), kRed);
  } else {
    page.add("jaild: " + count(total(now, "jaild_leased")) + " jails in use, " +
                 count(total(now, "jaild_parked")) + " ready, " +
                 count(total(now, "jaild_waiting")) + " requests wait, " +
                 count(total(now, "jaild_sessions")) + " sessions",
             kBold);
    const auto available = static_cast<std::uint64_t>(total(now, "jaild_memory_available_bytes"));
    const auto all = static_cast<std::uint64_t>(total(now, "jaild_memory_total_bytes"));
    page.add("memory: " + format_bytes(available) + " of " + format_bytes(all) + " left");
  }
  if (now.service.empty()) return;
  const auto of = [](const Sample& sample, const std::string& prefix) {
    double sum = 0;
    for (const auto& [name, value] : sample.service)
      if (name.starts_with(prefix)) sum += value;
    return sum;
  };
  const double replies = of(now, "jailagent_replies_total");
  const bool both = before != nullptr && !before->service.empty();
  const auto speed = both ? per_second(now, before, replies, of(*before, "jailagent_replies_total"))
                          : std::nullopt;
  page.add("jailagent: " + count(replies) + " replies (" + rate(speed) + "/s), " +
           count(of(now, "jailagent_replies_total{status=\"5xx\"}")) + " failures, " +
           count(of(now, "jailagent_sessions")) + " sessions, " +
           count(of(now, "jailagent_model_tokens_total{kind=\"input\"}") +
                 of(now, "jailagent_model_tokens_total{kind=\"output\"}")) +
           " tokens");
}

void add_pools(const std::vector<PoolRow>& pools, Page& page) {
  if (pools.empty()) return;
  const std::vector<Column> columns = {
      {"POLICY", 16, false}, {"READY", 5, true},  {"WANT", 5, true}, {"BUILD", 5, true},
      {"IN USE", 6, true},   {"WAIT", 5, true},   {"LENT", 9, true}, {"PER S", 7, true},
      {"START", 7, true},    {"REFUSED", 7, true}};
  page.add("");
  page.add(heads(columns), kBold);
  for (const PoolRow& each : pools) {
    const bool ill = !each.failure.empty();
    std::string line = row(
        columns, {each.policy, count(each.parked), count(each.target), count(each.building),
                  count(each.leased), count(each.waiting), count(each.leases),
                  rate(each.per_second), short_seconds(each.median_start_s), count(each.refused)});
    page.add(line, ill ? kRed : each.warm ? "" : kDim);
    if (ill) page.add("  " + plain(each.failure), kRed);
  }
}

void add_jails(const Sample& now, Page& page) {
  std::vector<JailInfo> jails = now.jails.jails;
  std::erase_if(jails, [](const JailInfo& each) { return each.lease == 0; });
  if (jails.empty() || page.left() < 3) return;
  std::ranges::sort(jails, std::greater{}, &JailInfo::memory_bytes);
  const std::vector<Column> columns = {{"LEASE", 8, true},   {"POLICY", 16, false},
                                       {"OWNER", 20, false}, {"IN USE", 9, true},
                                       {"MEMORY", 9, true},  {"PID", 8, true}};
  page.add("");
  page.add(heads(columns), kBold);
  for (const JailInfo& each : jails) {
    if (page.left() == 0) return;
    const std::string owner =
        std::to_string(each.uid) + (each.owner.empty() ? "" : ":" + plain(each.owner));
    page.add(row(columns,
                 {std::to_string(each.lease), each.policy, owner, format_duration(each.leased_ns),
                  format_bytes(each.memory_bytes), std::to_string(each.pid)}));
  }
}

}  // namespace

double total(const Sample& sample, const std::string& name) {
  double sum = 0;
  for (const Metric& each : sample.metrics)
    if (each.name == name) sum += each.value;
  return sum;
}

std::map<std::string, double> verdicts(const Sample& sample) {
  std::map<std::string, double> all;
  for (const Metric& each : sample.metrics)
    if (each.name == "jaild_ended_total") all[each.kind] += each.value;
  return all;
}

std::vector<PoolRow> pool_rows(const Sample& now, const Sample* before) {
  std::map<std::string, PoolRow> rows;
  for (const Metric& each : now.metrics) {
    if (each.policy.empty()) continue;
    PoolRow& pool = rows[each.policy];
    pool.policy = each.policy;
    if (each.name == "jaild_parked") pool.parked += each.value;
    if (each.name == "jaild_target") pool.target += each.value;
    if (each.name == "jaild_building") pool.building += each.value;
    if (each.name == "jaild_leased") pool.leased += each.value;
    if (each.name == "jaild_waiting") pool.waiting += each.value;
    if (each.name == "jaild_leases_total") pool.leases += each.value;
    if (each.name == "jaild_refused_total") pool.refused += each.value;
    if (each.name == "jaild_warm" && each.value > 0) pool.warm = true;
    if (each.name == "jaild_last_failure") pool.failure = each.kind + ": " + each.text;
  }
  std::vector<PoolRow> all;
  for (auto& [policy, pool] : rows) {
    pool.median_start_s = median_start(now, policy);
    pool.per_second =
        per_second(now, before, pool.leases,
                   before == nullptr ? 0 : value_of(*before, "jaild_leases_total", policy));
    all.push_back(std::move(pool));
  }
  return all;
}

std::vector<std::string> lines_of(const Sample& now, const Sample* before, const Screen& screen) {
  Page page(screen);
  add_head(now, before, page);
  add_pools(pool_rows(now, before), page);
  std::string ended;
  for (const auto& [name, number] : verdicts(now))
    ended += (ended.empty() ? "ended: " : ", ") + name + " " + count(number);
  if (!ended.empty()) {
    page.add("");
    page.add(ended);
  }
  add_jails(now, page);
  return page.take();
}

std::string json_of(const Sample& now, const Sample* before) {
  Json out = {{"jaild", now.fault.empty()},
              {"fault", now.fault.empty() ? Json() : Json(now.fault)},
              {"memory_available_bytes", total(now, "jaild_memory_available_bytes")},
              {"memory_total_bytes", total(now, "jaild_memory_total_bytes")},
              {"pools", Json::array()},
              {"verdicts", verdicts(now)},
              {"jails", Json::array()},
              {"sessions", Json::array()},
              {"service", now.service.empty() ? Json() : Json(now.service)}};
  for (const PoolRow& each : pool_rows(now, before))
    out["pools"].push_back(
        {{"policy", each.policy},
         {"warm", each.warm},
         {"parked", each.parked},
         {"target", each.target},
         {"building", each.building},
         {"leased", each.leased},
         {"waiting", each.waiting},
         {"leases", each.leases},
         {"leases_per_second", each.per_second ? Json(*each.per_second) : Json()},
         {"median_start_seconds", each.median_start_s > 0 ? Json(each.median_start_s) : Json()},
         {"refused", each.refused},
         {"failure", each.failure.empty() ? Json() : Json(each.failure)}});
  for (const JailInfo& each : now.jails.jails)
    if (each.lease != 0)
      out["jails"].push_back({{"lease", each.lease},
                              {"policy", each.policy},
                              {"uid", each.uid},
                              {"owner", each.owner},
                              {"leased_ns", each.leased_ns},
                              {"memory_peak_bytes", each.memory_bytes}});
  for (const SessionInfo& each : now.sessions)
    out["sessions"].push_back({{"session", each.session},
                               {"policy", each.policy},
                               {"state", each.state},
                               {"idle_ns", each.idle_ns},
                               {"memory_peak_bytes", each.memory_bytes}});
  return out.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace jailrun::full
