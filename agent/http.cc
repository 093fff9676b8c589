#include "agent/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace jailrun::agent {
namespace {

struct EasyDelete {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct MultiDelete {
  void operator()(CURLM* handle) const { curl_multi_cleanup(handle); }
};
struct ListDelete {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, EasyDelete>;
using Multi = std::unique_ptr<CURLM, MultiDelete>;
using List = std::unique_ptr<curl_slist, ListDelete>;

struct Attempt {
  CURLcode code = CURLE_OK;
  bool cancelled = false, too_large = false;
  HttpReply reply;
  std::chrono::milliseconds retry_after{0};
};

struct Sink {
  std::string body;
  std::size_t limit;
  bool over = false;
};

std::size_t take(char* data, std::size_t one, std::size_t count, void* user) {
  auto* sink = static_cast<Sink*>(user);
  std::size_t size = one * count;
  if (size > sink->limit - sink->body.size()) {
    sink->over = true;
    return 0;  // curl ends the transfer
  }
  sink->body.append(data, size);
  return size;
}

Error http_error(const std::string& url, std::string message, std::string remedy,
                 int errno_value = 0) {
  return Error{Stage::None, url, errno_value, std::move(message), std::move(remedy)};
}

long clamp_ms(std::chrono::milliseconds wanted, Deadline deadline) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<long>(std::max<long long>(1, std::min(wanted, left).count()));
}

void set_options(CURL* easy, const std::string& url, const std::string& body, curl_slist* headers,
                 Sink& sink, const HttpLimits& limits, Deadline deadline) {
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);  // a redirect would take the key elsewhere
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, clamp_ms(limits.connect, deadline));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, clamp_ms(limits.attempt, deadline));
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "jailrun");
  if (is_loopback(url)) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
}

// One transfer by the multi interface, which alone can wait for a cancellation too.
void transfer(CURLM* multi, CURL* easy, const Cancel& cancel, Attempt& attempt) {
  curl_multi_add_handle(multi, easy);
  int running = 1;
  while (running > 0 && !attempt.cancelled) {
    if (curl_multi_perform(multi, &running) != CURLM_OK) break;
    if (running == 0) break;
    curl_waitfd extra{cancel.fd(), CURL_WAIT_POLLIN, 0};
    curl_multi_poll(multi, &extra, cancel.fd() >= 0 ? 1 : 0, 1000, nullptr);
    attempt.cancelled = cancel.requested();
  }
  attempt.code = CURLE_ABORTED_BY_CALLBACK;
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi, &left))
    if (message->msg == CURLMSG_DONE) attempt.code = message->data.result;
  curl_multi_remove_handle(multi, easy);
}

Attempt try_once(const std::string& url, curl_slist* headers, const std::string& body,
                 const HttpLimits& limits, Deadline deadline, const Cancel& cancel) {
  Attempt attempt;
  Easy easy(curl_easy_init());
  Multi multi(curl_multi_init());
  if (!easy || !multi) {
    attempt.code = CURLE_OUT_OF_MEMORY;
    return attempt;
  }
  Sink sink{{}, limits.reply_bytes};
  set_options(easy.get(), url, body, headers, sink, limits, deadline);
  transfer(multi.get(), easy.get(), cancel, attempt);
  attempt.too_large = sink.over;
  attempt.reply.body = std::move(sink.body);
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &attempt.reply.status);
  curl_off_t seconds = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RETRY_AFTER, &seconds);
  attempt.retry_after = std::chrono::seconds(std::clamp<curl_off_t>(seconds, 0, 3600));
  return attempt;
}

bool worth_retrying(const Attempt& attempt) {
  if (attempt.code == CURLE_OK) return attempt.reply.status == 429 || attempt.reply.status >= 500;
  return attempt.code == CURLE_COULDNT_CONNECT || attempt.code == CURLE_GOT_NOTHING ||
         attempt.code == CURLE_RECV_ERROR || attempt.code == CURLE_SEND_ERROR;
}

Expected<HttpReply> conclude(const std::string& url, Attempt attempt, const HttpLimits& limits) {
  if (attempt.cancelled) return std::unexpected(cancelled_error());
  if (attempt.too_large)
    return std::unexpected(http_error(
        url,
        "the reply of " + url + " is larger than " + std::to_string(limits.reply_bytes) + " bytes",
        "check that this is the address of a model"));
  if (attempt.code == CURLE_OPERATION_TIMEDOUT)
    return std::unexpected(http_error(url, "no reply from " + url + " in time",
                                      "try again, or ask a faster model", ETIMEDOUT));
  if (attempt.code != CURLE_OK)
    return std::unexpected(
        http_error(url, "cannot reach " + url + ": " + curl_easy_strerror(attempt.code),
                   "check OPENAI_BASE_URL and the network"));
  return std::move(attempt.reply);
}

}  // namespace

bool is_loopback(const std::string& url) {
  auto start = url.find("://");
  auto host = start == std::string::npos ? url : url.substr(start + 3);
  for (const char* name : {"127.0.0.1", "localhost", "[::1]"}) {
    std::string_view local(name);
    if (host.starts_with(local) &&
        (host.size() == local.size() || host[local.size()] == ':' || host[local.size()] == '/'))
      return true;
  }
  return false;
}

Expected<HttpReply> post_json(const std::string& url, const std::vector<std::string>& headers,
                              const std::string& body, const HttpLimits& limits, Deadline deadline,
                              const Cancel& cancel) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK)
    return std::unexpected(http_error(url, "libcurl does not start", "check its installation"));
  List list(curl_slist_append(nullptr, "Content-Type: application/json"));
  for (const auto& header : headers) curl_slist_append(list.get(), header.c_str());

  auto pause = limits.first_backoff;
  for (int n = 1;; ++n, pause *= 2) {
    Attempt attempt = try_once(url, list.get(), body, limits, deadline, cancel);
    auto wait = std::min(std::max(pause, attempt.retry_after), limits.longest_wait);
    bool again = !attempt.cancelled && !attempt.too_large && n < limits.attempts &&
                 worth_retrying(attempt) && Clock::now() + wait < deadline;
    if (!again) return conclude(url, std::move(attempt), limits);
    if (cancel.wait_until(Clock::now() + wait)) return std::unexpected(cancelled_error());
  }
}

}  // namespace jailrun::agent
