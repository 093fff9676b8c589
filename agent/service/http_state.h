// What the connections of one HttpServer share; for http_server.cc alone.
#pragma once

#include <sys/eventfd.h>

#include <atomic>
// Boost 1.74 uses it without saying so.
#include <utility>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/service/http_server.h"

namespace jailrun::service::http_detail {

namespace asio = boost::asio;

// Bodies that are held in memory, all together: as many connections as there may be would else fill
// it, each with what one may send.
constexpr std::uint64_t kMostBodies = 256u << 20;

struct State {
  const HttpOptions& options;
  Application& application;
  HttpLoad own;
  HttpLoad& load;
  std::atomic<std::size_t>& requests = load.requests;
  std::atomic<std::size_t>& connections = load.connections;
  std::atomic<bool>& draining = load.draining;
  std::size_t busy = 0;      // connections between the head of a request and the end of its reply
  std::uint64_t bodies = 0;  // bytes that have been given to bodies, come or still to come
  std::set<int> gone;        // eventfds of the requests that are answered
  std::vector<Fd> spare;     // such that were not written to
  // After what connections, which it destroys, still write to.
  asio::io_context io{1};
  asio::thread_pool workers;

  State(const HttpOptions& given, Application& app)
      : options(given),
        application(app),
        load(given.load == nullptr ? own : *given.load),
        workers(given.threads) {}
};

// Counts for as long as it lives.
template <typename Number>
struct Share {
  Share(Number& given, Number part) : all(given), mine(part) { all += mine; }
  ~Share() { all -= mine; }
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;
  Number& all;
  const Number mine;
};

// A request while a thread answers it: all on the thread of the loop, but for `fd`.
struct Turn {
  bool done = false, gone = false;
  Fd fd;  // eventfd: readable once nobody waits for the reply any more

  explicit Turn(State& state) {
    if (state.spare.empty()) {
      fd = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    } else {
      fd = std::move(state.spare.back());
      state.spare.pop_back();
    }
    state.gone.insert(fd.get());
  }
  void peer_is_gone() {
    gone = true;
    (void)!::eventfd_write(fd.get(), 1);
  }
  void end(State& state) {
    done = true;
    state.gone.erase(fd.get());
    if (!gone && !state.draining) state.spare.push_back(std::move(fd));
  }
};

// A line of it each.
inline std::string event_text(std::string_view event, std::string_view data) {
  std::string text = "event: " + std::string(event) + "\n";
  for (std::size_t at = 0; at <= data.size();) {
    const std::size_t end = std::min(data.find('\n', at), data.size());
    text += "data: " + std::string(data.substr(at, end - at)) + "\n";
    at = end + 1;
  }
  return text + "\n";
}

}  // namespace jailrun::service::http_detail
