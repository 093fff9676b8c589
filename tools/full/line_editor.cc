#include "tools/full/line_editor.h"

#include <editline/readline.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string_view>

namespace jailrun::full {
namespace {

std::string history_path(const char* name) {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path path;
  if (state != nullptr && *state == '/') {
    path = state;
  } else if (home != nullptr && *home == '/') {
    path = std::filesystem::path(home) / ".local/state";
  } else {
    return {};
  }
  path /= "jailrun";
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? std::string() : (path / name).string();
}

// The characters of code: without strings and comments. `open`: a string goes on.
std::string code_only(const std::string& cell, bool& open) {
  std::string code;
  std::string_view rest = cell;
  open = false;
  while (!rest.empty()) {
    const char c = rest.front();
    if (c == '#') {
      rest.remove_prefix(std::min(rest.find('\n'), rest.size()));
      continue;
    }
    if (c != '"' && c != '\'') {
      code += c;
      rest.remove_prefix(1);
      continue;
    }
    const std::string triple(3, c);
    const std::string quote = rest.starts_with(triple) ? triple : std::string(1, c);
    rest.remove_prefix(quote.size());
    for (;;) {
      if (rest.empty() || (quote.size() == 1 && rest.front() == '\n')) {
        open = rest.empty() && quote.size() == 3;
        break;
      }
      if (rest.starts_with(quote)) {
        rest.remove_prefix(quote.size());
        break;
      }
      rest.remove_prefix(rest.front() == '\\' && rest.size() > 1 ? 2 : 1);
    }
    code += '"';
  }
  return code;
}

}  // namespace

bool wants_more(const std::string& cell) {
  bool open = false;
  std::string code = code_only(cell, open);
  if (open) return true;
  int depth = 0;
  for (const char c : code)
    depth += c == '(' || c == '[' || c == '{' ? 1 : c == ')' || c == ']' || c == '}' ? -1 : 0;
  if (depth > 0) return true;
  while (!code.empty() && (code.back() == ' ' || code.back() == '\t')) code.pop_back();
  if (code.ends_with('\\')) return true;
  // Lines that begin deeper belong to a block, which an empty line ends.
  const std::size_t last = code.rfind('\n', code.size() - 2);
  const std::string_view line =
      std::string_view(code).substr(last == std::string::npos ? 0 : last + 1);
  if (line.ends_with(':') || code.starts_with('@')) return true;
  return cell.find('\n') != std::string::npos && !line.empty() &&
         (line.front() == ' ' || line.front() == '\t');
}

LineEditor::LineEditor(const char* history)
    : interactive_(::isatty(STDIN_FILENO) != 0), history_(history_path(history)) {
  if (!interactive_) return;
  ::using_history();
  if (!history_.empty()) ::read_history(history_.c_str());
}

LineEditor::~LineEditor() {
  if (!interactive_ || history_.empty()) return;
  ::stifle_history(2000);
  ::write_history(history_.c_str());
}

std::optional<std::string> LineEditor::read_line(const char* prompt) {
  if (!interactive_) {
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
  }
  char* line = ::readline(prompt);
  if (line == nullptr) return std::nullopt;
  std::string text = line;
  std::free(line);
  return text;
}

std::optional<std::string> LineEditor::read_cell() {
  std::optional<std::string> line = read_line(">>> ");
  if (!line) return std::nullopt;
  std::string cell = *line;
  while (wants_more(cell)) {
    line = read_line("... ");
    if (!line || line->empty()) {
      bool open = false;
      (void)code_only(cell, open);
      if (!line || !open) break;
    }
    cell += "\n" + *line;
  }
  remember(cell);
  return cell;
}

void LineEditor::remember(const std::string& entry) {
  if (interactive_ && !entry.empty()) ::add_history(entry.c_str());
}

}  // namespace jailrun::full
