// One connection of HttpServer, over TCP or a unix socket; for http_server.cc alone.
#pragma once

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
// Boost 1.74 uses it without saying so.
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <future>
#include <nlohmann/json.hpp>

#include "agent/service/http_head.h"
#include "agent/service/http_state.h"

namespace jailrun::service::http_detail {

using Fault = boost::system::error_code;
using Task = asio::awaitable<void>;
using std::chrono::seconds;

constexpr std::size_t kHeadBytes = 16 << 10, kBodyBuffer = 64 << 10, kFileChunk = 1 << 20,
                      kFileTurn = 4 << 20;
constexpr seconds kHeadTime{30}, kBodyTime{120}, kWriteTime{60}, kDrainTime{10}, kLingerTime{3};
// What was sent before we began to end has come by then; and who does not read is not waited for.
constexpr std::chrono::milliseconds kLeastDrain{250}, kMostDrain{15'000};
constexpr std::size_t kLingerBytes = 64 << 20;

inline auto await_with(Fault& fault) { return asio::redirect_error(asio::use_awaitable, fault); }

template <typename Protocol>
class Connection : public std::enable_shared_from_this<Connection<Protocol>> {
 public:
  using Stream = beast::basic_stream<Protocol>;
  Connection(State& state, typename Protocol::socket socket, bool local)
      : state_(state), stream_(std::move(socket)), local_(local) {
    ++state_.connections;
  }
  ~Connection() { --state_.connections; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // `self` keeps it alive: a coroutine begins when it is resumed, not when it is called.
  Task run([[maybe_unused]] std::shared_ptr<Connection> self) {
    // Who has connected in time gets an answer, also while all ends.
    bool more = true;
    while (more) {
      more = co_await one_request();
      if (state_.draining) break;
    }
    Fault ignored;
    stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
  }

 private:
  using Head = http::request_parser<http::empty_body>;
  asio::awaitable<bool> one_request();
  asio::awaitable<Fault> read_body(Head& head, BodyRule rule, HttpRequest& request);
  asio::awaitable<bool> refuse(unsigned status, const char* why);
  asio::awaitable<bool> answer(std::shared_ptr<HttpRequest> request, bool keep);
  asio::awaitable<bool> write(HttpReply reply, const HttpRequest* request, bool keep);
  asio::awaitable<bool> write_file(HttpReply& reply);
  // What it gives is done after the reply is on its way.
  using Act = std::function<std::function<void()>()>;
  Task work(std::shared_ptr<HttpRequest> request, Act act);
  Task watch_peer(std::shared_ptr<Turn> turn);
  asio::awaitable<bool> write_events(HttpReply reply, std::shared_ptr<HttpRequest> request);
  void dress(http::response_header<>& head, const HttpReply& reply, const HttpRequest* request);

  State& state_;
  Stream stream_;
  beast::flat_buffer buffer_{kHeadBytes + kBodyBuffer};
  const bool local_;
};

template <typename Protocol>
asio::awaitable<bool> Connection<Protocol>::refuse(unsigned status, const char* why) {
  // Named, here and below: g++ 12 is not to be trusted with temporaries of a co_await.
  HttpReply reply = failure(status, why);
  co_await write(std::move(reply), nullptr, false);
  // Who has not sent all of it yet would have the reply taken away by a reset.
  Fault fault;
  stream_.socket().shutdown(asio::socket_base::shutdown_send, fault);
  std::string unwanted(64 << 10, '\0');
  stream_.expires_after(kLingerTime);
  for (std::size_t read = 0; !fault && read < kLingerBytes;)
    read += co_await stream_.async_read_some(asio::buffer(unwanted), await_with(fault));
  co_return false;
}

// Errors: the body is too long, no room for it, or its sender has gone.
template <typename Protocol>
asio::awaitable<Fault> Connection<Protocol>::read_body(Head& head, BodyRule rule,
                                                       HttpRequest& request) {
  Fault fault;
  if (beast::iequals(head.get()[http::field::expect], "100-continue")) {
    http::response<http::empty_body> go_on(http::status::continue_, 11);
    co_await http::async_write(stream_, go_on, await_with(fault));
  }
  const std::uint64_t length = head.content_length().value_or(rule.bytes);
  // A buffer that has not grown is read into by 512 bytes; one that has is too much to wait with.
  if (length > kHeadBytes) buffer_.reserve(kBodyBuffer);
  stream_.expires_after(kBodyTime + seconds(length >> 20));  // a MiB a second, at least
  if (rule.to_file) {
    http::request_parser<http::file_body> body(std::move(head));
    body.body_limit(rule.bytes);
    Fd file(::open(state_.options.uploads.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    Fd copy(file.valid() ? ::fcntl(file.get(), F_DUPFD_CLOEXEC, 3) : -1);
    if (!copy.valid()) co_return make_error_code(boost::system::errc::no_space_on_device);
    beast::file_posix target;
    target.native_handle(copy.release());
    body.get().body().reset(std::move(target), fault);
    co_await http::async_read(stream_, buffer_, body, await_with(fault));
    request.upload = std::move(file);
    if (!fault) ::lseek(request.upload.get(), 0, SEEK_SET);
  } else {
    http::request_parser<http::string_body> body(std::move(head));
    body.body_limit(rule.bytes);
    co_await http::async_read(stream_, buffer_, body, await_with(fault));
    request.body = std::move(body.get().body());
  }
  if (buffer_.capacity() > kHeadBytes) buffer_.shrink_to_fit();
  co_return fault;
}

template <typename Protocol>
asio::awaitable<bool> Connection<Protocol>::one_request() {
  Fault fault;
  Head head;
  head.header_limit(kHeadBytes);
  head.body_limit(boost::none);  // by its route, below
  stream_.expires_after(kHeadTime);
  co_await http::async_read_header(stream_, buffer_, head, await_with(fault));
  if (fault == http::error::header_limit) {
    const bool more = co_await refuse(431, "the head of the request is too long");
    co_return more;
  }
  if (fault == http::error::end_of_stream || fault == beast::error::timeout ||
      (fault && fault.category() == boost::system::system_category()))
    co_return false;
  const Share<std::size_t> busy(state_.busy, 1);
  const auto request = std::make_shared<HttpRequest>();
  request->local = local_;
  if (fault || !is_framed_once(head.get().base()) || !fill(head.get().base(), *request)) {
    const bool more = co_await refuse(400, "not a well-formed HTTP/1.1 request");
    co_return more;
  }
  const BodyRule rule = state_.application.rule(request->method, request->path);
  if (head.content_length().value_or(0) > rule.bytes) {
    const bool more = co_await refuse(413, "the body of the request is too large");
    co_return more;
  }
  const std::uint64_t length = head.content_length().value_or(rule.bytes);
  const std::uint64_t bytes =
      (rule.to_file ? 0 : length) + (length > kHeadBytes ? kBodyBuffer : std::size_t{0});
  if (state_.bodies + bytes > kMostBodies) {
    const bool more = co_await refuse(503, "too many large requests at once");
    co_return more;
  }
  const Share<std::uint64_t> held(state_.bodies, bytes);
  const bool keep = head.keep_alive();
  fault = co_await read_body(head, rule, *request);
  if (fault == boost::system::errc::no_space_on_device) {
    const bool more = co_await refuse(503, "no room for an upload");
    co_return more;
  }
  if (fault == http::error::body_limit) {
    const bool more = co_await refuse(413, "the body of the request is too large");
    co_return more;
  }
  if (fault) co_return false;
  if (state_.draining && request->path != "/healthz") {
    HttpReply ending = failure(503, "the service is ending");
    ending.headers.emplace_back("Retry-After", "1");
    const bool more = co_await write(std::move(ending), request.get(), false);
    co_return more;
  }
  if (request->path == "/healthz") {  // here: also while all threads are busy
    HttpReply alive = state_.application.handle(*request);
    const bool more = co_await write(std::move(alive), request.get(), keep);
    co_return more;
  }
  if (state_.requests >= state_.options.threads + state_.options.waiting) {
    ++state_.load.refused;
    HttpReply refusal = failure(429, "too many requests at once");
    refusal.headers.emplace_back("Retry-After", "1");
    const bool more = co_await write(std::move(refusal), request.get(), keep);
    co_return more;
  }
  const bool more = co_await answer(request, keep);
  co_return more;
}

template <typename Protocol>
asio::awaitable<bool> Connection<Protocol>::answer(std::shared_ptr<HttpRequest> request,
                                                   bool keep) {
  HttpReply reply;
  stream_.expires_never();
  Act act = [&reply, &asked = *request, &state = state_] {
    reply = state.application.handle(asked);
    return std::move(reply.after);
  };
  co_await work(request, std::move(act));
  bool more = false;
  if (reply.events) {
    more = co_await write_events(std::move(reply), request);
  } else {
    more = co_await write(std::move(reply), request.get(), keep);
  }
  co_return more;
}

// Tells the thread that answers, by a descriptor that it may poll, that nobody waits any more.
template <typename Protocol>
Task Connection<Protocol>::watch_peer(std::shared_ptr<Turn> turn) {
  const auto self = this->shared_from_this();
  Fault fault;
  co_await stream_.socket().async_wait(asio::socket_base::wait_read, await_with(fault));
  if (fault || turn->done) co_return;
  char byte = 0;
  if (::recv(stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
    turn->peer_is_gone();
}

// On a thread of its own, with a watch on whoever waits for it.
template <typename Protocol>
Task Connection<Protocol>::work(std::shared_ptr<HttpRequest> request, Act act) {
  const auto turn = std::make_shared<Turn>(state_);
  const auto ready =
      std::make_shared<asio::steady_timer>(state_.io, asio::steady_timer::time_point::max());
  request->gone = turn->fd.get();
  asio::co_spawn(state_.io, watch_peer(turn), asio::detached);
  ++state_.requests;
  asio::post(state_.workers, [&state = state_, act = std::move(act), ready, turn] {
    const std::function<void()> after = act();
    asio::post(state.io, [&state, ready, turn] {
      turn->end(state);
      ready->cancel();
    });
    if (after) after();
  });
  Fault fault;
  while (!turn->done) co_await ready->async_wait(await_with(fault));
  --state_.requests;
  request->gone = -1;
  stream_.socket().cancel(fault);  // watch_peer
}

template <typename Protocol>
void Connection<Protocol>::dress(http::response_header<>& head, const HttpReply& reply,
                                 const HttpRequest* request) {
  head.result(reply.status);
  head.set(http::field::server, "jailagent");
  head.set(http::field::content_type, reply.type);
  head.set("X-Content-Type-Options", "nosniff");
  head.set("Referrer-Policy", "no-referrer");
  head.set("Cross-Origin-Resource-Policy", "same-origin");
  head.set("X-Frame-Options", "DENY");
  head.set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  head.set(http::field::cache_control, "no-store");
  for (const auto& [name, value] : reply.headers) head.set(name, value);
  if (request != nullptr) head.set("X-Request-Id", request->id);
}

template <typename Protocol>
asio::awaitable<bool> Connection<Protocol>::write(HttpReply reply, const HttpRequest* request,
                                                  bool keep) {
  Fault fault;
  stream_.expires_after(kWriteTime);
  const bool has_body = request == nullptr || request->method != "HEAD";
  keep = keep && !state_.draining;
  if (reply.file.valid()) {
    http::response<http::empty_body> head;
    head.version(11);
    dress(head, reply, request);
    head.content_length(reply.file_bytes);
    head.keep_alive(keep);
    http::response_serializer<http::empty_body> serial(head);
    co_await http::async_write_header(stream_, serial, await_with(fault));
    bool sent = !fault;
    if (sent && has_body) sent = co_await write_file(reply);
    co_return sent&& keep;
  }
  http::response<http::string_body> whole;
  whole.version(11);
  dress(whole, reply, request);
  const std::size_t bytes = reply.body.size();
  if (has_body) whole.body() = std::move(reply.body);
  whole.content_length(bytes);
  whole.keep_alive(keep);
  co_await http::async_write(stream_, whole, await_with(fault));
  co_return !fault && keep;
}

// A file that is shorter by now than was said breaks the connection: its reader must not take the
// next reply for the rest of it. What the socket takes goes there within the kernel.
template <typename Protocol>
asio::awaitable<bool> Connection<Protocol>::write_file(HttpReply& reply) {
  auto& socket = stream_.socket();
  asio::steady_timer limit(state_.io);
  Fault fault;
  socket.native_non_blocking(true, fault);
  ::posix_fadvise(reply.file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  std::uint64_t since = 0;
  for (std::uint64_t left = reply.file_bytes; left > 0 && !fault;) {
    const ssize_t n = ::sendfile(socket.native_handle(), reply.file.get(), nullptr,
                                 std::min<std::uint64_t>(left, kFileChunk));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) co_return false;
    if (n > 0) left -= static_cast<std::uint64_t>(n);
    if (n > 0) since += static_cast<std::uint64_t>(n);
    if (n > 0 && since < kFileTurn) continue;
    since = 0;  // others are to have their turn
    limit.expires_after(kWriteTime);
    limit.async_wait([self = this->shared_from_this()](Fault error) {
      Fault ignored;
      if (!error) self->stream_.socket().cancel(ignored);
    });
    co_await socket.async_wait(asio::socket_base::wait_write, await_with(fault));
  }
  co_return !fault;
}

// The thread that answers waits until each event is written: a slow reader slows its own run.
template <typename Protocol>
asio::awaitable<bool> Connection<Protocol>::write_events(HttpReply reply,
                                                         std::shared_ptr<HttpRequest> request) {
  const auto self = this->shared_from_this();
  Fault fault;
  http::response<http::empty_body> head;
  head.version(11);
  reply.type = "text/event-stream";
  dress(head, reply, request.get());
  head.keep_alive(false);
  stream_.expires_after(kWriteTime);
  http::response_serializer<http::empty_body> serial(head);
  co_await http::async_write_header(stream_, serial, await_with(fault));
  if (fault) co_return false;
  const SendEvent send = [self](std::string_view event, std::string_view data) {
    const auto text = std::make_shared<std::string>(event_text(event, data));
    std::promise<bool> written;  // outlives the write: nobody stops the loop while a request is on
    std::future<bool> result = written.get_future();
    asio::post(self->state_.io, [self, text, &written] {
      self->stream_.expires_after(kWriteTime);
      asio::async_write(
          self->stream_, asio::buffer(*text),
          [self, text, &written](Fault error, std::size_t) { written.set_value(!error); });
    });
    return result.get();
  };
  Act tell = [&reply, &send] {
    reply.events(send);
    return std::function<void()>();
  };
  co_await work(request, std::move(tell));
  co_return false;
}

}  // namespace jailrun::service::http_detail
