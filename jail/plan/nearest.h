// What somebody may have meant: the known word nearest to a mistyped one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace jailrun {

// 'word'
std::string in_quotes(std::string_view word);

// The word of `known` with the fewest single-letter changes from `word`; "" where none is near
// enough to be worth naming.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

// A remedy: "did you mean 'WORD'?", or `otherwise` where nothing known is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known,
                         std::string otherwise);

}  // namespace jailrun
