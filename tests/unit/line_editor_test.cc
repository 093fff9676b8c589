// When a prompt waits for more lines: as Python's own does.
#include "tools/full/line_editor.h"

#include <gtest/gtest.h>

namespace jailrun::full {
namespace {

TEST(LineEditor, TakesWholeCells) {
  for (const char* cell : {"x = 1", "", "print('(')", "x = 'it''s'", "f(1) # (", "x = '#('",
                           "if x: y", "x = \"\"\"a\nb\"\"\"", "x = [\n1]", "'unterminated"})
    EXPECT_FALSE(wants_more(cell)) << cell;
}

TEST(LineEditor, WaitsForTheRest) {
  for (const char* cell :
       {"f(", "x = [1,", "x = {'a':", "if x:", "for i in y:  ", "x = \"\"\"a", "@decorated",
        "x = 1 + \\", "def f():\n    return 1", "while x: # why", "x = '''it's"})
    EXPECT_TRUE(wants_more(cell)) << cell;
}

}  // namespace
}  // namespace jailrun::full
