// jailagent: the HTTP service, without any privilege; and the keys to it.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <thread>

#include "agent/service/service.h"
#include "tools/service_manager.h"

namespace {

using namespace jailrun;
using namespace jailrun::service;

constexpr int kOurFailure = 125;

struct Asked {
  std::string listen = "127.0.0.1:8000", unix_socket, keys, key, name;
  HttpOptions http;
  ServiceOptions service;
  std::vector<std::string> hosts, scopes;
  double rate = 0;
  long idle_s = 30 * 60;
};

int fail(const Error& error) {
  std::fprintf(stderr, "jailagent: %s\n", error.line().c_str());
  return kOurFailure;
}

std::string default_keys() {
  if (const char* const home = std::getenv("XDG_CONFIG_HOME"); home != nullptr && *home == '/')
    return std::string(home) + "/jailrun/keys.json";
  if (::geteuid() == 0) return "/etc/jailrun/keys.json";
  const char* const home = std::getenv("HOME");
  return std::string(home == nullptr ? "." : home) + "/.config/jailrun/keys.json";
}

bool is_loopback(const std::string& address) { return address == "127.0.0.1" || address == "::1"; }

bool parse_listen(Asked& asked) {
  const std::size_t colon = asked.listen.rfind(':');
  if (colon == std::string::npos) return false;
  asked.http.address = asked.listen.substr(0, colon);
  if (asked.http.address.starts_with('[') && asked.http.address.ends_with(']'))
    asked.http.address = asked.http.address.substr(1, asked.http.address.size() - 2);
  char* end = nullptr;
  const std::string port = asked.listen.substr(colon + 1);
  const unsigned long number = std::strtoul(port.c_str(), &end, 10);
  if (port.empty() || *end != '\0' || number > 65535) return false;
  asked.http.port = static_cast<std::uint16_t>(number);
  return true;
}

int serve(Asked& asked) {
  if (!parse_listen(asked)) {
    return fail(Error{Stage::None, "--listen", 0, asked.listen + " is no ADDRESS:PORT",
                      "write --listen 127.0.0.1:8000"});
  }
  Expected<Keys> keys = Keys::read(asked.keys);
  if (!keys) return fail(keys.error());
  if (keys->empty() && !is_loopback(asked.http.address)) {
    return fail(Error{Stage::None, "--listen", 0,
                      "without a key the service listens on loopback alone",
                      "make one: jailagent keys add NAME"});
  }
  if (asked.service.store.empty()) {
    Expected<std::string> root = store::FileStore::default_root();
    if (!root) return fail(root.error());
    asked.service.store = *root;
  }
  const auto limits = store::StoreOptions::from_environment();
  if (!limits) return fail(limits.error());
  asked.service.store_options = *limits;
  if (const auto store = store::FileStore::open(asked.service.store, *limits); !store)
    return fail(store.error());
  asked.service.hosts = {asked.hosts.begin(), asked.hosts.end()};
  asked.service.sessions.idle = std::chrono::seconds(asked.idle_s);
  asked.service.version = JAILRUN_VERSION;
  asked.http.unix_socket = asked.unix_socket;
  spdlog::set_default_logger(spdlog::stderr_logger_mt("jailagent"));
  // Its data makes a service what it is, wherever it listens.
  std::error_code ignored;
  asked.service.sessions.identity =
      std::filesystem::weakly_canonical(asked.service.store, ignored).string();
  Service service(asked.service, std::move(*keys));
  service.recover();
  std::jthread sweeper([&service](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, stop, std::chrono::seconds(60), [] { return false; })) {
      if (stop.stop_requested()) return;
      service.sweep();
    }
  });
  const Expected<void> done = serve_http(asked.http, service, [&](std::uint16_t port) {
    std::printf("jailagent listens on %s:%u\n", asked.http.address.c_str(), unsigned{port});
    std::fflush(stdout);
    service_manager::serving();
  });
  return done ? 0 : fail(done.error());
}

