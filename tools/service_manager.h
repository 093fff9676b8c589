// The service manager that may have started a daemon (systemd, or another that speaks its protocol,
// sd_listen_fds(3), sd_notify(3)): its socket, and what it wants to hear. Without one nothing
// happens.
#pragma once

#include <string>

#include "jail/sys/error.h"

namespace jailrun::service_manager {

// The listening unix socket that it gave, close-on-exec from now on; -1: none. Errors: several, or
// one that listens elsewhere than at `path`.
Expected<int> listener(const std::string& path);
void serving();
// A sign of life, for its watchdog. Cheap: says nothing unless half of the watchdog's time is over.
void alive();
void ending();

}  // namespace jailrun::service_manager
