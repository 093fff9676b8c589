#include "tools/config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "jail/plan/nearest.h"
#include "jail/sys/fd.h"

namespace jailrun::config {
namespace {

constexpr std::size_t kMostBytes = 256 << 10;

struct Line {
  const std::string& file;
  unsigned number;

  std::string where() const { return file + ":" + std::to_string(number); }
  Error fault(const std::string& what, const std::string& remedy) const {
    return Error{Stage::None, where(), 0, where() + ": " + what, remedy};
  }
};

std::string trimmed(const std::string& text) {
  const auto from = text.find_first_not_of(" \t\r");
  if (from == std::string::npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\r") - from + 1);
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

std::vector<std::string> sections() {
  std::vector<std::string> all;
  for (const Setting& each : settings())
    if (std::ranges::find(all, each.section) == all.end()) all.emplace_back(each.section);
  return all;
}

std::vector<std::string> keys_of(const std::string& section) {
  std::vector<std::string> all;
  for (const Setting& each : settings())
    if (each.section == section) all.emplace_back(each.key);
  return all;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& each : words) out += (out.empty() ? "" : between) + each;
  return out;
}

const Setting* find(const std::string& section, const std::string& key) {
  const auto all = settings();
  const auto found = std::ranges::find_if(
      all, [&](const Setting& each) { return each.section == section && each.key == key; });
  return found == all.end() ? nullptr : &*found;
}

// What is wrong with the value, or nothing; flags become true or false.
std::string check(const Setting& setting, std::string& text) {
  if (setting.kind == Kind::Number) {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    const auto bound = [](double value) { return std::to_string(static_cast<long>(value)); };
    if (text.empty() || *end != '\0') return "'" + text + "' is no number";
    if (!(number >= setting.least && number <= setting.most))
      return text + " is not from " + bound(setting.least) + " to " + bound(setting.most);
  } else if (setting.kind == Kind::Flag) {
    const bool on = text == "true" || text == "1" || text == "on" || text == "yes";
    if (!on && text != "false" && text != "0" && text != "off" && text != "no")
      return "'" + text + "' is neither true nor false";
    text = on ? "true" : "false";
  } else if (setting.kind == Kind::Choice) {
    const auto choices = words_of(setting.choices);
    if (std::ranges::find(choices, text) == choices.end())
      return "'" + text + "' is none of " + joined(choices, ", ");
  }
  return {};
}

void take(const CLI::ConfigItem& item, const std::string& section, const Line& line,
          Config& config) {
  const Setting* const setting = find(section, item.name);
  if (setting == nullptr) {
    const std::vector<std::string> known = keys_of(section);
    config.faults.push_back(
        line.fault("[" + section + "] has no setting '" + item.name + "'",
                   did_you_mean(item.name, known, "it has " + joined(known, ", "))));
    return;
  }
  if (item.inputs.size() > 1 && setting->kind != Kind::List) {
    config.faults.push_back(line.fault(item.name + " takes one value", "quote what has spaces"));
    return;
  }
  std::string text = joined(item.inputs, ",");
  if (const std::string wrong = check(*setting, text); !wrong.empty()) {
    // A secret is not for a log.
    config.faults.push_back(line.fault(item.name + ": " + wrong, setting->about));
    return;
  }
  const auto before = config.values.find(setting->variable);
  if (before != config.values.end() && before->second.file == line.file) {
    config.faults.push_back(
        line.fault(item.name + " is set a second time",
                   "the first is in line " + std::to_string(before->second.line)));
    return;
  }
  config.values[setting->variable] = {text, line.file, line.number};
}

// CLI11 tells no lines: it is given one after the other.
void read_line(const std::string& text, const Line& line, std::string& section, Config& config) {
  if (text.empty() || text[0] == '#' || text[0] == ';') return;
  if (text[0] == '[') {
    const std::size_t end = text.find(']');
    section = trimmed(text.substr(1, end == std::string::npos ? end : end - 1));
    const std::vector<std::string> known = sections();
    if (end == std::string::npos || std::ranges::find(known, section) == known.end()) {
      config.faults.push_back(
          line.fault("there is no section [" + section + "]",
                     did_you_mean(section, known, "there are " + joined(known, ", "))));
      section.clear();
    }
    return;
  }
  if (text.find('=') == std::string::npos) {
    config.faults.push_back(line.fault("'" + text + "' sets nothing", "write NAME = VALUE"));
    return;
  }
  // CLI11 2.1 takes every '#' for the beginning of a comment, and would cut a key off there.
  const auto hash =
      text.begin() + static_cast<std::ptrdiff_t>(std::min(text.find('#'), text.size()));
  if (std::count(text.begin(), hash, '"') % 2 != 0) {
    config.faults.push_back(line.fault("a quote does not end before '#' or the end of the line",
                                       "set the variable in the environment instead"));
    return;
  }
  // Of a section that does not exist: told already.
  if (section.empty()) {
    if (config.faults.empty())
      config.faults.push_back(line.fault("a setting before any section", "write [service] first"));
    return;
  }
  std::istringstream in(text + "\n");
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(in))
    take(item, section, line, config);
}

// Whoever can write it says what code runs under, and where keys are sent.
bool is_safe(const struct stat& st) {
  return (st.st_uid == 0 || st.st_uid == ::geteuid()) && (st.st_mode & 022) == 0;
}

void read_file(const std::string& file, bool must, Config& config) {
  const Fd opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  const auto fault = [&](const std::string& what, const std::string& remedy) {
    config.faults.push_back(Error{Stage::None, file, 0, file + ": " + what, remedy});
  };
  struct stat st{};
  if (!opened.valid()) {
    if (must || errno != ENOENT) fault("cannot be read: " + errno_name(errno), "is it there?");
    return;
  }
  if (::fstat(opened.get(), &st) != 0 || !S_ISREG(st.st_mode))
    return fault("is no file", "name a file");
  if (!is_safe(st)) return fault("others can write it", "chown root it, chmod go-w it");
  const std::string text = read_file_at(AT_FDCWD, file.c_str(), kMostBytes);
  config.files.push_back(file);
  std::istringstream in(text);
  std::string section, raw;
  for (unsigned number = 1; std::getline(in, raw); ++number)
    read_line(trimmed(raw), {file, number}, section, config);
  if ((st.st_mode & 004) == 0) return;
  for (const Setting& each : settings()) {
    const auto found = config.values.find(each.variable);
    if (each.secret && found != config.values.end() && found->second.file == file)
      return fault("holds a key, and everybody can read it", "chmod o-r it");
  }
}

}  // namespace

std::vector<std::string> files() {
  if (const char* own = std::getenv("JAILRUN_CONFIG"); own != nullptr && *own != '\0') return {own};
  std::vector<std::string> all = {"/etc/jailrun/jailrun.conf"};
  const char* const base = std::getenv("XDG_CONFIG_HOME");
  const char* const home = std::getenv("HOME");
  if (base != nullptr && *base == '/') {
    all.push_back(std::string(base) + "/jailrun/jailrun.conf");
  } else if (home != nullptr && *home == '/') {
    all.push_back(std::string(home) + "/.config/jailrun/jailrun.conf");
  }
  return all;
}

Config read(const std::vector<std::string>& files, bool must) {
  Config config;
  for (const std::string& file : files) read_file(file, must, config);
  return config;
}

Expected<std::set<std::string>> apply() {
  const char* const own = std::getenv("JAILRUN_CONFIG");
  const Config config = read(files(), own != nullptr && *own != '\0');
  if (!config.faults.empty()) {
    Error first = config.faults.front();
    if (config.faults.size() > 1)
      first.remedy += "; `jailrun config check` lists all " + std::to_string(config.faults.size());
    return std::unexpected(first);
  }
  std::set<std::string> set;
  for (const auto& [variable, value] : config.values) {
    if (std::getenv(variable.c_str()) != nullptr) continue;
    ::setenv(variable.c_str(), value.text.c_str(), 1);
    set.insert(variable);
  }
  return set;
}

std::string documented() {
  std::string out =
      "# Settings of jaild and jailagent. Each line shows the default. A command line counts more "
      "than the\n# environment, that more than this file; a user's own is "
      "~/.config/jailrun/jailrun.conf.\n# `jailrun config check` reads it, `jailrun config show` "
      "tells what counts.\n";
  std::string section;
  for (const Setting& each : settings()) {
    if (section != each.section) out += "\n[" + (section = each.section) + "]\n";
    const bool bare = each.kind == Kind::Number || each.kind == Kind::Flag;
    const std::string value = each.kind == Kind::List ? "[" + std::string(each.otherwise) + "]"
                              : bare                  ? each.otherwise
                                                      : "\"" + std::string(each.otherwise) + "\"";
    const std::string choices =
        *each.choices == '\0' ? "" : ": " + joined(words_of(each.choices), ", ");
    out += "# " + std::string(each.about) + choices + " (" + each.variable + ")\n";
    out += "#" + std::string(each.key) + " = " + value + "\n";
  }
  return out;
}

}  // namespace jailrun::config
