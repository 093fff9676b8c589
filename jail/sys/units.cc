#include "jail/sys/units.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace jailrun {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit kSizes[] = {
    {"B", 1}, {"KiB", 1024.0}, {"MiB", 1024.0 * 1024}, {"GiB", 1024.0 * 1024 * 1024}};
constexpr Unit kTimes[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};

template <std::size_t N>
std::optional<std::uint64_t> parse(std::string_view text, const Unit (&units)[N]) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc{} || number < 0) return std::nullopt;
  const std::string_view suffix(rest, static_cast<std::size_t>(end - rest));
  for (const Unit& unit : units) {
    if (suffix != unit.name) continue;
    const double value = std::round(number * unit.factor);
    if (!(value < 9.0e18)) return std::nullopt;
    return static_cast<std::uint64_t>(value);
  }
  return std::nullopt;
}

template <std::size_t N>
std::string format(std::uint64_t value, const Unit (&units)[N]) {
  const Unit* best = &units[0];
  for (const Unit& unit : units) {
    if (static_cast<double>(value) >= unit.factor) best = &unit;
  }
  char text[48];
  std::snprintf(text, sizeof text, "%.4g %.*s", static_cast<double>(value) / best->factor,
                static_cast<int>(best->name.size()), best->name.data());
  return text;
}

}  // namespace

std::optional<std::uint64_t> parse_bytes(std::string_view text) { return parse(text, kSizes); }
std::optional<std::uint64_t> parse_duration_ns(std::string_view text) {
  return parse(text, kTimes);
}

std::string format_bytes(std::uint64_t bytes) { return format(bytes, kSizes); }

std::string format_duration(std::uint64_t nanoseconds) {
  if (nanoseconds >= 60'000'000'000 && nanoseconds < 3600'000'000'000 &&
      nanoseconds % 60'000'000'000 != 0) {
    return format(nanoseconds, {kTimes[0], kTimes[1], kTimes[2]});
  }
  return format(nanoseconds, kTimes);
}

}  // namespace jailrun
