// What a jaild of a plain user reads that it did not make.
#pragma once

#include <string>
#include <vector>

namespace jailrun {

// Policies, their images and layers, and the programs of this build: what enter_as_plain_user() is
// to vouch for, since inside its namespace nobody sees whose they are. What is installed later is
// refused until jaild starts again; what belongs to the user itself never is.
std::vector<std::string> installed_files();

}  // namespace jailrun
