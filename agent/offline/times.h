// Time words: "yesterday", "last week", "the past 3 months", "in March 2023", "this year" as spans.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace jailrun::agent::offline {

using Moment = std::chrono::sys_seconds;

// "2026-01-31", "2026-01-31T12:00:00" or with a blank; what follows (fractions, zones) is not read.
std::optional<Moment> parse_moment(std::string_view text);
// "2026-01-31", with " 12:00:00" behind it where that is not midnight.
std::string moment_text(Moment moment);

struct Span {
  Moment from, to;  // `to` is not in it
};

// The whole day, week (from Monday), month, quarter or year (D W M Q Y) that `at` lies in, moved by
// `steps` of them.
Span whole_unit(char unit, Moment at, int steps);
// The `count` units, or hours (H), up to and with `now`.
Span rolling(char unit, Moment now, unsigned count);

}  // namespace jailrun::agent::offline
