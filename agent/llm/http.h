// One HTTP POST of JSON, with everything that can go wrong bounded and named.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/cancel.h"

namespace jailrun::agent {

struct HttpLimits {
  std::size_t reply_bytes = 8 << 20;
  int attempts = 5;
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds attempt{180'000};  // models think for long; not of streams
  std::chrono::milliseconds silence{120'000};  // of a stream that has begun
  std::chrono::milliseconds first_backoff{1'000};
  std::chrono::milliseconds longest_wait{60'000};
};

// Hears a reply as it comes.
class StreamReader {
 public:
  virtual ~StreamReader() = default;
  virtual void begin() = 0;                       // a reply begins: forget an earlier one
  virtual bool take(std::string_view bytes) = 0;  // false: it makes no sense, hang up
  virtual bool whole() const = 0;                 // all has come, and nothing more is needed
};

struct HttpPost {
  std::string url;
  std::vector<std::string> headers;
  std::string body;
  HttpLimits limits{};
  Deadline deadline = Deadline::max();
  std::string setting = "the address";                // what the URL was set by, for remedies
  std::function<void(const std::string&)> waiting{};  // told before each pause why there is one
  StreamReader* stream = nullptr;  // hears replies of status 200 that are text/event-stream
};

struct HttpReply {
  long status = 0;
  std::string body;  // empty where it was streamed
  bool streamed = false;
};

// Posts to an http or https URL; no redirect is followed. 429, 5xx, failed connections and streams
// that broke are tried again, after Retry-After or a doubling pause, until `limits` or `deadline`
// end it; the last reply of the server is returned whatever its status. Error: no reply, one that
// is too large, a stream that is not whole, cancelled. No message holds a header.
Expected<HttpReply> post_json(const HttpPost& post, const Cancel& cancel);

// Whether an http or https URL names this machine.
bool is_loopback(const std::string& url);

}  // namespace jailrun::agent
