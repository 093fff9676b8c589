// The configuration file: settings by section and key, each of which stands for a variable of the
// environment, so that command line, environment, file and default come in this order everywhere
// and one reader serves all programs. Values are as TOML has them (CLI11 reads them).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun::config {

enum class Kind { Text, List, Number, Flag, Choice };

struct Setting {
  const char *section, *key, *variable;
  Kind kind;
  const char* otherwise;  // what counts without it, as it would be written; "": nothing
  const char* about;
  double least = 0, most = 0;  // of numbers
  const char* choices = "";    // "a b c"
  bool secret = false;
};
std::span<const Setting> settings();

struct Value {
  std::string text;  // as the variable has it; lists with commas
  std::string file;
  unsigned line = 0;
};

// All that is in the files, and all that is wrong with them.
struct Config {
  std::map<std::string, Value> values;  // by variable; of several files, the last counts
  std::vector<Error> faults;            // each names FILE:LINE
  std::vector<std::string> files;       // that were read
};

// JAILRUN_CONFIG, else /etc/jailrun/jailrun.conf and the user's own; none of them has to be there.
std::vector<std::string> files();
// A file that does not exist is nothing, or a fault where it `must` be there.
Config read(const std::vector<std::string>& files, bool must);
// Reads files() and sets the variables that the environment does not have; gives those. To be
// called before any thread is made. Error: the first fault, and how many there are.
Expected<std::set<std::string>> apply();

// A file with every setting, its meaning and its default, all commented out.
std::string documented();

}  // namespace jailrun::config
