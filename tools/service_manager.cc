#include "tools/service_manager.h"

#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include <chrono>

namespace jailrun::service_manager {

Expected<int> listener(const std::string& path) {
  const int count = ::sd_listen_fds(/*unset_environment=*/1);
  if (count <= 0) return -1;
  if (count == 1 && ::sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, path.c_str(), 0) > 0)
    return SD_LISTEN_FDS_START;
  return std::unexpected(Error{Stage::None, path, 0,
                               "the socket that the service manager gave does not listen there",
                               "give ListenStream= and --socket the same path, and one alone"});
}

void serving() { ::sd_notify(0, "READY=1"); }

void alive() {
  using Clock = std::chrono::steady_clock;
  static const std::chrono::microseconds every = [] {
    std::uint64_t us = 0;
    return std::chrono::microseconds(::sd_watchdog_enabled(0, &us) > 0 ? us / 2 : 0);
  }();
  static Clock::time_point told{};
  if (every.count() == 0 || Clock::now() - told < every) return;
  told = Clock::now();
  ::sd_notify(0, "WATCHDOG=1");
}

void ending() { ::sd_notify(0, "STOPPING=1"); }

}  // namespace jailrun::service_manager
