// The one line of the configuration file that clients of jaild need. The file's own reader
// (tools/config.h) is too large for a program that has a millisecond.
#pragma once

#include <string>
#include <string_view>

namespace jailrun::wire {

// `socket` of [jaild] in JAILRUN_CONFIG, else in the user's own jailrun.conf, else in /etc/jailrun;
// "" where none says it in the plain way, a path in quotes.
std::string configured_socket();

// The same of a file's text.
std::string socket_in(std::string_view config);

}  // namespace jailrun::wire
