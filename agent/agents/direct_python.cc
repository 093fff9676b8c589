#include "agent/agents/direct_python.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace jailrun::agent {
namespace {

// What an expression does not begin with.
constexpr std::array<std::string_view, 30> kStatements{
    "import", "from",     "def",   "class",   "if",     "for",   "while",  "with",
    "try",    "return",   "del",   "pass",    "assert", "raise", "global", "elif",
    "else",   "async",    "type",  "finally", "except", "match", "break",  "continue",
    "case",   "nonlocal", "yield", "print",   "@",      "await"};

// Walks over source text from token to token.
class Walker {
 public:
  explicit Walker(std::string_view code) : code_(code) {}

  std::size_t last_line() {
    std::size_t line = std::string_view::npos;
    bool begins = true;  // a logical line begins here
    while (at_ < code_.size()) {
      const char c = code_[at_];
      if (begins && !std::isspace(static_cast<unsigned char>(c)) && c != '#') {
        line = at_;
        plain_ = true;
        begins = false;
      }
      if (c == '\n' && depth_ == 0) begins = true;
      if (!step(c)) return std::string_view::npos;
    }
    const bool margin = line == 0 || (line < code_.size() && code_[line - 1] == '\n');
    return depth_ == 0 && plain_ && margin ? line : std::string_view::npos;
  }

 private:
  char after(std::size_t by = 1) const { return at_ + by < code_.size() ? code_[at_ + by] : '\0'; }

  bool step(char c) {
    if (c == '#') {
      at_ = std::min(code_.find('\n', at_), code_.size());
      return true;
    }
    if (c == '"' || c == '\'') return quoted(c);
    if (c == '\\') ++at_;
    if (c == '(' || c == '[' || c == '{') ++depth_;
    if ((c == ')' || c == ']' || c == '}') && --depth_ < 0) return false;
    if (depth_ == 0) look(c);
    ++at_;
    return true;
  }

  // At depth 0: '=' assigns unless it compares; ':' and ';' make it more than one expression.
  void look(char c) {
    if (c == ':' || c == ';') plain_ = false;
    if (c != '=') return;
    const char before = at_ > 0 ? code_[at_ - 1] : '\0';
    if (after() == '=') {
      ++at_;
    } else if (before != '!' && before != '<' && before != '>') {
      plain_ = false;
    } else if (at_ > 1 && before != '!' && code_[at_ - 2] == before) {
      plain_ = false;  // <<= and >>=
    }
  }

  bool quoted(char quote) {
    const std::string three(3, quote);
    const bool triple = code_.substr(at_).starts_with(three);
    at_ += triple ? 3 : 1;
    while (at_ < code_.size()) {
      if (code_[at_] == '\\') {
        at_ += 2;
      } else if (triple ? code_.substr(at_).starts_with(three) : code_[at_] == quote) {
        at_ += triple ? 3 : 1;
        return true;
      } else if (!triple && code_[at_] == '\n') {
        return false;
      } else {
        ++at_;
      }
    }
    return false;
  }

  std::string_view code_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool plain_ = true;
};

constexpr std::string_view kEnd = R"PY(

def _told():
    from pandas import DataFrame, Series
    try:
        return result_df
    except NameError:
        pass
    try:
        rows = result_rows
        try:
            return DataFrame(rows, columns=result_columns)
        except NameError:
            return DataFrame(rows)
    except NameError:
        pass
    try:
        value = result
    except NameError:
        try:
            value = _last_
        except NameError:
            return None
    if value is None or isinstance(value, (DataFrame, Series)):
        return value
    if isinstance(value, dict):
        return DataFrame({"key": list(value.keys()), "value": list(value.values())})
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, dict) for each in value):
        return DataFrame(list(value))
    return DataFrame({"value": list(value) if isinstance(value, (list, tuple, set)) else [value]})

def _tell(frame, mark, rows, most):
    from pandas import DataFrame, RangeIndex
    if frame is None:
        return
    if not isinstance(frame, DataFrame):
        frame = frame.to_frame("value" if frame.name is None else frame.name)
    if not isinstance(frame.index, RangeIndex):
        frame = frame.reset_index()
    more = len(frame) > rows
    shown = frame.head(rows)
    shown.columns = [str(column) for column in shown.columns]
    text = shown.to_json(orient="split", date_format="iso", double_precision=15, default_handler=str)
    while len(text) > most and len(shown):
        more, shown = True, shown.head(len(shown) // 2)
        text = shown.to_json(orient="split", date_format="iso", double_precision=15, default_handler=str)
    print("\n" + mark + ("+" if more else " ") + text)

)PY";

}  // namespace

std::size_t last_expression(std::string_view code) {
  const std::size_t line = Walker(code).last_line();
  if (line >= code.size()) return std::string_view::npos;
  std::size_t end = line;
  while (end < code.size() && std::isalpha(static_cast<unsigned char>(code[end])) != 0) ++end;
  const auto word = code.substr(line, std::max<std::size_t>(end - line, 1));
  return std::ranges::find(kStatements, word) == kStatements.end() ? line : std::string_view::npos;
}

std::string python_with_result(std::string_view code, const std::string& mark, std::size_t rows,
                               std::size_t bytes) {
  std::string out(code);
  if (const auto line = last_expression(code); line != std::string_view::npos)
    out = std::string(code.substr(0, line)) + "_last_ = (" + std::string(code.substr(line)) + "\n)";
  out += kEnd;
  return out + "_tell(_told(), \"" + mark + "\", " + std::to_string(rows) + ", " +
         std::to_string(bytes) + ")\n";
}

}  // namespace jailrun::agent
