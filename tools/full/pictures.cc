#include "tools/full/pictures.h"

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "agent/record/export.h"
#include "jail/sys/fd.h"

namespace jailrun::full {
namespace {

constexpr std::size_t kMostPng = 8 << 20, kMostSixel = 16 << 20, kKittyChunk = 4096;
constexpr int kAnswerMs = 200;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Its primary device attributes (DA1): 4 among them is sixel. Terminals answer at once.
bool says_sixel(int fd) {
  termios before{};
  if (::isatty(STDIN_FILENO) == 0 || ::tcgetattr(STDIN_FILENO, &before) != 0) return false;
  termios raw = before;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  (void)write_all(fd, "\033[c", 3);
  std::string answer;
  pollfd one{STDIN_FILENO, POLLIN, 0};
  while (answer.size() < 256 && answer.find('c') == std::string::npos &&
         ::poll(&one, 1, kAnswerMs) > 0) {
    char byte = 0;
    if (::read(STDIN_FILENO, &byte, 1) != 1) break;
    answer += byte;
  }
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
  return answer.starts_with("\033[?") && answer.ends_with('c') &&
         (answer.find(";4;") != std::string::npos || answer.find(";4c") != std::string::npos);
}

std::string kitty(const std::string& png) {
  const auto text = agent::base64_of(png);
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += kKittyChunk) {
    const bool last = at + kKittyChunk >= text.size();
    out += std::string("\033_G") + (at == 0 ? "a=T,f=100," : "") + (last ? "m=0;" : "m=1;") +
           text.substr(at, kKittyChunk) + "\033\\";
  }
  return out + "\n";
}

}  // namespace

const std::string_view kSixelProgram = R"(
from PIL import Image
picture = Image.open("/data/picture.png").convert("RGBA")
ground = Image.new("RGBA", picture.size, "white")
picture = Image.alpha_composite(ground, picture).convert("RGB")
picture.thumbnail((900, 900))
picture = picture.quantize(64)
width, height = picture.size
palette, pixels = picture.getpalette(), picture.load()
out = [f'"1;1;{width};{height}']
used = sorted(set(picture.getdata()))
for colour in used:
    red, green, blue = (palette[3 * colour + i] * 100 // 255 for i in range(3))
    out.append(f"#{colour};2;{red};{green};{blue}")
for top in range(0, height, 6):
    rows = range(top, min(top + 6, height))
    for colour in used:
        line = "".join(chr(63 + sum(1 << (y - top) for y in rows if pixels[x, y] == colour)) for x in range(width))
        short, at = "", 0
        if line.strip("?") == "":
            continue
        while at < width:
            end = at
            while end < width and line[end] == line[at]:
                end += 1
            short += f"!{end - at}{line[at]}" if end - at > 3 else line[at] * (end - at)
            at = end
        out.append(f"#{colour}{short}$")
    out.append("-")
print("".join(out), end="")
)";

Pictures pictures_of(int fd) {
  if (::isatty(fd) == 0) return Pictures::None;
  const auto chosen = variable("JAILRUN_PICTURES"), term = variable("TERM");
  if (chosen == "kitty") return Pictures::Kitty;
  if (chosen == "iterm2") return Pictures::ITerm2;
  if (chosen == "sixel") return Pictures::Sixel;
  // A multiplexer would print the codes as text.
  if (!chosen.empty() || !variable("TMUX").empty() || term.starts_with("screen"))
    return Pictures::None;
  const auto program = variable("TERM_PROGRAM");
  if (!variable("KITTY_WINDOW_ID").empty() || term.find("kitty") != std::string::npos ||
      program == "ghostty" || program == "WezTerm")
    return Pictures::Kitty;
  if (program == "iTerm.app" || variable("LC_TERMINAL") == "iTerm2") return Pictures::ITerm2;
  return term != "dumb" && says_sixel(fd) ? Pictures::Sixel : Pictures::None;
}

bool is_sixel(std::string_view text) {
  return !text.empty() && text.size() <= kMostSixel && std::ranges::all_of(text, [](char c) {
    return (c >= '?' && c <= '~') || (c >= '0' && c <= '9') || c == '#' || c == ';' || c == '!' ||
           c == '$' || c == '-' || c == '"';
  });
}

std::string shown_picture(
    Pictures how, const std::string& png,
    const std::function<Expected<std::string>(const std::string&)>& to_sixel) {
  if (!png.starts_with("\x89PNG\r\n\x1a\n") || png.size() > kMostPng) return {};
  switch (how) {
    case Pictures::None:
      return {};
    case Pictures::Kitty:
      return kitty(png);
    case Pictures::ITerm2:
      return "\033]1337;File=inline=1;size=" + std::to_string(png.size()) + ":" +
             agent::base64_of(png) + "\a\n";
    case Pictures::Sixel:
      break;
  }
  const auto text = to_sixel(png);
  return text && is_sixel(*text) ? "\033Pq" + *text + "\033\\\n" : std::string();
}

}  // namespace jailrun::full
