// Within: a number that cannot leave its range.
#pragma once

#include <compare>
#include <optional>

namespace jailrun {

template <typename T, T kLeast, T kMost>
class Within {
 public:
  static constexpr T least = kLeast, most = kMost;

  // Written in source: checked when compiled.
  consteval Within(T value) : value_(value) {  // NOLINT(google-explicit-constructor)
    if (!holds(value)) throw "out of range";
  }
  // Read from elsewhere: checked when run. (A NaN is in no range.)
  static constexpr std::optional<Within> of(T value) {
    if (!holds(value)) return std::nullopt;
    return Within(value, Checked{});
  }
  // The nearest that is in the range.
  static constexpr Within clamped(T value) {
    if (!(value > kLeast)) return Within(kLeast, Checked{});
    return Within(value < kMost ? value : kMost, Checked{});
  }

  constexpr T get() const { return value_; }
  friend constexpr auto operator<=>(const Within&, const Within&) = default;

 private:
  struct Checked {};
  constexpr Within(T value, Checked) : value_(value) {}
  static constexpr bool holds(T value) { return value >= kLeast && value <= kMost; }

  T value_;
};

}  // namespace jailrun
