// Who writes a run: a process of this boot, which may have died meanwhile.
#pragma once

#include <string>

namespace jailrun::agent {

// Boot, pid and the time at which the process began: no two processes have the same.
std::string this_writer();
bool writer_lives(const std::string& writer);

}  // namespace jailrun::agent
