// jailagent: the HTTP service, without any privilege; and the keys to it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "agent/base/text.h"
#include "agent/record/redact.h"
#include "agent/service/limits.h"
#include "agent/service/service.h"
#include "tools/config.h"
#include "tools/log_options.h"
#include "tools/service_manager.h"

namespace {

using namespace jailrun;
using namespace jailrun::service;

constexpr int kOurFailure = 125, kBadConfig = 2;

struct Asked {
  std::string listen = "127.0.0.1:8000", unix_socket, keys, key, name;
  HttpOptions http;
  ServiceOptions service;
  std::vector<std::string> hosts, scopes, origins;
  // Of settings that a reload may change: those that the command line or the environment have given
  // stay as they are.
  std::set<std::string> fixed;
  double rate = 0;
  long idle_s = 30 * 60;
  LogOptions log;
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

bool is_origin(const std::string& text) {
  const std::size_t host = text.starts_with("https://") ? 8 : text.starts_with("http://") ? 7 : 0;
  return host != 0 && text.size() > host &&
         text.find_first_of("/*,? \t", host) == std::string::npos;
}

Expected<LiveOptions> live_options(const std::vector<std::string>& hosts,
                                   const std::vector<std::string>& origins, double rate) {
  for (const std::string& each : origins) {
    if (is_origin(each)) continue;
    return std::unexpected(Error{Stage::None, "--cors-origin", 0, each + " is no origin",
                                 "write https://app.example or http://localhost:3000"});
  }
  return LiveOptions{{hosts.begin(), hosts.end()}, {origins.begin(), origins.end()}, rate};
}

// What the file says by now, for what nobody else has said.
void reload(const Asked& asked, Service& service) {
  const config::Config config = config::read(config::files(), false);
  for (const Error& each : config.faults) spdlog::error("{}", each.line());
  if (!config.faults.empty()) return spdlog::error("the settings stay as they were");
  const auto text = [&](const char* variable) {
    const auto found = config.values.find(variable);
    return found == config.values.end() ? std::string() : found->second.text;
  };
  const auto list = [&](const char* variable, const std::vector<std::string>& given) {
    if (asked.fixed.contains(variable)) return given;
    return CLI::detail::split(text(variable), ',');
  };
  auto hosts = list("JAILAGENT_HOST", asked.hosts);
  auto origins = list("JAILAGENT_CORS_ORIGIN", asked.origins);
  std::erase(hosts, "");
  std::erase(origins, "");
  const double rate = asked.fixed.contains("JAILAGENT_RATE")
                          ? asked.service.rate
                          : std::strtod(text("JAILAGENT_RATE").c_str(), nullptr);
  auto live = live_options(hosts, origins, rate);
  if (!live) return spdlog::error("{}; the settings stay as they were", live.error().line());
  service.reload(std::move(*live));
  spdlog::info("hosts, origins and rate are as the configuration has them");
}

int serve(Asked& asked) {
  const auto without_keys = [redactor =
                                 agent::Redactor::from_environment()](const std::string& text) {
    return agent::printable(redactor.text(text));
  };
  if (const auto log = open_log("jailagent", asked.log, true, without_keys); !log)
    return fail(log.error());
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
  auto live = live_options(asked.hosts, asked.origins, asked.service.rate);
  if (!live) return fail(live.error());
  asked.service.hosts = live->hosts;
  asked.service.cors_origins = live->cors_origins;
  if (const auto given = limits_of_environment(asked.service); !given) return fail(given.error());
  HttpLoad load;
  asked.http.load = &load;
  asked.service.load = &load;
  asked.service.sessions.idle = std::chrono::seconds(asked.idle_s);
  asked.service.version = JAILRUN_VERSION;
  asked.http.unix_socket = asked.unix_socket;
  asked.http.uploads = asked.service.store;  // its disk, not the memory that /tmp may be
  // Its data makes a service what it is, wherever it listens.
  std::error_code ignored;
  asked.service.sessions.identity =
      std::filesystem::weakly_canonical(asked.service.store, ignored).string();
  Service service(asked.service, std::move(*keys));
  service.recover();
  asked.http.reload = [&asked, &service] { reload(asked, service); };
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
  // Before threads and options: both take what it sets.
  const auto from_file = config::apply();
  if (!from_file) {
    std::fprintf(stderr, "jailagent: %s\n", from_file.error().line().c_str());
    return kBadConfig;
  }
  Asked asked;
  asked.keys = default_keys();
  if (const char* minutes = std::getenv("SESSION_TIMEOUT_MINUTES");
      minutes != nullptr && std::atol(minutes) > 0)
    asked.idle_s = std::atol(minutes) * 60;
  for (const char* variable : {"JAILAGENT_HOST", "JAILAGENT_CORS_ORIGIN", "JAILAGENT_RATE"})
    if (std::getenv(variable) != nullptr && !from_file->contains(variable))
      asked.fixed.insert(variable);
  int status = 0;
  CLI::App* serve_verb = app.add_subcommand("serve", "Serve until SIGTERM");
  serve_verb->add_option("--listen", asked.listen, "ADDRESS:PORT; port 0: any")
      ->envname("JAILAGENT_LISTEN")
      ->capture_default_str();
  serve_verb
      ->add_option("--unix", asked.unix_socket, "a unix socket as well; no key is asked there")
      ->envname("JAILAGENT_UNIX");
  const auto* hosts =
      serve_verb
          ->add_option("--host", asked.hosts, "a name that the service goes by, besides localhost")
          ->envname("JAILAGENT_HOST")
          ->delimiter(',');
  const auto* origins =
      serve_verb
          ->add_option("--cors-origin", asked.origins,
                       "an origin whose pages may ask: https://app.example; default: none")
          ->envname("JAILAGENT_CORS_ORIGIN")
          ->delimiter(',');
  serve_verb->add_option("--keys", asked.keys, "the file of keys")
      ->envname("JAILAGENT_KEYS")
      ->capture_default_str();
  serve_verb->add_option("--store", asked.service.store, "root of the file store");
  serve_verb->add_option(
      "--record", asked.service.record,
      "file of runs and threads (default: CAPSULE_DB_PATH, else as `jailrun runs`)");
  serve_verb->add_option("--jaild", asked.service.sessions.jaild, "jaild's socket")
      ->envname("JAILRUN_SOCKET")
      ->capture_default_str();
  serve_verb->add_option("--policy", asked.service.policy, "where none is named")
      ->envname("JAILAGENT_POLICY")
      ->capture_default_str();
  serve_verb->add_option("--execute-policy", asked.service.execute_policy, "of /execute")
      ->envname("JAILAGENT_EXECUTE_POLICY")
      ->capture_default_str();
  const auto* rate =
      serve_verb->add_option("--rate", asked.service.rate, "requests a second of each key; 0: any")
          ->envname("JAILAGENT_RATE")
          ->capture_default_str()
          ->check(CLI::NonNegativeNumber);
  serve_verb->add_option("--session-idle", asked.idle_s, "seconds")->capture_default_str();
  serve_verb->add_option("--threads", asked.http.threads, "requests answered at once")
      ->envname("JAILAGENT_THREADS")
      ->capture_default_str()
      ->check(CLI::Range(1, 512));
  add_log_options(*serve_verb, asked.log);
  serve_verb->callback([&] {
    const std::vector<std::string> words(argv + 1, argv + argc);
    const auto is_given = [&](const CLI::Option* option) {
      const std::string name = "--" + option->get_lnames().front();
      return std::ranges::any_of(words, [&](const std::string& word) {
        return word == name || word.starts_with(name + "=");
      });
    };
    if (is_given(hosts)) asked.fixed.insert("JAILAGENT_HOST");
    if (is_given(origins)) asked.fixed.insert("JAILAGENT_CORS_ORIGIN");
    if (is_given(rate)) asked.fixed.insert("JAILAGENT_RATE");
    status = serve(asked);
  });
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
