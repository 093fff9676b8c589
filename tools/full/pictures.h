// Plots in a terminal that can show them: by kitty's protocol, iTerm2's, or sixel.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "jail/sys/error.h"

namespace jailrun::full {

enum class Pictures { None, Kitty, ITerm2, Sixel };

// JAILRUN_PICTURES (none, kitty, iterm2, sixel), else what the terminal is known for, else what it
// answers when it is asked (sixel). None where `fd` is no terminal.
Pictures pictures_of(int fd);

// Bytes for the terminal; empty for what is no PNG of at most 8 MiB. `to_sixel` makes the text
// between sixel's brackets of a PNG, in a jail: we decode no picture of a guest ourselves. What it
// returns is not believed.
std::string shown_picture(Pictures how, const std::string& png,
                          const std::function<Expected<std::string>(const std::string&)>& to_sixel);

// Whether it is sixel data and nothing else: no escape, no control character.
bool is_sixel(std::string_view text);

// Python that reads /data/picture.png and prints it so.
extern const std::string_view kSixelProgram;

}  // namespace jailrun::full
