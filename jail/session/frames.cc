#include "jail/session/frames.h"

#include <cstring>

#include "jail/run/frames.h"

namespace jailrun {
namespace {

constexpr std::size_t kHeader = 12;

}  // namespace

std::string encode_session_request(const Json& request) {
  const std::string text = request.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::uint32_t header[2] = {kSessionMagic, static_cast<std::uint32_t>(text.size())};
  return std::string(reinterpret_cast<const char*>(header), sizeof header) + text;
}

std::string text_of(const Json& head, const char* key) {
  const auto found = head.find(key);
  return found != head.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_of(const Json& head, const char* key) {
  const auto found = head.find(key);
  return found != head.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::optional<SessionFrame> AnswerReader::next() {
  if (!sound_ || bytes_.size() < kHeader) return std::nullopt;
  std::uint32_t header[3];
  std::memcpy(header, bytes_.data(), kHeader);
  const auto [magic, head, body] = header;
  sound_ = magic == kSessionAnswerMagic && head <= kMaxHeadBytes && body <= kMaxBodyBytes;
  if (!sound_) return std::nullopt;
  const std::size_t whole = kHeader + std::size_t{head} + body;
  if (bytes_.size() < whole) {
    bytes_.reserve(whole);
    return std::nullopt;
  }
  SessionFrame frame;
  const auto text = std::string_view(bytes_).substr(kHeader, head);
  frame.head = Json::parse(text, nullptr, false);
  sound_ = frame.head.is_object();
  if (!sound_) return std::nullopt;
  frame.body.assign(bytes_, kHeader + head, body);
  bytes_.erase(0, whole);
  return frame;
}

}  // namespace jailrun
