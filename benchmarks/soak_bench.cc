// Many fresh jails through one jaild, in one go: is any lost or mixed up, and does anything grow?
//
//     soak_bench [--socket PATH] [--runs N] [--clients N] [--json]
//
// Each run prints a number of its own, which must come back, with verdict ok, over its own lease.
// After the first thousand and at the end the daemon is looked at from outside: descriptors,
// threads, memory, and the cgroups and processes with its worlds. Exit status 1 if a run was not
// what it should be.
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "jail/daemon/client.h"
#include "jail/run/frames.h"

namespace {

using namespace jailrun;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Options {
  std::string socket = wire::socket_path();
  std::uint64_t runs = 100'000;
  int clients = 8;
  std::size_t minimum = 4;  // pool.min of the policy
  bool json = false;
};

[[noreturn]] void stop(const std::string& what) {
  std::fprintf(stderr, "soak_bench: %s\n", what.c_str());
  std::exit(1);
}

std::string drain(const Fd& fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

// True if what came back is this run's own.
bool run_once(Client& client, std::uint64_t number) {
  auto reply = client.lease({.queue_ns = 60'000'000'000});
  if (!reply) stop(reply.error().line());
  if (const Refusal* refused = std::get_if<Refusal>(&*reply)) {
    std::fprintf(stderr, "soak_bench: %s\n", refused->line().c_str());
    return false;
  }
  Leased& lease = std::get<Leased>(*reply);
  const std::string request =
      encode(Request{{"soak.py"}, "print(" + std::to_string(number) + ")\n"});
  lease.in.reset();
  if (write_all(lease.to_request.get(), request.data(), request.size()) != 0) return false;
  const std::string out = drain(lease.out), err = drain(lease.err);
  const Expected<LeaseEnded> ended = client.wait_ended(lease.id);
  if (!ended) stop(ended.error().line());
  return out == std::to_string(number) + "\n" && err.empty() &&
         ended->result.verdict == Verdict::Ok;
}

pid_t daemon_pid(const Options& options) {
  const Expected<Client> client = Client::connect(options.socket);
  ucred peer{};
  socklen_t size = sizeof peer;
  if (!client || ::getsockopt(client->fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    stop("no jaild at " + options.socket);
  return peer.pid;
}

std::size_t entries(const fs::path& directory) {
  std::error_code error;
  const fs::directory_iterator all(directory, error);
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

// Groups of jails anywhere below the hierarchies, whoever's they are.
std::size_t jail_groups() {
  std::size_t found = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it("/sys/fs/cgroup", error), end; it != end;
       it.increment(error))
    found += it->path().filename().string().starts_with("jailrun-") ? 1 : 0;
  return found;
}

std::uint64_t status_kib(pid_t pid, const std::string& key) {
  const std::string status =
      read_file_at(AT_FDCWD, ("/proc/" + std::to_string(pid) + "/status").c_str());
  const std::size_t at = status.find(key + ":");
  return at == std::string::npos ? 0
                                 : std::strtoull(status.c_str() + at + key.size() + 1, nullptr, 10);
}

// Once nobody asks, the pool shrinks to its minimum, one jail a second: then the two looks compare.
Json look(const Options& options, pid_t pid) {
  const std::string proc = "/proc/" + std::to_string(pid);
  Client client = std::move(*Client::connect(options.socket));
  std::size_t jails = client.ps()->jails.size();
  for (int second = 0; second < 90 && jails > options.minimum; ++second) {
    ::sleep(1);
    jails = client.ps()->jails.size();
  }
  const std::string mounts = read_file_at(AT_FDCWD, (proc + "/mountinfo").c_str(), 1 << 20);
  return {{"jails", jails},
          {"descriptors", entries(proc + "/fd")},
          {"threads", entries(proc + "/task")},
          {"mounts", std::ranges::count(mounts, '\n')},
          {"resident_kib", status_kib(pid, "VmRSS")},
          {"cgroups_of_jails", jail_groups()}};
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Many fresh jails through one jaild.", "soak_bench");
  app.add_option("--socket", options.socket, "jaild's socket")->capture_default_str();
  app.add_option("--runs", options.runs, "jails")->capture_default_str();
  app.add_option("--clients", options.clients, "connections")->capture_default_str();
  app.add_flag("--json", options.json, "one JSON document");
  CLI11_PARSE(app, argc, argv);

  const pid_t pid = daemon_pid(options);
  std::atomic<std::uint64_t> next = 0, wrong = 0;
  const auto run_to = [&](std::uint64_t last) {
    std::vector<std::jthread> threads;
    for (int i = 0; i < options.clients; ++i) {
      threads.emplace_back([&] {
        Expected<Client> client = Client::connect(options.socket);
        if (!client) stop(client.error().line());
        for (std::uint64_t number; (number = next++) < last;) {
          if (!run_once(*client, number)) ++wrong;
          if (number % 1000 == 0 && ::isatty(2))
            std::fprintf(stderr, "\r%llu", static_cast<unsigned long long>(number));
        }
      });
    }
    threads.clear();
    next = last;
  };
  const std::int64_t begin = monotonic_ns();
  run_to(std::min<std::uint64_t>(1000, options.runs));
  const Json first = look(options, pid);
  run_to(options.runs);
  const double seconds = static_cast<double>(monotonic_ns() - begin) / 1e9;
  const Json result = {{"runs", options.runs},
                       {"wrong", wrong.load()},
                       {"runs_per_second", static_cast<double>(options.runs) / seconds},
                       {"after_1000", first},
                       {"at_end", look(options, pid)}};
  std::printf("%s\n", result.dump(options.json ? -1 : 1).c_str());
  return wrong == 0 ? 0 : 1;
}
