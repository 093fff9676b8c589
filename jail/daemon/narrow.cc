#include "jail/daemon/narrow.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "jail/plan/nearest.h"
#include "jail/sys/units.h"

namespace jailrun {
namespace {

std::optional<std::uint64_t> whole(std::string_view text) {
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> thousandths(std::string_view text) {
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  if (!(value > 0) || !(value <= 1024)) return std::nullopt;
  return static_cast<std::uint64_t>(std::ceil(value * 1000 - 1e-6));
}

std::optional<std::uint64_t> duration(std::string_view text) { return parse_duration_ns(text); }
std::optional<std::uint64_t> bytes(std::string_view text) { return parse_bytes(text); }

struct Field {
  std::string_view path;
  std::uint64_t LeaseLimits::* value;
  std::optional<std::uint64_t> (*parse)(std::string_view);
  std::uint64_t least;  // as policy.proto says
  const char* how;
};

constexpr Field kLate[] = {
    {"limits.memory", &LeaseLimits::memory_bytes, bytes, 16 * kMiB, "a size of at least 16MiB"},
    {"limits.pids", &LeaseLimits::pids, whole, 1, "a whole number"},
    {"limits.cpus", &LeaseLimits::cpu_millis, thousandths, 10, "a number of at least 0.01"},
    {"limits.wall", &LeaseLimits::wall_ns, duration, kMs, "a duration of at least 1ms"},
    {"limits.cpu_time", &LeaseLimits::cpu_ns, duration, kMs, "a duration of at least 1ms"},
    {"limits.output", &LeaseLimits::output_bytes, bytes, kKiB, "a size of at least 1KiB"},
    {"limits.collect_files", &LeaseLimits::collect_files, whole, 0, "a whole number"},
    {"limits.collect_bytes", &LeaseLimits::collect_bytes, bytes, 0, "a size"},
};

std::unexpected<Refusal> refuse(std::string_view name, std::string message, std::string remedy) {
  return std::unexpected(Refusal{0, std::string(name), std::move(message), std::move(remedy)});
}

// "limits" as a whole stands for each of its fields.
bool listed(const std::vector<std::string>& overridable, std::string_view path) {
  return std::any_of(overridable.begin(), overridable.end(), [&](const std::string& each) {
    return path == each || (path.starts_with(each) && path.substr(each.size()).starts_with('.'));
  });
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "none" : text;
}

}  // namespace

LeaseLimits limits_of(const Plan& plan) {
  return {plan.memory_bytes, plan.pids,         plan.cpu_millis,    plan.wall_ns,
          plan.cpu_ns,       plan.output_bytes, plan.collect_files, plan.collect_bytes};
}

void apply(const LeaseLimits& limits, Plan& plan) {
  plan.memory_bytes = limits.memory_bytes;
  plan.pids = static_cast<std::uint32_t>(limits.pids);
  plan.cpu_millis = static_cast<std::uint32_t>(limits.cpu_millis);
  plan.wall_ns = limits.wall_ns;
  plan.cpu_ns = limits.cpu_ns;
  plan.output_bytes = limits.output_bytes;
  plan.collect_files = static_cast<std::uint32_t>(limits.collect_files);
  plan.collect_bytes = limits.collect_bytes;
}

std::expected<LeaseLimits, Refusal> narrow(const Spec& spec, const LeaseLimits& from,
                                           const std::vector<std::string>& overrides) {
  LeaseLimits to = from;
  bool own_cpu_time = from.cpu_ns < from.wall_ns / 1000 * from.cpu_millis;
  for (const std::string& each : overrides) {
    const std::size_t equals = std::min(each.find('='), each.size());
    const std::string path = each.substr(0, equals);
    const std::string value = equals < each.size() ? each.substr(equals + 1) : "";
    if (!listed(spec.overridable, path)) {
      return refuse(refusal::kNotOverridable,
                    in_quotes(path) + " may not be set by clients of policy " + spec.name,
                    "it lists: " + joined(spec.overridable) + "; --cold takes any");
    }
    const auto field = std::find_if(std::begin(kLate), std::end(kLate),
                                    [&](const Field& known) { return known.path == path; });
    if (field == std::end(kLate)) {
      return refuse(refusal::kNotLate, in_quotes(path) + " cannot change in a jail that waits",
                    "run with --cold, or install a policy that says so");
    }
    const auto wanted = field->parse(value);
    if (!wanted || *wanted < field->least) {
      return refuse(refusal::kBadValue, path + ": " + in_quotes(value) + " does not fit",
                    path + " takes " + field->how);
    }
    const bool is_wall = field->value == &LeaseLimits::wall_ns;
    if (*wanted > (is_wall ? spec.limits.wall_most_ns.get() : from.*(field->value))) {
      return refuse(refusal::kNotNarrower,
                    path + "=" + value + " is more than policy " + spec.name + " allows",
                    "ask for less, run with --cold, or install a policy that allows it");
    }
    to.*(field->value) = *wanted;
    own_cpu_time |= field->value == &LeaseLimits::cpu_ns;
  }
  // The default follows wall and cpus (policy.proto).
  if (!own_cpu_time) to.cpu_ns = to.wall_ns / 1000 * to.cpu_millis;
  return to;
}

}  // namespace jailrun
