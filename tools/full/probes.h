// What jailrun needs of a host, each found out by trying it in a child that then dies.
#pragma once

#include <string>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun::full {

enum class State {
  Ok,
  Weak,     // jails run, with less: the remedy says what is lost
  Missing,  // jails of the default policy do not run
};

struct Mechanism {
  std::string name;
  State state;
  std::string enforces;  // what in a jail rests on it, and which file or call does it
  std::string remedy;    // empty when Ok
};

using Mechanisms = std::vector<Mechanism>;

// What rests on user namespaces is not tried without them: one remedy, on their own line.
bool lacks_user_namespaces(const Mechanisms& all);
inline constexpr const char* kSeeUserNamespace = "see user namespace";

// probes.cc: the kernel's own mechanisms.
void probe_kernel(Mechanisms& all);
void probe_namespaces(Mechanisms& all);
void probe_mounts(Mechanisms& all);
void probe_filters(Mechanisms& all);

// probes_host.cc: how this host is set up.
void probe_rights(Mechanisms& all, const Error* not_entered);  // why a plain user has none
void probe_ids(Mechanisms& all);                               // after probe_namespaces
void probe_network(Mechanisms& all);
void probe_cgroups(Mechanisms& all);
void probe_image(Mechanisms& all);
// Compiles the default policy, and runs /bin/true under it.
void probe_policy(Mechanisms& all);
void probe_jail(Mechanisms& all);

}  // namespace jailrun::full
