#include "jail/daemon/exposition.h"

#include <algorithm>
#include <cstdio>

namespace jailrun {
namespace {

struct FamilyInfo {
  const char *name, *type;
  const char* kind;  // what the row's kind is called as label; its text is a bucket's `le`
  const char* help;
};

constexpr FamilyInfo kFamilies[] = {
    {"jaild_connections", "gauge", "", "Connections of clients"},
    {"jaild_leases", "gauge", "", "Jails that are lent"},
    {"jaild_sessions", "gauge", "", "Sessions, branches included"},
    {"jaild_memory_available_bytes", "gauge", "", "Memory that the host has left"},
    {"jaild_memory_total_bytes", "gauge", "", "Memory of the host"},
    {"jaild_connections_total", "counter", "", "Connections of clients since the start"},
    {"jaild_broken_connections_total", "counter", "", "Connections ended for what they sent"},
    {"jaild_swept_total", "counter", "", "Cgroups that a killed jaild had left"},
    {"jaild_policy_reloads_total", "counter", "", "Policies read again"},
    {"jaild_leases_total", "counter", "start", "Jails lent, by how they were had"},
    {"jaild_start_seconds", "histogram", "start",
     "From the request to the jail, by how it was had"},
    {"jaild_queue_seconds_total", "counter", "", "Time that requests have waited for a jail"},
    {"jaild_built_total", "counter", "", "Jails built: refills of the pool"},
    {"jaild_build_seconds_total", "counter", "", "Time that building them took"},
    {"jaild_build_failures_total", "counter", "", "Jails that could not be built"},
    {"jaild_parked_deaths_total", "counter", "", "Jails that ended while they waited"},
    {"jaild_worlds_started_total", "counter", "", "Interpreters started"},
    {"jaild_worlds_failed_total", "counter", "", "Interpreters that did not get ready"},
    {"jaild_import_seconds", "gauge", "", "Time that the last interpreter took to get ready"},
    {"jaild_ended_total", "counter", "verdict", "Jails that have ended, by verdict"},
    {"jaild_refused_total", "counter", "reason", "Requests that jaild has refused"},
    {"jaild_parked", "gauge", "owner", "Jails that wait, ready"},
    {"jaild_building", "gauge", "owner", "Jails that are being built"},
    {"jaild_leased", "gauge", "owner", "Jails of the pool that are lent"},
    {"jaild_waiting", "gauge", "owner", "Requests that wait for a jail"},
    {"jaild_target", "gauge", "owner", "Jails that the pool wants to have ready"},
    {"jaild_arrivals_per_second", "gauge", "owner", "Requests a second, lately"},
    {"jaild_worlds", "gauge", "owner", "Interpreters"},
    {"jaild_zygote_children", "gauge", "owner", "Jails that the interpreter has made"},
    {"jaild_warm", "gauge", "owner", "1 where jails can be made at once"},
    {"jaild_last_failure", "gauge", "failure", "1 where the pool cannot be filled just now"},
};

constexpr std::string_view kSuffixes[] = {"_bucket", "_sum", "_count"};

bool ends_with_one(std::string_view name, std::string_view& base, std::string_view& suffix) {
  const auto found = std::find_if(std::begin(kSuffixes), std::end(kSuffixes),
                                  [&](std::string_view each) { return name.ends_with(each); });
  if (found == std::end(kSuffixes)) return false;
  suffix = *found;
  base = name.substr(0, name.size() - suffix.size());
  return true;
}

const FamilyInfo* find_family(std::string_view name) {
  const auto found = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                  [&](const FamilyInfo& each) { return name == each.name; });
  return found == std::end(kFamilies) ? nullptr : found;
}

// Names of owners are clients' words: nothing of them may end a line or a label.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c >= 0x20 && c < 0x7f ? c : '?';
  }
  return out;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

}  // namespace

void Exposition::family(std::string_view name, std::string_view type, std::string_view help) {
  const auto [found, is_new] = index_.try_emplace(std::string(name), families_.size());
  if (is_new) families_.push_back({std::string(name), std::string(type), std::string(help), {}});
  current_ = found->second;
}

void Exposition::sample(const Labels& labels, double value, std::string_view suffix) {
  Family& family = families_[current_];
  std::string name = family.name + std::string(suffix), list;
  for (const auto& [key, text] : labels)
    if (!text.empty()) list += (list.empty() ? "" : ",") + key + "=\"" + escaped(text) + '"';
  if (!list.empty()) name += "{" + list + "}";
  const auto same = std::ranges::find(family.samples, name,
                                      [](const auto& each) -> const auto& { return each.first; });
  if (same == family.samples.end()) {
    family.samples.emplace_back(std::move(name), value);
  } else {
    same->second += value;
  }
}

std::string Exposition::text() const {
  std::string out;
  for (const Family& each : families_) {
    if (each.samples.empty()) continue;
    if (!each.help.empty()) out += "# HELP " + each.name + " " + each.help + "\n";
    out += "# TYPE " + each.name + " " + each.type + "\n";
    for (const auto& [name, value] : each.samples) out += name + " " + number(value) + "\n";
  }
  return out;
}

void expose(const Metrics& metrics, Exposition& into) {
  for (const Metric& row : metrics) {
    std::string_view base = row.name, suffix;
    const FamilyInfo* info = find_family(row.name);
    if (info == nullptr && ends_with_one(row.name, base, suffix)) info = find_family(base);
    const bool is_bucket = suffix == "_bucket";
    if (info == nullptr) {
      into.family(row.name, "untyped", "");
      into.sample({{"policy", row.policy}, {"kind", row.kind}}, row.value);
      continue;
    }
    into.family(info->name, info->type, info->help);
    into.sample({{"policy", row.policy},
                 {*info->kind == '\0' ? "kind" : info->kind, row.kind},
                 {"le", is_bucket ? row.text : ""}},
                row.value, suffix);
  }
}

}  // namespace jailrun
