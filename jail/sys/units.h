// Sizes and durations as people write them. Units stand last in names: _bytes, _ns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace jailrun {

// "512MiB", "1.5GiB", "100B" (B, KiB, MiB, GiB; MB and the like are refused as ambiguous).
std::optional<std::uint64_t> parse_bytes(std::string_view text);
// "60s", "1.5s", "500ms", "10us", "5m", "24h".
std::optional<std::uint64_t> parse_duration_ns(std::string_view text);

std::string format_bytes(std::uint64_t bytes);           // "512 MiB", "1.5 GiB", "100 B"
std::string format_duration(std::uint64_t nanoseconds);  // "60 s", "1.5 s", "12.3 ms", "85 us"

}  // namespace jailrun
