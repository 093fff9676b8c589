// HttpServer: HTTP/1.1 over loopback TCP and a unix socket, for an Application that answers one
// request at a time on a thread of its own.
//
// Bounded everywhere: connections, bytes of a head, bytes of a body (by its route, before it is
// read), seconds for each, requests that wait for a thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jail/sys/error.h"
#include "jail/sys/fd.h"

namespace jailrun::service {

struct HttpRequest {
  std::string method, path;                    // as it came, without the query
  std::map<std::string, std::string> query;    // the last of each name
  std::map<std::string, std::string> headers;  // names in lower case; the last of each
  std::string body;
  Fd upload;           // the body, at its beginning, where the rule of its route says so
  std::string id;      // X-Request-Id, of the client or made here
  bool local = false;  // over the unix socket
  int gone = -1;       // readable once the client has gone

  std::string header(const std::string& name) const;
};

// Server-sent events, as they happen. False: nobody reads any more.
using SendEvent = std::function<bool(std::string_view event, std::string_view data)>;

struct HttpReply {
  unsigned status = 200;
  std::string type = "application/json", body;
  std::vector<std::pair<std::string, std::string>> headers;
  Fd file;  // instead of `body`: this many bytes of it
  std::uint64_t file_bytes = 0;
  // Instead of `body`, with type text/event-stream: called on the request's thread.
  std::function<void(const SendEvent&)> events;
  // What is left to do once the reply is on its way: called on the request's thread. Not of events.
  std::function<void()> after;
};

// What may come as body.
struct BodyRule {
  std::uint64_t bytes = 0;
  bool to_file = false;  // not held in memory
};

class Application {
 public:
  virtual ~Application() = default;
  // Both from any thread.
  virtual BodyRule rule(std::string_view method, std::string_view path) const = 0;
  virtual HttpReply handle(HttpRequest& request) = 0;
};

// What a server has in hand; for who asks from any thread.
struct HttpLoad {
  std::atomic<std::size_t> connections = 0;
  std::atomic<std::size_t> requests = 0;   // that are answered, or wait for a thread
  std::atomic<std::uint64_t> refused = 0;  // with 429, for there were too many
  std::atomic<bool> draining = false;
};

struct HttpOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8000;         // 0: any free one; run() says which
  std::string unix_socket;           // path, or none
  std::size_t threads = 16;          // requests that are answered at once
  std::size_t waiting = 64;          // requests that wait for a thread; more are refused with 429
  std::size_t connections = 12'000;  // or as many as three quarters of the descriptors allow
  std::string uploads = P_tmpdir;    // directory for bodies on their way into files, without names
  HttpLoad* load = nullptr;          // kept up to date
  std::function<void()> reload{};    // on SIGHUP, on a thread of a request
};

// Until SIGTERM or SIGINT: then whoever has connected gets an answer, which is 503 for what begins
// only now, and what goes on has ten seconds.
// `listening` is called with the port.
Expected<void> serve_http(const HttpOptions& options, Application& application,
                          const std::function<void(std::uint16_t)>& listening);

// Whether the client takes gzip.
bool accepts_gzip(const HttpRequest& request);

// {"detail": …} with a status.
HttpReply failure(unsigned status, const std::string& detail);

// %XX and, where asked for, + as space. Nothing for what is no such text, or holds a zero byte.
std::optional<std::string> percent_decoded(std::string_view text, bool plus);

}  // namespace jailrun::service
