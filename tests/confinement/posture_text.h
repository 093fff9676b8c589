// How a jail stands, as text: read in the host's /proc and cgroups, nothing asked of the guest.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace jailrun::test {

// A line a fact, the same for every jail of a policy and a life stage: what differs from run to run
// (uids, inodes, process numbers) is replaced by what it has to be. `owner` is who built the jail:
// none of its namespaces may be the jail's. Threads of the guest are read one by one.
std::vector<std::string> posture_text(pid_t owner, pid_t init, pid_t guest);

// The lines of either that the other lacks, "-" and "+" before them; empty: the same.
std::string differences(const std::vector<std::string>& expected,
                        const std::vector<std::string>& seen);

}  // namespace jailrun::test
