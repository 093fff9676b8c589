#include "jail/daemon/configured.h"

#include <fcntl.h>

#include <cstdlib>

#include "jail/sys/fd.h"

namespace jailrun::wire {
namespace {

constexpr std::size_t kMostBytes = 256 << 10;

std::string_view trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\r");
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\r") - from + 1);
}

// Of "TEXT" or 'TEXT', whatever follows; "" where it is none, or has escapes.
std::string_view quoted(std::string_view text) {
  if (text.size() < 2 || (text[0] != '"' && text[0] != '\'')) return {};
  const auto inside = text.substr(1, text.find(text[0], 1) - 1);
  return inside.find('\\') == std::string_view::npos ? inside : std::string_view();
}

std::string from_file(const std::string& path) {
  return socket_in(read_file_at(AT_FDCWD, path.c_str(), kMostBytes));
}

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

}  // namespace

std::string socket_in(std::string_view config) {
  std::string section, socket;
  while (!config.empty()) {
    const auto end = config.find('\n');
    const auto line = trimmed(config.substr(0, end));
    config.remove_prefix(end == std::string_view::npos ? config.size() : end + 1);
    if (line.starts_with('[')) {
      section = trimmed(line.substr(1, line.find(']') - 1));
      continue;
    }
    const auto equal = line.find('=');
    if (section != "jaild" || equal == std::string_view::npos) continue;
    if (trimmed(line.substr(0, equal)) == "socket")
      socket = quoted(trimmed(line.substr(equal + 1)));
  }
  return socket;
}

std::string configured_socket() {
  if (const std::string only = variable("JAILRUN_CONFIG"); !only.empty()) return from_file(only);
  const std::string base = variable("XDG_CONFIG_HOME"), home = variable("HOME");
  std::string socket;
  if (base.starts_with('/')) {
    socket = from_file(base + "/jailrun/jailrun.conf");
  } else if (home.starts_with('/')) {
    socket = from_file(home + "/.config/jailrun/jailrun.conf");
  }
  return socket.empty() ? from_file("/etc/jailrun/jailrun.conf") : socket;
}

}  // namespace jailrun::wire
