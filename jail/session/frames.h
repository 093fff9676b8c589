// Frames of a session: what a client and the interpreter of a session say to each other.
//
//   client to guest   u32 "jrs1", u32 length, JSON
//   guest to client   u32 "jrr1", u32 length of the head, u32 length of the body, JSON, bytes
//
// All little-endian. Requests: {"op": …, "id": …}, with execute, savepoint, rollback, drop, arrow,
// put and get for "op". Frames that come back have a "kind": "display" and "result" (a MIME bundle,
// binary parts in the body) and "answer", the last one of a request. They are the word of a hostile
// process: AnswerReader is the only parser of them, bounded in bytes, and whoever forges them
// spoils his own answer.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace jailrun {

using Json = nlohmann::ordered_json;

inline constexpr std::uint32_t kSessionAnswerMagic = 0x3172726a;  // "jrr1"
inline constexpr std::uint32_t kMaxHeadBytes = 8u << 20, kMaxBodyBytes = 256u << 20;

std::string encode_session_request(const Json& request);

struct SessionFrame {
  Json head;  // an object
  std::string body;
  std::size_t head_bytes = 0;  // as it came
};

// What a head says under `key`; nothing, or 0, where it is of another type.
std::string text_of(const Json& head, const char* key);
std::uint64_t number_of(const Json& head, const char* key);

class AnswerReader {
 public:
  // `midway`: somebody has read before, perhaps half a frame.
  explicit AnswerReader(bool midway = false) : seeking_(midway) {}
  void put(std::string_view bytes);
  // The next whole frame, if there is one. What is no frame is passed over until one begins: an
  // interpreter that died while it wrote leaves such, and whoever forges them may lose his answer.
  // `most_body`: what a frame may have that is asked for now; a longer one is none.
  std::optional<SessionFrame> next(std::size_t most_body = kMaxBodyBytes);
  std::size_t pending() const { return bytes_.size() - at_; }

 private:
  void seek();

  std::string bytes_;
  std::size_t at_ = 0;  // of what has not been given yet
  bool seeking_;
};

}  // namespace jailrun
