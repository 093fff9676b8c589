#include "jail/spec/statements.h"

#include <algorithm>

namespace jailrun {
namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '+';
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::vector<Statement> run() {
    while (at_ < text_.size()) {
      block(0);
      if (at_ < text_.size()) ++at_;  // a closing bracket that nothing opened
    }
    return std::move(found_);
  }

 private:
  static constexpr int kDeepest = 32;

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_blank() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f') {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string word() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  // A quoted text ends at its quote, or at the end of the line.
  void quoted() {
    const char quote = text_[at_++];
    while (at_ < text_.size() && text_[at_] != quote && text_[at_] != '\n') {
      at_ += text_[at_] == '\\' ? 2 : 1;
    }
    at_ = std::min(at_, text_.size());
    if (peek() == quote) ++at_;
  }

  void list() {
    int depth = 0;
    while (at_ < text_.size()) {
      skip_blank();
      const char c = peek();
      if (c == '"' || c == '\'') {
        quoted();
        continue;
      }
      if (c == '[') ++depth;
      if (c == '{' || c == '}') return;  // a list of messages, or one that is never closed
      if (at_ < text_.size()) ++at_;
      if (c == ']' && --depth == 0) return;
    }
  }

  // Whether a word here is the name of the next statement, and so no value.
  bool next_is_name() {
    const std::size_t here = at_;
    word();
    skip_blank();
    const bool name = peek() == ':' || peek() == '{';
    at_ = here;
    return name;
  }

  // A value after its name; false if there is none.
  bool scalar() {
    if (peek() == '"' || peek() == '\'') {
      std::size_t end = at_;
      while (peek() == '"' || peek() == '\'') {  // adjacent texts are one
        quoted();
        end = at_;
        skip_blank();
      }
      at_ = end;
      return true;
    }
    if (peek() == '[') {
      list();
      return true;
    }
    if (peek() == '-') {
      ++at_;
      skip_blank();
    }
    if (!is_word(peek()) || next_is_name()) return false;
    word();
    return true;
  }

  void block(int depth) {
    while (true) {
      skip_blank();
      const char c = peek();
      if (at_ >= text_.size() || c == '}' || c == '>') return;
      if (!is_word(c)) {
        if (c == '"' || c == '\'') {
          quoted();
        } else {
          ++at_;
        }
        continue;
      }
      statement(depth);
    }
  }

  void statement(int depth) {
    const std::size_t index = found_.size();
    Statement each;
    each.begin = at_;
    path_.push_back(word());
    each.path = path_;
    each.end = at_;
    found_.push_back(std::move(each));
    skip_blank();
    if (peek() == ':') {
      found_[index].end = ++at_;
      skip_blank();
    }
    bool complete = true;
    if ((peek() == '{' || peek() == '<') && depth < kDeepest) {
      found_[index].leaf = false;
      ++at_;
      block(depth + 1);
      complete = at_ < text_.size();
      if (complete) ++at_;
    } else {
      complete = scalar();
    }
    if (complete) found_[index].end = at_;
    found_[index].complete = complete;
    path_.pop_back();
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<std::string> path_;
  std::vector<Statement> found_;
};

}  // namespace

std::vector<Statement> statements(std::string_view text) { return Scanner(text).run(); }

const Statement* statement_at(const std::vector<Statement>& all, std::size_t offset) {
  const Statement* inside = nullptr;
  const Statement* before = nullptr;
  for (const Statement& each : all) {
    if (each.begin > offset) break;
    if (each.begin < offset) before = &each;
    if (offset < each.end) inside = &each;
  }
  if (before != nullptr && before->leaf && !before->complete) return before;
  return inside != nullptr ? inside : before;
}

std::size_t offset_of(std::string_view text, int line, int column) {
  std::size_t at = 0;
  for (int i = 0; i < line; ++i) {
    const std::size_t end = text.find('\n', at);
    if (end == std::string_view::npos) return text.size();
    at = end + 1;
  }
  for (int i = 0; i < column && at < text.size() && text[at] != '\n'; ++at) {
    i += text[at] == '\t' ? 8 - i % 8 : 1;
  }
  return at;
}

Place place_of(std::string_view text, std::size_t offset) {
  offset = std::min(offset, text.size());
  const std::string_view before = text.substr(0, offset);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const std::size_t start =
      before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  return {static_cast<int>(lines) + 1, static_cast<int>(offset - start) + 1};
}

}  // namespace jailrun
