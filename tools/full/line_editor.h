// LineEditor: reads cells of Python from a person, with history, or from a pipe.
#pragma once

#include <optional>
#include <string>

namespace jailrun::full {

// Whether Python would wait for more lines: an open bracket or string, a block that no empty line
// has ended, a backslash at the end.
bool wants_more(const std::string& cell);

class LineEditor {
 public:
  // Keeps its history in $XDG_STATE_HOME/jailrun, or ~/.local/state/jailrun; without a home, none.
  // `history`: the name of that file.
  explicit LineEditor(const char* history = "history");
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  bool interactive() const { return interactive_; }
  // Nothing at the end of input.
  std::optional<std::string> read_cell();
  std::optional<std::string> read_line(const char* prompt);
  void remember(const std::string& entry);

 private:
  bool interactive_;
  std::string history_;
};

}  // namespace jailrun::full
