// What jaild takes of Boost.Asio: one thread, coroutines, no exceptions of ours.
//
// g++ 12 miscompiles co_await inside of a condition with && or || (a trap where the other branch
// begins): each co_await is a statement of its own here.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
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
inline constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// Waits for a descriptor that somebody else owns and may close at any time: by a duplicate.
class Watch {
 public:
  Watch(asio::io_context& io, int fd) : descriptor_(io) {
    boost::system::error_code ignored;
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy >= 0) descriptor_.assign(copy, ignored);
  }
  // False: cancelled, or out of descriptors.
  asio::awaitable<bool> readable() {
    const auto [error] =
        co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, kAwait);
    co_return !error;
  }
  asio::awaitable<bool> writable() {
    const auto [error] =
        co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_write, kAwait);
    co_return !error;
  }
  void cancel() {
    boost::system::error_code ignored;
    descriptor_.cancel(ignored);
  }

 private:
  asio::posix::stream_descriptor descriptor_;
};

inline std::chrono::nanoseconds nanoseconds(std::int64_t ns) {
  return std::chrono::nanoseconds(ns);
}

}  // namespace jailrun
