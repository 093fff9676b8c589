#include "jail/session/frames.h"

#include <cstring>

#include "jail/run/frames.h"

namespace jailrun {
namespace {

constexpr std::size_t kHeader = 12;
constexpr int kMostLevels = 200;  // whoever copies or prints JSON goes as deep as it does

bool too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMostLevels) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

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

// Where a frame of ours begins, as far as that can be seen.
void AnswerReader::seek() {
  constexpr std::string_view kBegin = "{\"kind\":";
  const std::string_view magic(reinterpret_cast<const char*>(&kSessionAnswerMagic), 4);
  std::size_t at = 0;
  for (;; ++at) {
    at = bytes_.find(magic, at);
    if (at == std::string::npos) at = bytes_.size() < 4 ? 0 : bytes_.size() - 3;
    if (bytes_.size() < at + kHeader + kBegin.size()) break;  // more must come
    seeking_ = bytes_.compare(at + kHeader, kBegin.size(), kBegin) != 0;
    if (!seeking_) break;
  }
  bytes_.erase(0, at);
}

std::optional<SessionFrame> AnswerReader::next() {
  for (;;) {
    if (seeking_) seek();
    if (seeking_ || bytes_.size() < kHeader) return std::nullopt;
    std::uint32_t header[3];
    std::memcpy(header, bytes_.data(), kHeader);
    const auto [magic, head, body] = header;
    if (magic != kSessionAnswerMagic || head > kMaxHeadBytes || body > kMaxBodyBytes) {
      bytes_.erase(0, 1);
      seeking_ = true;
      continue;
    }
    const std::size_t whole = kHeader + std::size_t{head} + body;
    if (bytes_.size() < whole) {
      bytes_.reserve(whole);
      return std::nullopt;
    }
    SessionFrame frame;
    const auto text = std::string_view(bytes_).substr(kHeader, head);
    if (!too_deep(text)) frame.head = Json::parse(text, nullptr, false);
    frame.head_bytes = head;
    frame.body.assign(bytes_, kHeader + head, body);
    bytes_.erase(0, whole);
    if (frame.head.is_object()) return frame;
  }
}

}  // namespace jailrun
