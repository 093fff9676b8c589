#include "tests/layers/noticed.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/confinement/attempts.h"
#include "tests/confinement/posture_text.h"

namespace jailrun::test {

namespace fs = std::filesystem;

static std::string words(const std::vector<std::string>& arguments) {
  std::string text;
  for (const std::string& each : arguments) text += (text.empty() ? "" : " ") + each;
  return text;
}

const std::string& neighbour_name() {
  static const std::string name = canary();
  return name;
}

std::vector<Line> attempts() {
  std::vector<Line> lines = {
      {"ConnectingToANeighbour", "connect-abstract " + neighbour_name(), {number(EPERM)}},
      {"ADescriptorOfTheCallers", "extra-descriptor", {number(EBADF)}},
      {"MakingAFileInData", "create /data/file", {number(EROFS), number(EACCES)}},
      {"AHundredProcesses", "fork-many 100", {number(EAGAIN)}},
      {"ReadingTheCpus", "read /proc/cpuinfo", {number(ENOENT)}},
      {"SeeingItsInit", "sees-process 1", {number(ENOENT)}},
  };
  for (const auto* table : kAttempts) {
    for (const Attempt& each : *table) {
      // In a battery there is another process: the battery.
      if (std::string(each.name) == "SeeingAnyOtherProcess") continue;
      Line line{each.name, words(each.arguments), {}};
      for (const int status : each.statuses) line.expected.push_back(std::to_string(status));
      lines.push_back(line);
    }
  }
  lines.push_back({"sweep: 32-bit getpid", "sweep32 20", {"signal 31"}});
  lines.push_back({"sweep: x32 getpid", "sweep " + number(0x40000000 | SYS_getpid), {"signal 31"}});
  return lines;
}

std::vector<std::string> texts(const std::vector<Line>& lines) {
  std::vector<std::string> all;
  for (const Line& line : lines) all.push_back(line.text);
  return all;
}

void compare(const Shown& whole, const Shown& shown, const std::vector<Line>& lines,
             Noticed& noticed) {
  for (std::size_t i = 0; i < shown.answers.size() && i < lines.size(); ++i) {
    if (std::ranges::count(lines[i].expected, shown.answers[i]) == 0)
      noticed.probes.insert(lines[i].name);
  }
  if (shown.posture.empty()) return;
  std::istringstream changes(differences(whole.posture, shown.posture));
  for (std::string line; std::getline(changes, line);) {
    std::string fact = line.substr(2, std::min(line.find(':'), line.size()) - 2);
    if (fact.find(" descriptor ") != std::string::npos) fact.erase(fact.rfind(' '));
    noticed.posture.insert(fact);
  }
}

// "cannot mount proc in the jail: …" and "the jail is not what was asked for: …", without remedies
// and without what is this host's alone.
std::string cause(const std::string& said) {
  std::string line = said.substr(0, said.find('\n'));
  if (line.starts_with("jailrun: ")) line.erase(0, 9);
  line = line.substr(0, line.find(';'));
  line = line.substr(0, line.find(" - "));
  if (line.find(" has Uid: ") != std::string::npos)
    line = line.substr(0, line.find(" has Uid: ")) + " has another uid";
  if (line.find(" has Gid: ") != std::string::npos)
    line = line.substr(0, line.find(" has Gid: ")) + " has another gid";
  if (line.find(": descriptor ") != std::string::npos)
    line = line.substr(0, line.find(": descriptor ")) + ": a descriptor is open";
  for (std::string::size_type at = 0; (at = line.find_first_of("|\t", at)) != std::string::npos;)
    line[at] = ' ';
  return line;
}

std::string joined(const std::set<std::string>& all) {
  std::string text;
  for (const std::string& each : all) text += (text.empty() ? "" : ", ") + each;
  return text.empty() ? "–" : text;
}

std::string row(const std::string& layer, const std::string& removed, const Noticed& noticed) {
  return "| " + layer + " | " + removed + " | " +
         (noticed.builder.empty() ? "–" : noticed.builder) + " | " + joined(noticed.probes) +
         " | " + joined(noticed.posture) + " |\n";
}

void expect_section(const std::string& title, const std::string& table) {
  const char* path = JAILRUN_SOURCE_DIR "/jail/LAYERS.md";
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  const std::string whole = text.str();
  const std::size_t title_at = whole.find("## " + title + "\n");
  ASSERT_NE(title_at, std::string::npos) << title;
  const std::size_t begin = whole.find("|---", title_at), rows = whole.find('\n', begin) + 1;
  std::size_t end = whole.find("\n\n", rows);
  end = end == std::string::npos ? whole.size() : end + 1;
  if (std::getenv("JAILRUN_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << whole.substr(0, rows) << table << whole.substr(end);
    return;
  }
  if (!fs::exists("/sys/fs/cgroup/unified/cgroup.procs")) return;
  std::vector<std::string> expected, seen;
  std::istringstream before(whole.substr(rows, end - rows)), now(table);
  for (std::string line; std::getline(before, line);) expected.push_back(line);
  for (std::string line; std::getline(now, line);) seen.push_back(line);
  EXPECT_EQ(differences(expected, seen), "")
      << "JAILRUN_UPDATE_GOLDEN=1 writes jail/LAYERS.md anew";
}

}  // namespace jailrun::test
