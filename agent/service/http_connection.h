// One connection of HttpServer, over TCP or a unix socket; for http_server.cc alone.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
// Boost 1.74 uses it without saying so.
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <future>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/service/http_server.h"
#include "agent/store/hex.h"

namespace jailrun::service::http_detail {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Fault = boost::system::error_code;
using Task = asio::awaitable<void>;
using std::chrono::seconds;

constexpr std::size_t kHeadBytes = 16 << 10, kFileChunk = 256 << 10;
constexpr seconds kHeadTime{30}, kBodyTime{120}, kWriteTime{60}, kDrainTime{10}, kLingerTime{3};
constexpr std::size_t kLingerBytes = 64 << 20;

inline auto await_with(Fault& fault) { return asio::redirect_error(asio::use_awaitable, fault); }

inline std::string new_id() {
  unsigned char bytes[8];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return "0";
  return store::hex(bytes, sizeof bytes);
}

// Into logs and back to the client: nothing else than what we would have made.
inline bool is_plain_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::ranges::all_of(id, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  });
}

struct State {
  const HttpOptions& options;
  Application& application;
  asio::io_context io{1};
  asio::thread_pool workers;
  std::atomic<std::size_t> requests = 0;
  std::size_t connections = 0;
  bool draining = false;
  std::set<int> gone;  // eventfds of the requests that are answered

  State(const HttpOptions& given, Application& app)
      : options(given), application(app), workers(given.threads) {}
};

inline bool fill(const http::request_header<>& head, HttpRequest& request) {
  const std::string_view target(head.target().data(), head.target().size());
  const std::size_t question = target.find('?');
  request.path = target.substr(0, question);
  if (!request.path.starts_with('/') || !percent_decoded(request.path, false)) return false;
  request.method = std::string(head.method_string());
  std::string_view rest = question == std::string_view::npos ? "" : target.substr(question + 1);
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const std::size_t equals = part.find('=');
    auto name = percent_decoded(part.substr(0, equals), true);
    auto value = percent_decoded(
        equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1), true);
    if (!name || !value) return false;
    request.query[std::move(*name)] = std::move(*value);
  }
  for (const auto& field : head) {
    std::string name(field.name_string());
    std::ranges::transform(name, name.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers[std::move(name)] = std::string(field.value());
  }
  const std::string given = request.header("x-request-id");
  request.id = is_plain_id(given) ? given : new_id();
  return true;
}

// A body that is anything else than one Content-Length or one chunked encoding is how requests are
// smuggled past whoever stands before us.
inline bool is_framed_once(const http::request_header<>& head) {
  const auto lengths = head.count(http::field::content_length);
  const auto encodings = head.count(http::field::transfer_encoding);
  if (lengths + encodings > 1 || head.count(http::field::host) != 1) return false;
  return encodings == 0 || beast::iequals(head[http::field::transfer_encoding], "chunked");
}

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
    bool more = true;
    while (more && !state_.draining) more = co_await one_request();
    Fault ignored;
    stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
  }

 private:
  asio::awaitable<bool> one_request();
  asio::awaitable<bool> refuse(unsigned status, const char* why);
  asio::awaitable<bool> write(HttpReply reply, const HttpRequest* request, bool keep);
  asio::awaitable<bool> write_file(HttpReply& reply);
  Task work(std::shared_ptr<HttpRequest> request, std::function<void()> act);
  Task watch_peer(std::shared_ptr<HttpRequest> request, std::shared_ptr<bool> done);
  asio::awaitable<bool> write_events(HttpReply reply, std::shared_ptr<HttpRequest> request);
  void dress(http::response_header<>& head, const HttpReply& reply, const HttpRequest* request);

  State& state_;
  Stream stream_;
  beast::flat_buffer buffer_{kHeadBytes + kFileChunk};
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

