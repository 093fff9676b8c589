// One HTTP POST of JSON, with everything that can go wrong bounded and named.
#pragma once

#include <string>
#include <vector>

#include "agent/cancel.h"

namespace jailrun::agent {

struct HttpLimits {
  std::size_t reply_bytes = 8 << 20;
  int attempts = 5;
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds attempt{180'000};  // models think for long
  std::chrono::milliseconds first_backoff{1'000};
  std::chrono::milliseconds longest_wait{60'000};
};

struct HttpReply {
  long status = 0;
  std::string body;
};

// Posts `body` to `url` (http or https, no redirect is followed). 429, 5xx and failed connections
// are tried again, after Retry-After or a doubling pause, until `limits` or `deadline` end it; the
// last reply of the server is returned whatever its status. Error: no reply, one that is too large,
// cancelled. No message holds a header.
Expected<HttpReply> post_json(const std::string& url, const std::vector<std::string>& headers,
                              const std::string& body, const HttpLimits& limits, Deadline deadline,
                              const Cancel& cancel);

// Whether an http or https URL names this machine.
bool is_loopback(const std::string& url);

}  // namespace jailrun::agent
