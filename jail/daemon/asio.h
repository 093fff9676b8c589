// What jaild takes of Boost.Asio: one thread, coroutines, no exceptions of ours.
//
// g++ 12 miscompiles co_await inside of a condition with && or || (a trap where the other branch
// begins): each co_await is a statement of its own here.
#pragma once

#include <poll.h>

// Boost 1.74 uses it without saying so.
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>

#include "jail/sys/fd.h"

namespace jailrun {

namespace asio = boost::asio;
using Task = asio::awaitable<void>;
// Completes with `error` set instead of an exception (as_tuple would do, but Boost 1.74 lacks it).
inline auto await_with(boost::system::error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

// Waits for a descriptor that somebody else owns and may close at any time: by a duplicate.
class Watch {
 public:
  Watch(asio::io_context& io, int fd) : descriptor_(io) {
    boost::system::error_code error;
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy >= 0) descriptor_.assign(copy, error);
    // What epoll does not take is not owned: left open it would keep a client's connection alive.
    if (error) ::close(copy);
  }
  // Closing alone would not do: epoll goes on to report an open file as long as anybody has it, and
  // Asio would take that for news of whatever it watches in this one's place by then.
  ~Watch() {
    if (descriptor_.is_open()) ::close(descriptor_.release());
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // False: cancelled, or out of descriptors.
  asio::awaitable<bool> readable() {
    for (;;) {
      boost::system::error_code error;
      co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, await_with(error));
      if (error) co_return false;
      if (is_ready(POLLIN)) co_return true;
    }
  }
  asio::awaitable<bool> writable() {
    for (;;) {
      boost::system::error_code error;
      co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_write,
                                      await_with(error));
      if (error) co_return false;
      if (is_ready(POLLOUT)) co_return true;
    }
  }
  void cancel() {
    boost::system::error_code ignored;
    descriptor_.cancel(ignored);
  }

 private:
  // Asio recycles its records of descriptors while events of their former ones still wait in its
  // queue: about one wait in some thousands ends for nothing.
  bool is_ready(short events) {
    pollfd entry{descriptor_.native_handle(), events, 0};
    return ::poll(&entry, 1, 0) > 0;
  }

  asio::posix::stream_descriptor descriptor_;
};

inline std::chrono::nanoseconds nanoseconds(std::int64_t ns) {
  return std::chrono::nanoseconds(ns);
}

}  // namespace jailrun