template <typename Protocol>
asio::awaitable<bool> Connection<Protocol>::one_request() {
  Fault fault;
  http::request_parser<http::empty_body> head;
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
  if (beast::iequals(head.get()[http::field::expect], "100-continue")) {
    http::response<http::empty_body> go_on(http::status::continue_, 11);
    co_await http::async_write(stream_, go_on, await_with(fault));
  }
  stream_.expires_after(kBodyTime);
  const bool keep = head.keep_alive();
  if (rule.to_file) {
    http::request_parser<http::file_body> body(std::move(head));
    body.body_limit(rule.bytes);
    Fd file(::open(P_tmpdir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    Fd copy(file.valid() ? ::fcntl(file.get(), F_DUPFD_CLOEXEC, 3) : -1);
    if (!copy.valid()) {
      const bool more = co_await refuse(503, "no room for an upload");
      co_return more;
    }
    beast::file_posix target;
    target.native_handle(copy.release());
    body.get().body().reset(std::move(target), fault);
    co_await http::async_read(stream_, buffer_, body, await_with(fault));
    request->upload = std::move(file);
    if (!fault) ::lseek(request->upload.get(), 0, SEEK_SET);
  } else {
    http::request_parser<http::string_body> body(std::move(head));
    body.body_limit(rule.bytes);
    co_await http::async_read(stream_, buffer_, body, await_with(fault));
    request->body = std::move(body.get().body());
  }
  if (fault == http::error::body_limit) {
    const bool more = co_await refuse(413, "the body of the request is too large");
    co_return more;
  }
  if (fault) co_return false;
  if (state_.requests >= state_.options.threads + state_.options.waiting) {
    HttpReply busy = failure(429, "too many requests at once");
    busy.headers.emplace_back("Retry-After", "1");
    const bool more = co_await write(std::move(busy), request.get(), keep);
    co_return more;
  }
  HttpReply reply;
  stream_.expires_never();
  std::function<void()> answer = [&reply, &asked = *request, &state = state_] {
    reply = state.application.handle(asked);
  };
  co_await work(request, std::move(answer));
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
Task Connection<Protocol>::watch_peer(std::shared_ptr<HttpRequest> request,
                                      std::shared_ptr<bool> done) {
  const auto self = this->shared_from_this();
  const Fd mine(::fcntl(request->gone, F_DUPFD_CLOEXEC, 3));
  Fault fault;
  co_await stream_.socket().async_wait(asio::socket_base::wait_read, await_with(fault));
  if (fault || *done) co_return;
  char byte = 0;
  if (::recv(stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
    (void)!::eventfd_write(mine.get(), 1);
}

// On a thread of its own, with a watch on whoever waits for it.
template <typename Protocol>
Task Connection<Protocol>::work(std::shared_ptr<HttpRequest> request, std::function<void()> act) {
  const auto done = std::make_shared<bool>(false);
  const auto ready =
      std::make_shared<asio::steady_timer>(state_.io, asio::steady_timer::time_point::max());
  const Fd gone(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  request->gone = gone.get();
  state_.gone.insert(gone.get());
  asio::co_spawn(state_.io, watch_peer(request, done), asio::detached);
  ++state_.requests;
  asio::post(state_.workers, [&state = state_, act = std::move(act), ready, done] {
    act();
    asio::post(state.io, [ready, done] {
      *done = true;
      ready->cancel();
    });
  });
  Fault fault;
  while (!*done) co_await ready->async_wait(await_with(fault));
  --state_.requests;
  state_.gone.erase(gone.get());
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
// next reply for the rest of it.
template <typename Protocol>
asio::awaitable<bool> Connection<Protocol>::write_file(HttpReply& reply) {
  std::string chunk(kFileChunk, '\0');
  std::uint64_t left = reply.file_bytes;
  while (left > 0) {
    const ssize_t n =
        ::read(reply.file.get(), chunk.data(), std::min<std::uint64_t>(left, chunk.size()));
    if (n <= 0) co_return false;
    Fault fault;
    stream_.expires_after(kWriteTime);
    co_await asio::async_write(stream_, asio::buffer(chunk.data(), static_cast<std::size_t>(n)),
                               await_with(fault));
    if (fault) co_return false;
    left -= static_cast<std::uint64_t>(n);
  }
  co_return true;
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
    auto text = std::make_shared<std::string>("event: " + std::string(event) + "\n");
    for (std::size_t at = 0; at <= data.size();) {  // a line of it each
      const std::size_t end = std::min(data.find('\n', at), data.size());
      *text += "data: " + std::string(data.substr(at, end - at)) + "\n";
      at = end + 1;
    }
    *text += "\n";
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
  std::function<void()> tell = [&reply, &send] { reply.events(send); };
  co_await work(request, std::move(tell));
  co_return false;
}

}  // namespace jailrun::service::http_detail
