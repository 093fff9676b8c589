// jaild: keeps fresh jails ready and lends them. One thread, no network, no guest's byte.
#include <google/protobuf/stubs/logging.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "jail/daemon/server.h"
#include "jail/daemon/wire.h"
#include "jail/launch/plain.h"
#include "tools/config.h"
#include "tools/jaild/installed.h"
#include "tools/log_options.h"
#include "tools/service_manager.h"

namespace {

// Each waiting jail holds some descriptors.
void raise_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  if (const auto config = jailrun::config::apply(); !config) {
    std::fprintf(stderr, "jaild: %s\n", config.error().line().c_str());
    return 2;
  }
  jailrun::ServerOptions options;
  options.socket = jailrun::wire::own_socket_path();
  options.trusted = {0, ::geteuid()};
  std::string mode = "0660";
  std::vector<std::uint32_t> trusted;
  auto import_seconds = options.pool.import_deadline.count();
  auto idle_seconds = options.session_idle.count();
  bool verbose = false;
  jailrun::LogOptions log;

  CLI::App app("Keeps fresh jails ready and lends them over a unix socket.", "jaild");
  app.set_version_flag("--version", std::string("jaild ") + JAILRUN_VERSION);
  app.add_option("--socket", options.socket, "path of the socket")
      ->envname("JAILRUN_SOCKET")
      ->capture_default_str();
  app.add_option("--mode", mode, "mode of the socket, octal")
      ->envname("JAILD_MODE")
      ->capture_default_str();
  app.add_option("--group", options.group, "group of the socket: who may ask for jails")
      ->envname("JAILD_GROUP");
  app.add_option("--warm", options.warm,
                 "policies to make ready at once; default: all with pool.min above 0")
      ->envname("JAILD_WARM")
      ->delimiter(',');
  app.add_option("--trust-owner", trusted, "uids that may say whose jail it is; root always may")
      ->envname("JAILD_TRUST_OWNER")
      ->delimiter(',');
  app.add_flag("--on-demand", options.pool.on_demand,
               "keep no jail waiting: clone each when it is asked for; for hosts short of memory")
      ->envname("JAILD_ON_DEMAND");
  app.add_option("--import-deadline", import_seconds,
                 "seconds after which an interpreter that still imports is taken to hang")
      ->envname("JAILD_IMPORT_DEADLINE")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_option("--sessions-per-user", options.sessions_of_user,
                 "how many sessions a user may have")
      ->envname("JAILD_SESSIONS_PER_USER")
      ->capture_default_str();
  app.add_option("--session-idle", idle_seconds,
                 "seconds after which a session that nobody uses is closed")
      ->envname("JAILD_SESSION_IDLE")
      ->check(CLI::Range(1, 30 * 24 * 3600))
      ->capture_default_str();
  app.add_flag("-v,--verbose", verbose, "log each client: --log-level debug");
  jailrun::add_log_options(app, log);
  CLI11_PARSE(app, argc, argv);

  char* end = nullptr;
  options.mode = static_cast<std::uint32_t>(std::strtoul(mode.c_str(), &end, 8));
  if (*end != '\0' || mode.empty() || options.mode > 0777) {
    std::fprintf(stderr, "jaild: --mode %s is no octal mode; write 0660\n", mode.c_str());
    return 2;
  }
  options.pool.import_deadline = std::chrono::seconds(import_seconds);
  options.session_idle = std::chrono::seconds(idle_seconds);
  options.trusted.insert(trusted.begin(), trusted.end());
  if (verbose) log.level = "debug";
  if (const auto opened = jailrun::open_log("jaild", log, true); !opened) {
    std::fprintf(stderr, "jaild: %s\n", opened.error().line().c_str());
    return 2;
  }
  raise_descriptors();
  // It writes a line of what a broken message is made of: as often as any client likes.
  google::protobuf::SetLogHandler(nullptr);

  if (!jailrun::can_build_jails()) {
    const auto entered = jailrun::enter_as_plain_user(argv, jailrun::installed_files(), true);
    spdlog::error("{}", entered.error().line());
    return 1;
  }
  const auto listener = jailrun::service_manager::listener(options.socket);
  if (!listener) {
    spdlog::error("{}", listener.error().line());
    return 1;
  }
  options.listener = *listener;
  options.serving = jailrun::service_manager::serving;
  options.alive = jailrun::service_manager::alive;
  jailrun::Server server(std::move(options));
  const jailrun::Expected<void> ran = server.run();
  jailrun::service_manager::ending();
  if (ran) return 0;
  spdlog::error("{}", ran.error().line());
  return 1;
}