int list_keys(const Asked& asked) {
  const auto keys = Keys::read(asked.keys);
  if (!keys) return fail(keys.error());
  for (const KeyRow& row : keys->rows()) {
    std::string more;
    for (const std::string& each : row.scopes) more += (more.empty() ? "  " : ",") + each;
    if (row.rate > 0) more += "  " + std::to_string(static_cast<long>(row.rate)) + "/s";
    std::printf("%s  %s%s\n", row.id.c_str(), row.name.c_str(), more.c_str());
  }
  return 0;
}

int add_key(const Asked& asked) {
  auto keys = Keys::read(asked.keys);
  if (!keys) return fail(keys.error());
  const auto key = keys->add(asked.name, asked.rate, asked.scopes);
  if (!key) return fail(key.error());
  std::printf("%s\n", key->c_str());
  std::fprintf(stderr, "jailagent: nobody can show it again; a running service knows it at once\n");
  return 0;
}

int remove_key(const Asked& asked) {
  auto keys = Keys::read(asked.keys);
  if (!keys) return fail(keys.error());
  const auto done = keys->remove(asked.key);
  if (!done) return fail(done.error());
  if (*done) return 0;
  return fail(Error{Stage::None, asked.key, 0, "there is no key " + asked.key,
                    "`jailagent keys ls` lists them"});
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The HTTP service of jailrun: a client of jaild, without any privilege");
  app.set_version_flag("--version", JAILRUN_VERSION);
  app.require_subcommand(1);
  Asked asked;
  asked.keys = default_keys();
  int status = 0;
  CLI::App* serve_verb = app.add_subcommand("serve", "Serve until SIGTERM");
  serve_verb->add_option("--listen", asked.listen, "ADDRESS:PORT; port 0: any")
      ->envname("JAILAGENT_LISTEN")
      ->capture_default_str();
  serve_verb->add_option("--unix", asked.unix_socket,
                         "a unix socket as well; no key is asked there");
  serve_verb->add_option("--host", asked.hosts,
                         "a name that the service goes by, besides localhost");
  serve_verb->add_option("--keys", asked.keys, "the file of keys")->capture_default_str();
  serve_verb->add_option("--store", asked.service.store, "root of the file store");
  serve_verb->add_option(
      "--record", asked.service.record,
      "file of runs and threads (default: CAPSULE_DB_PATH, else as `jailrun runs`)");
  serve_verb->add_option("--jaild", asked.service.sessions.jaild, "jaild's socket")
      ->capture_default_str();
  serve_verb->add_option("--policy", asked.service.policy, "where none is named")
      ->capture_default_str();
  serve_verb->add_option("--execute-policy", asked.service.execute_policy, "of /execute")
      ->capture_default_str();
  serve_verb->add_option("--rate", asked.service.rate, "requests a second of each key; 0: any")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  serve_verb->add_option("--session-idle", asked.idle_s, "seconds")->capture_default_str();
  serve_verb->add_option("--threads", asked.http.threads, "requests answered at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 512));
  serve_verb->callback([&] { status = serve(asked); });
  CLI::App* keys = app.add_subcommand("keys", "Who may use it from elsewhere than loopback");
  keys->add_option("--keys", asked.keys, "the file of keys")->capture_default_str();
  keys->require_subcommand(1);
  CLI::App* add = keys->add_subcommand("add", "Make one; prints it, this once");
  add->add_option("NAME", asked.name, "whose it is")->required();
  add->add_option("--scope", asked.scopes, "read, use or admin; again for more; default: all")
      ->check(CLI::IsMember({"read", "use", "admin"}));
  add->add_option("--rate", asked.rate, "requests a second")->check(CLI::NonNegativeNumber);
  add->callback([&] { status = add_key(asked); });
  keys->add_subcommand("ls", "Their ids and names")->callback([&] { status = list_keys(asked); });
  CLI::App* remove = keys->add_subcommand("rm", "Take one back");
  remove->add_option("ID", asked.key, "as `ls` shows it")->required();
  remove->callback([&] { status = remove_key(asked); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kOurFailure;
  }
  return status;
}
