// Values out of a fuzzer's bytes, in order; zeroes where they end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace jailrun::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }
  std::uint8_t byte() { return number<std::uint8_t>(); }
  template <typename T>
  T number() {
    T value = 0;
    const std::size_t have = rest_.size() < sizeof value ? rest_.size() : sizeof value;
    std::memcpy(&value, rest_.data(), have);
    rest_.remove_prefix(have);
    return value;
  }

 private:
  std::string_view rest_;
};

inline void check(bool condition) {
  if (!condition) std::abort();
}

}  // namespace jailrun::fuzz
