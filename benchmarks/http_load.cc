// Load for an HTTP server on this machine: one request, again and again, on many connections.
//
//     http_load --port N [--path P] [--body TEXT] [--connections N] [--seconds S]
//               [--rate R | --pause-ms M] [--events]
//
// Without --rate each connection sends again as soon as it has its reply (or M ms later); with it
// R requests a second begin, replies or not, each on a connection that is free: where none is, it
// counts as "unsent". --events: replies are server-sent events; what is measured is the time to the
// first, the connection included. Says by status what was answered and how fast, as JSON.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "jail/launch/timeline.h"
#include "jail/sys/fd.h"

namespace {

using namespace jailrun;
using Json = nlohmann::ordered_json;

struct Options {
  std::uint16_t port = 8000;
  std::string path = "/healthz", body;
  std::size_t connections = 1;
  double seconds = 4, rate = 0, pause_ms = 0, patience = 60;
  bool events = false;
};

[[noreturn]] void stop(const std::string& what) {
  std::fprintf(stderr, "http_load: %s\n", what.c_str());
  std::exit(1);
}

struct Connection {
  Fd fd;
  std::string got;
  std::size_t head = 0, whole = 0;  // bytes, once known
  std::int64_t begun_ns = 0;
  bool asked = false;
};

class Load {
 public:
  explicit Load(const Options& options) : options_(options), all_(options.connections) {
    request_ = (options.body.empty() ? "GET " : "POST ") + options.path +
               " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    if (!options.body.empty()) {
      request_ += "Content-Type: application/json\r\nContent-Length: " +
                  std::to_string(options.body.size()) + "\r\n";
    }
    request_ += "\r\n" + options.body;
  }
  Json run();

 private:
  void connect(std::size_t index);
  void ask(std::size_t index);
  void begin_due(std::int64_t now);
  void read(std::size_t index);
  bool is_whole(Connection& connection);
  void done(std::size_t index, std::int64_t now);
  void broken(std::size_t index);
  Json report(double seconds) const;

  const Options& options_;
  std::string request_;
  std::vector<Connection> all_;
  const Fd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  std::deque<std::size_t> free_;
  std::deque<std::pair<std::int64_t, std::size_t>> pausing_;
  std::int64_t end_ns_ = 0, due_ns_ = 0;
  std::size_t asking_ = 0, sent_ = 0, unsent_ = 0, failed_ = 0, reconnected_ = 0;
  std::map<int, std::vector<double>> us_;
};

