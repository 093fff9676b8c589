#include "agent/service/http_server.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/service/http_connection.h"

namespace jailrun::service {
namespace {

using namespace http_detail;

// What fits a socket that nobody has written to.
template <typename Socket>
void say_full(Socket& socket) {
  constexpr std::string_view kFull =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
      "Connection: close\r\nContent-Length: 34\r\n\r\n{\"detail\":\"too many connections\"}\n";
  Fault ignored;
  socket.non_blocking(true, ignored);
  socket.send(asio::buffer(kFull), 0, ignored);
  socket.shutdown(asio::socket_base::shutdown_send, ignored);
}

// As many descriptors as there may be, and how many of them connections may have: requests,
// sessions and files need the others.
std::size_t most_connections(std::size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return std::min<std::size_t>(wanted, limit.rlim_max / 4 * 3);
}

template <typename Protocol>
Task accept(State& state, typename Protocol::acceptor& acceptor, bool local) {
  while (!state.draining) {
    Fault fault;
    typename Protocol::socket socket(state.io);
    co_await acceptor.async_accept(socket, await_with(fault));
    if (fault == asio::error::operation_aborted) co_return;
    if (fault) {
      // Out of descriptors: whoever waits in line is not helped by a spinning loop.
      asio::steady_timer pause(state.io, std::chrono::milliseconds(50));
      co_await pause.async_wait(await_with(fault));
      continue;
    }
    if (state.connections >= state.options.connections) {
      say_full(socket);
      continue;
    }
    const auto connection = std::make_shared<Connection<Protocol>>(state, std::move(socket), local);
    asio::co_spawn(state.io, connection->run(connection), asio::detached);
  }
}

// Those that wait to be taken in would be cut off by the close.
template <typename Protocol>
void close(State& state, typename Protocol::acceptor& acceptor, bool local) {
  Fault fault;
  if (!acceptor.is_open()) return;
  acceptor.non_blocking(true, fault);
  while (!fault && state.connections < state.options.connections) {
    typename Protocol::socket socket(state.io);
    acceptor.accept(socket, fault);
    if (fault) break;
    const auto connection = std::make_shared<Connection<Protocol>>(state, std::move(socket), local);
    asio::co_spawn(state.io, connection->run(connection), asio::detached);
  }
  acceptor.close(fault);
}

// Ends the loop once nothing is answered any more: whoever is idle is not waited for.
Task drain(State& state) {
  asio::steady_timer pause(state.io);
  const auto begun = std::chrono::steady_clock::now();
  for (;;) {
    const auto passed = std::chrono::steady_clock::now() - begun;
    const bool done = passed >= kLeastDrain && (state.busy == 0 || passed >= kMostDrain);
    // Never while a thread answers: it may wait for this loop.
    if (done && state.requests == 0) break;
    Fault fault;
    pause.expires_after(std::chrono::milliseconds(50));
    co_await pause.async_wait(await_with(fault));
  }
  state.io.stop();
}

template <typename Protocol>
Expected<void> listen(typename Protocol::acceptor& acceptor,
                      const typename Protocol::endpoint& endpoint, const std::string& name) {
  Fault fault;
  acceptor.open(endpoint.protocol(), fault);
  if (!fault && std::is_same_v<Protocol, asio::ip::tcp>)
    acceptor.set_option(asio::socket_base::reuse_address(true), fault);
  // Its connections inherit it: an event is not to wait for the acknowledgement of its head.
  if (!fault && std::is_same_v<Protocol, asio::ip::tcp>)
    acceptor.set_option(asio::ip::tcp::no_delay(true), fault);
  if (!fault) acceptor.bind(endpoint, fault);
  if (!fault) acceptor.listen(asio::socket_base::max_listen_connections, fault);
  if (!fault) return {};
  return std::unexpected(Error{Stage::None, name, fault.value(), "cannot listen on " + name,
                               "choose another with --listen or --unix, or end who has it"});
}

// Only what is left of a server that is gone may be taken away.
Expected<void> clear_socket(const std::string& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) return {};
  asio::io_context io;
  asio::local::stream_protocol::socket probe(io);
  Fault fault;
  probe.connect(asio::local::stream_protocol::endpoint(path), fault);
  if (!S_ISSOCK(st.st_mode) || !fault) {
    return std::unexpected(Error{Stage::None, path, EADDRINUSE, path + " is in use",
                                 "end the other server, or choose another with --unix"});
  }
  ::unlink(path.c_str());
  return {};
}

}  // namespace

