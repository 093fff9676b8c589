// The process whose call is answered: its memory, and where it stands.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "tests/without/features.h"

namespace layers {

using without::Call;

// --- The caller's memory -------------------------------------------------------------------------

inline int open_memory(const Call& call) {
  return ::open(("/proc/" + std::to_string(call.pid) + "/mem").c_str(), O_RDWR | O_CLOEXEC);
}

template <typename T>
inline bool fetch(const Call& call, std::uint64_t address, T* values, std::size_t count = 1) {
  const int memory = open_memory(call);
  const std::size_t size = sizeof(T) * count;
  const ssize_t n = ::pread(memory, values, size, static_cast<off_t>(address));
  ::close(memory);
  return n == static_cast<ssize_t>(size);
}

template <typename T>
inline void store(const Call& call, std::uint64_t address, const T* values, std::size_t count = 1) {
  const int memory = open_memory(call);
  if (::pwrite(memory, values, sizeof(T) * count, static_cast<off_t>(address)) < 0)
    std::perror("without_layer: cannot write to the caller");
  ::close(memory);
}

// As much as there is: a string may end just before a hole.
inline std::string text_at(const Call& call, std::uint64_t address) {
  char bytes[64] = {};
  const int memory = open_memory(call);
  const ssize_t n = ::pread(memory, bytes, sizeof bytes - 1, static_cast<off_t>(address));
  ::close(memory);
  return n > 0 ? std::string(bytes) : std::string();
}

// --- Where the caller stands ---------------------------------------------------------------------

enum class Who { Owner, Keeper, Zygote, Init, Guest };

// How many pid namespaces a jail's builder is from its jails: one, or two where a keeper stands
// between them.
inline int depth = 1;

inline Who who(const Call& call) {
  std::ifstream status("/proc/" + std::to_string(call.pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("NSpid:")) continue;
    std::istringstream numbers(line.substr(6));
    int number = 0, levels = 0, own = 0;
    for (; numbers >> number; ++levels) own = number;
    if (levels > depth) return own == 1 ? Who::Init : Who::Guest;
    return levels < 2 ? Who::Owner : own == 1 ? Who::Keeper : Who::Zygote;
  }
  return Who::Owner;
}

// Not what the guest itself does: until it executes, the program is its builder's. A warm guest is
// the zygote's own program from its beginning, and looked at while it does nothing of the kind.
inline bool before_exec(const Call& call) {
  char path[256] = {};
  const std::string link = "/proc/" + std::to_string(call.pid) + "/exe";
  if (::readlink(link.c_str(), path, sizeof path - 1) < 0) return false;
  const std::string_view program = path;
  return program.ends_with("/jailrun") || program.ends_with("/jailrun-full") ||
         program.ends_with("/unattested") ||
         (depth > 1 && (program.ends_with("/jailrun-spawner") ||
                        program.find("/python3") != std::string_view::npos));
}

inline bool inside(const Call& call) {
  const Who caller = who(call);
  return (caller == Who::Init || caller == Who::Guest) && before_exec(call);
}

}  // namespace layers