void Load::connect(std::size_t index) {
  Connection& connection = all_[index];
  connection.fd = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(options_.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!connection.fd.valid() ||
      ::connect(connection.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
          0)
    stop("cannot connect to 127.0.0.1:" + std::to_string(options_.port) + ": " +
         std::strerror(errno));
  const int yes = 1;
  ::setsockopt(connection.fd.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = index;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection.fd.get(), &event);
}

void Load::ask(std::size_t index) {
  Connection& connection = all_[index];
  connection.begun_ns = monotonic_ns();
  if (!connection.fd.valid()) connect(index);
  connection.got.clear();
  connection.head = connection.whole = 0;
  connection.asked = true;
  ++asking_;
  ++sent_;
  // Small, on a connection that holds nothing else: it is taken whole. Where the server has ended
  // the connection meanwhile, reading says so.
  (void)!::send(connection.fd.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
}

// Nothing but what this server says is understood: a length, or an end of the connection.
bool Load::is_whole(Connection& connection) {
  const std::string& got = connection.got;
  if (connection.head == 0) {
    const std::size_t end = got.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    connection.head = end + 4;
    const std::size_t at = got.find("Content-Length: ");
    if (at < end) {
      std::from_chars(got.data() + at + 16, got.data() + end, connection.whole);
      connection.whole += connection.head;
    }
  }
  if (connection.whole != 0) return got.size() >= connection.whole;
  return options_.events && got.find("event: ", connection.head) != std::string::npos;
}

void Load::done(std::size_t index, std::int64_t now) {
  Connection& connection = all_[index];
  int status = 0;
  if (connection.got.size() > 12)
    std::from_chars(connection.got.data() + 9, connection.got.data() + 12, status);
  us_[status].push_back(static_cast<double>(now - connection.begun_ns) / 1e3);
  connection.asked = false;
  --asking_;
  // Events go on: whoever has the first goes away.
  if (options_.events || connection.got.find("Connection: close") < connection.head)
    connection.fd.reset();
  if (now >= end_ns_) return;
  if (options_.rate > 0) {
    free_.push_back(index);
  } else if (options_.pause_ms > 0) {
    pausing_.emplace_back(now + static_cast<std::int64_t>(options_.pause_ms * 1e6), index);
  } else {
    ask(index);
  }
}

void Load::broken(std::size_t index) {
  Connection& connection = all_[index];
  connection.fd.reset();
  if (connection.asked) {
    ++failed_;
    connection.asked = false;
    --asking_;
    if (monotonic_ns() < end_ns_) {
      if (options_.rate > 0)
        free_.push_back(index);
      else
        pausing_.emplace_back(monotonic_ns() + 10'000'000, index);
    }
  } else {
    ++reconnected_;  // with the next request
  }
}

void Load::read(std::size_t index) {
  Connection& connection = all_[index];
  char buffer[65536];
  const ssize_t n = ::recv(connection.fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return broken(index);
  connection.got.append(buffer, static_cast<std::size_t>(n));
  if (connection.asked && is_whole(connection)) done(index, monotonic_ns());
}

void Load::begin_due(std::int64_t now) {
  while (!pausing_.empty() && pausing_.front().first <= now) {
    const std::size_t index = pausing_.front().second;
    pausing_.pop_front();
    if (now < end_ns_) ask(index);
  }
  if (options_.rate <= 0) return;
  for (; due_ns_ <= now && due_ns_ < end_ns_;
       due_ns_ += static_cast<std::int64_t>(1e9 / options_.rate)) {
    if (free_.empty()) {
      ++unsent_;
    } else {
      const std::size_t index = free_.front();
      free_.pop_front();
      ask(index);
    }
  }
}

Json Load::run() {
  for (std::size_t i = 0; i < all_.size(); ++i) connect(i);
  const std::int64_t begun = due_ns_ = monotonic_ns();
  end_ns_ = begun + static_cast<std::int64_t>(options_.seconds * 1e9);
  const std::int64_t last = end_ns_ + static_cast<std::int64_t>(options_.patience * 1e9);
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if (options_.rate > 0)
      free_.push_back(i);
    else
      ask(i);
  }
  std::vector<epoll_event> events(256);
  for (std::int64_t now = begun; now < end_ns_ || (asking_ > 0 && now < last);
       now = monotonic_ns()) {
    begin_due(now);
    std::int64_t until = now < end_ns_ ? end_ns_ : last;
    if (options_.rate > 0 && now < end_ns_) until = std::min(until, due_ns_);
    if (!pausing_.empty()) until = std::min(until, pausing_.front().first);
    const std::int64_t wait = std::max<std::int64_t>(until - now, 0);
    const timespec timeout{wait / 1'000'000'000, wait % 1'000'000'000};
    const int count = ::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                     &timeout, nullptr);
    for (int i = 0; i < count; ++i) {
      const std::size_t index = events[static_cast<std::size_t>(i)].data.u64;
      if (all_[index].fd.valid()) read(index);
    }
  }
  return report(static_cast<double>(monotonic_ns() - begun) / 1e9);
}

Json Load::report(double seconds) const {
  Json by_status = Json::object();
  for (auto [status, us] : us_) {
    std::ranges::sort(us);
    const auto at = [&us](double part) {
      return us[static_cast<std::size_t>(part * static_cast<double>(us.size() - 1))];
    };
    by_status[std::to_string(status)] = {
        {"count", us.size()}, {"per_second", static_cast<double>(us.size()) / seconds},
        {"p50_us", at(.5)},   {"p90_us", at(.9)},
        {"p99_us", at(.99)},  {"max_us", us.back()}};
  }
  return {{"seconds", seconds},    {"sent", sent_},         {"unsent", unsent_},
          {"failed", failed_},     {"unanswered", asking_}, {"reconnected", reconnected_},
          {"by_status", by_status}};
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Load for an HTTP server on this machine.", "http_load");
  app.add_option("--port", options.port, "of 127.0.0.1")->required();
  app.add_option("--path", options.path, "what is asked for")->capture_default_str();
  app.add_option("--body", options.body, "JSON; with one it is a POST");
  app.add_option("--connections", options.connections, "at once")->check(CLI::Range(1, 60000));
  app.add_option("--seconds", options.seconds, "how long")->capture_default_str();
  app.add_option("--rate", options.rate,
                 "requests a second; default: as fast as they are answered");
  app.add_option("--pause-ms", options.pause_ms, "between a reply and the next request");
  app.add_option("--patience", options.patience, "seconds for the last replies");
  app.add_flag("--events", options.events, "replies are server-sent events");
  CLI11_PARSE(app, argc, argv);
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  std::printf("%s\n", Load(options).run().dump(1).c_str());
}
