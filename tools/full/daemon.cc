// `jailrun ps`, `stats` and `kill`: what jaild has and does.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "jail/daemon/client.h"
#include "jail/daemon/exposition.h"
#include "jail/sys/units.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kOurFailure = 125;

int fail(const std::string& line) {
  std::fprintf(stderr, "jailrun: %s\n", line.c_str());
  return kOurFailure;
}

void print(const Json& json) {
  // Owners' names are clients' words: what is not UTF-8 becomes U+FFFD.
  std::printf("%s\n", json.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
}

// Names that a client chose must not write to the terminal.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out;
}

std::string column(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size() + 1), ' ');
  return text;
}

Json to_json(const JailInfo& jail) {
  return {{"lease", jail.lease},         {"policy", jail.policy},
          {"state", jail.state},         {"uid", jail.uid},
          {"owner", jail.owner},         {"pid", jail.pid},
          {"host_uid", jail.host_uid},   {"age_ns", jail.age_ns},
          {"leased_ns", jail.leased_ns}, {"memory_peak_bytes", jail.memory_bytes}};
}

int ps(bool json) {
  Expected<Client> client = Client::connect();
  if (!client) return fail(client.error().line());
  const Expected<JailList> list = client->ps();
  if (!list) return fail(list.error().line());
  if (json) {
    Json all = {{"jails", Json::array()}, {"more", list->more}};
    for (const JailInfo& jail : list->jails) all["jails"].push_back(to_json(jail));
    print(all);
    return 0;
  }
  const std::size_t widths[] = {8, 16, 11, 24, 9, 10, 10, 10};
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) text += column(cells[i], widths[i]);
    std::printf("%s\n", text.substr(0, text.find_last_not_of(' ') + 1).c_str());
  };
  line({"LEASE", "POLICY", "STATE", "OWNER", "PID", "AGE", "LEASED", "MEMORY"});
  for (const JailInfo& jail : list->jails) {
    const bool leased = jail.lease != 0;
    std::string owner = std::to_string(jail.uid);
    if (!jail.owner.empty()) owner += ":" + plain(jail.owner);
    line({leased ? std::to_string(jail.lease) : "-", jail.policy, jail.state, leased ? owner : "-",
          jail.pid == 0 ? "-" : std::to_string(jail.pid), format_duration(jail.age_ns),
          leased ? format_duration(jail.leased_ns) : "-",
          leased ? format_bytes(jail.memory_bytes) : "-"});
  }
  if (list->more > 0) std::printf("and %llu more\n", static_cast<unsigned long long>(list->more));
  return 0;
}

int stats(bool json) {
  Expected<Client> client = Client::connect();
  if (!client) return fail(client.error().line());
  const Expected<Metrics> metrics = client->stats();
  if (!metrics) return fail(metrics.error().line());
  if (!json) {
    Exposition exposition;
    expose(*metrics, exposition);
    std::fputs(exposition.text().c_str(), stdout);
    return 0;
  }
  Json all = Json::array();
  for (const Metric& each : *metrics)
    all.push_back({{"name", each.name},
                   {"policy", each.policy},
                   {"kind", each.kind},
                   {"value", each.value},
                   {"text", each.text}});
  print(all);
  return 0;
}

int kill(std::uint64_t lease) {
  Expected<Client> client = Client::connect();
  if (!client) return fail(client.error().line());
  const Expected<std::optional<Refusal>> refusal = client->kill_jail(lease);
  if (!refusal) return fail(refusal.error().line());
  return *refusal ? fail((*refusal)->line()) : 0;
}

}  // namespace

void add_daemon(CLI::App& app, int& status) {
  const auto json = std::make_shared<bool>(false);
  const auto lease = std::make_shared<std::uint64_t>(0);
  CLI::App* list = app.add_subcommand("ps", "list the jails of jaild: all for root, else your own");
  list->add_flag("--json", *json, "as JSON");
  list->callback([json, &status] { status = ps(*json); });
  CLI::App* numbers = app.add_subcommand(
      "stats", "print what jaild counts, as Prometheus reads it. JSON on demand");
  numbers->add_flag("--json", *json, "as JSON");
  numbers->callback([json, &status] { status = stats(*json); });
  CLI::App* end = app.add_subcommand("kill", "end a leased jail; its Result says cancelled");
  end->add_option("LEASE", *lease, "number as `jailrun ps` shows it")->required();
  end->callback([lease, &status] { status = kill(*lease); });
}

}  // namespace jailrun::full
