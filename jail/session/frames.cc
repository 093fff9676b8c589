#include "jail/session/frames.h"

#include <cstring>

#include "jail/run/frames.h"

namespace jailrun {
namespace {

constexpr std::size_t kHeader = 12;
constexpr std::size_t kKeptBytes = 1 << 20;  // a buffer that was larger is given back
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

void AnswerReader::put(std::string_view bytes) {
  // What has been given goes in large pieces: thousands of small frames cost no more than their
  // size.
  if (at_ == bytes_.size() || at_ > bytes_.size() / 2) {
    bytes_.erase(0, at_);
    at_ = 0;
  }
  if (bytes_.empty() && bytes_.capacity() > kKeptBytes) bytes_ = std::string();
  bytes_ += bytes;
}

// Where a frame of ours begins, as far as that can be seen.
void AnswerReader::seek() {
  constexpr std::string_view kBegin = "{\"kind\":";
  const std::string_view magic(reinterpret_cast<const char*>(&kSessionAnswerMagic), 4);
  for (;; ++at_) {
    at_ = bytes_.find(magic, at_);
    if (at_ == std::string::npos) at_ = bytes_.size() < 4 ? 0 : bytes_.size() - 3;
    if (bytes_.size() < at_ + kHeader + kBegin.size()) return;  // more must come
    seeking_ = bytes_.compare(at_ + kHeader, kBegin.size(), kBegin) != 0;
    if (!seeking_) return;
  }
}

std::optional<SessionFrame> AnswerReader::next(std::size_t most_body) {
  for (;;) {
    if (seeking_) seek();
    if (seeking_ || pending() < kHeader) return std::nullopt;
    std::uint32_t header[3];
    std::memcpy(header, bytes_.data() + at_, kHeader);
    const auto [magic, head, body] = header;
    if (magic != kSessionAnswerMagic || head > kMaxHeadBytes || body > most_body) {
      ++at_;
      seeking_ = true;
      continue;
    }
    const std::size_t whole = kHeader + std::size_t{head} + body;
    if (pending() < whole) {
      bytes_.reserve(at_ + whole);
      return std::nullopt;
    }
    SessionFrame frame;
    const auto text = std::string_view(bytes_).substr(at_ + kHeader, head);
    if (!too_deep(text)) frame.head = Json::parse(text, nullptr, false);
    frame.head_bytes = head;
    frame.body.assign(bytes_, at_ + kHeader + head, body);
    at_ += whole;
    if (frame.head.is_object()) return frame;
  }
}

}  // namespace jailrun
