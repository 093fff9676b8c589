#include "agent/llm/sse.h"

namespace jailrun::agent {

bool EventStream::put(std::string_view bytes, const Hear& hear) {
  for (const char c : bytes) {
    if (over_) break;
    const bool second = after_return_ && c == '\n';  // of CR LF
    after_return_ = c == '\r';
    if (second) continue;
    if (c != '\n' && c != '\r') {
      line_ += c;
      over_ = line_.size() + data_.size() > kMostBytes;
      continue;
    }
    const std::string whole = std::move(line_);
    line_.clear();
    std::string_view text = whole;
    if (!begun_ && text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    begun_ = true;
    line(text, hear);
  }
  return !over_;
}

void EventStream::line(std::string_view text, const Hear& hear) {
  if (text.empty()) {
    if (has_data_) hear(event_, data_);
    event_.clear();
    data_.clear();
    has_data_ = false;
    return;
  }
  const auto colon = text.find(':');
  if (colon == 0) return;  // a comment: servers send them to keep the connection alive
  const auto field = text.substr(0, colon);
  auto value = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event") event_ = value;
  if (field != "data") return;
  if (has_data_) data_ += '\n';
  data_ += value;
  has_data_ = true;
}

}  // namespace jailrun::agent
