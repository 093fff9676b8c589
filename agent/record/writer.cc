#include "agent/record/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <sstream>

#include "jail/sys/fd.h"

namespace jailrun::agent {
namespace {

std::string boot() {
  auto id = read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

std::string writer_of(const std::string& pid) {
  const auto stat = read_file_at(AT_FDCWD, ("/proc/" + pid + "/stat").c_str());
  const auto name_end = stat.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream rest(stat.substr(name_end + 1));
  std::string field, start;
  for (int i = 3; i <= 22 && rest >> field; ++i) start = field;  // proc(5): starttime is the 22nd
  return boot() + " " + pid + " " + start;
}

}  // namespace

std::string this_writer() { return writer_of(std::to_string(::getpid())); }

bool writer_lives(const std::string& writer) {
  const auto from = writer.find(' '), to = writer.rfind(' ');
  if (from == std::string::npos || to <= from + 1) return false;
  const auto pid = writer.substr(from + 1, to - from - 1);
  if (pid.find_first_not_of("0123456789") != std::string::npos) return false;
  return writer_of(pid) == writer;
}

}  // namespace jailrun::agent
