// Server-sent events (WHATWG HTML, section 9.2), from bytes that come in any portions.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace jailrun::agent {

class EventStream {
 public:
  using Hear = std::function<void(const std::string& event, const std::string& data)>;

  // Calls `hear` for each event that is complete. An event without data is none. False, from then
  // on, once an event has more than `kMostBytes`.
  bool put(std::string_view bytes, const Hear& hear);

  static constexpr std::size_t kMostBytes = 8 << 20;

 private:
  void line(std::string_view text, const Hear& hear);

  std::string line_, event_, data_;
  bool begun_ = false, after_return_ = false, has_data_ = false, over_ = false;
};

}  // namespace jailrun::agent