std::string HttpRequest::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

bool accepts_gzip(const HttpRequest& request) {
  const std::string accepted = request.header("accept-encoding");
  const std::size_t at = accepted.find("gzip");
  if (at == std::string::npos) return false;
  const std::string rest = accepted.substr(at + 4, accepted.find(',', at) - at - 4);
  return rest.find("q=0") == std::string::npos || rest.find("q=0.") != std::string::npos;
}

HttpReply failure(unsigned status, const std::string& detail) {
  HttpReply reply;
  reply.status = status;
  reply.body = nlohmann::json{{"detail", detail}}.dump(-1, ' ', false,
                                                       nlohmann::json::error_handler_t::replace);
  return reply;
}

std::optional<std::string> percent_decoded(std::string_view text, bool plus) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      unsigned value = 0;
      const char* const first = text.data() + i + 1;
      if (i + 2 >= text.size() || std::from_chars(first, first + 2, value, 16).ptr != first + 2 ||
          value == 0)
        return std::nullopt;
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i] == '+' && plus ? ' ' : text[i];
    }
  }
  return out;
}

Expected<void> serve_http(const HttpOptions& given, Application& application,
                          const std::function<void(std::uint16_t)>& listening) {
  HttpOptions options = given;
  options.connections = most_connections(given.connections);
  State state(options, application);
  Fault fault;
  const auto address = asio::ip::make_address(options.address, fault);
  if (fault) {
    return std::unexpected(Error{Stage::None, options.address, 0,
                                 options.address + " is no IP address",
                                 "write --listen 127.0.0.1:8000"});
  }
  asio::ip::tcp::acceptor tcp(state.io);
  asio::local::stream_protocol::acceptor local(state.io);
  TRY_VOID(listen<asio::ip::tcp>(tcp, {address, options.port},
                                 options.address + ":" + std::to_string(options.port)));
  if (!options.unix_socket.empty()) {
    TRY_VOID(clear_socket(options.unix_socket));
    const mode_t before = ::umask(0117);  // its group may use it
    const Expected<void> bound = listen<asio::local::stream_protocol>(
        local, asio::local::stream_protocol::endpoint(options.unix_socket), options.unix_socket);
    ::umask(before);
    TRY_VOID(bound);
    asio::co_spawn(state.io, accept<asio::local::stream_protocol>(state, local, true),
                   asio::detached);
  }
  asio::co_spawn(state.io, accept<asio::ip::tcp>(state, tcp, false), asio::detached);
  asio::signal_set signals(state.io, SIGTERM, SIGINT, SIGHUP);
  asio::steady_timer end(state.io);
  const std::function<void(Fault, int)> heed = [&](Fault error, int number) {
    if (error) return;
    signals.async_wait(heed);
    if (number == SIGHUP && options.reload) asio::post(state.workers, options.reload);
    if (number == SIGHUP || state.draining) return;
    state.draining = true;
    close<asio::ip::tcp>(state, tcp, false);
    close<asio::local::stream_protocol>(state, local, true);
    end.expires_after(kDrainTime);
    end.async_wait([&](Fault) {  // what still goes on is interrupted
      for (const int fd : state.gone) (void)!::eventfd_write(fd, 1);
    });
    asio::co_spawn(state.io, drain(state), asio::detached);
  };
  signals.async_wait(heed);
  listening(tcp.local_endpoint(fault).port());
  state.io.run();
  state.workers.stop();
  state.workers.join();
  if (!options.unix_socket.empty()) ::unlink(options.unix_socket.c_str());
  return {};
}

}  // namespace jailrun::service
