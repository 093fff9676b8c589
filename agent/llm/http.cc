#include "agent/llm/http.h"

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
  bool cancelled = false, too_large = false, broken = false;
  HttpReply reply;
  std::chrono::milliseconds retry_after{0};
};

// Where the bytes of one reply go.
struct Sink {
  CURL* easy;
  StreamReader* stream;
  std::size_t limit;
  std::string body{};
  std::size_t taken = 0;
  Deadline last = Clock::now();  // when something came
  bool begun = false, streamed = false, over = false, ended = false;

  void begin() {
    begun = true;
    long status = 0;
    const char* type = nullptr;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
    streamed = stream != nullptr && status == 200 && type != nullptr &&
               std::string_view(type).starts_with("text/event-stream");
    if (streamed) stream->begin();
  }

  // False: curl shall end the transfer.
  bool put(std::string_view bytes) {
    if (!begun) begin();
    last = Clock::now();
    over = bytes.size() > limit - taken;
    if (over) return false;
    taken += bytes.size();
    if (!streamed) {
      body += bytes;
      return true;
    }
    ended = !stream->take(bytes) || stream->whole();
    return !ended;
  }
};

std::size_t take(char* data, std::size_t one, std::size_t count, void* user) {
  const std::size_t size = one * count;
  return static_cast<Sink*>(user)->put({data, size}) ? size : 0;
}

Error http_error(const HttpPost& post, std::string message, std::string remedy,
                 int errno_value = 0) {
  return Error{Stage::None, post.url, errno_value, std::move(message), std::move(remedy)};
}

long clamp_ms(std::chrono::milliseconds wanted, Deadline deadline) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<long>(std::max<long long>(1, std::min(wanted, left).count()));
}

void set_options(CURL* easy, const HttpPost& post, curl_slist* headers, Sink& sink) {
  curl_easy_setopt(easy, CURLOPT_URL, post.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);  // a redirect would take the key elsewhere
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(post.body.size()));
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, post.body.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, clamp_ms(post.limits.connect, post.deadline));
  // A stream may last as long as something comes.
  const auto longest = post.stream != nullptr ? std::chrono::hours(24) : post.limits.attempt;
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, clamp_ms(longest, post.deadline));
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "jailrun");
  if (is_loopback(post.url)) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
}

// One transfer by the multi interface, which alone can wait for a cancellation too.
void transfer(CURLM* multi, CURL* easy, const HttpPost& post, const Sink& sink,
              const Cancel& cancel, Attempt& attempt) {
  curl_multi_add_handle(multi, easy);
  int running = 1;
  bool silent = false;
  while (running > 0 && !attempt.cancelled && !silent) {
    if (curl_multi_perform(multi, &running) != CURLM_OK) break;
    if (running == 0) break;
    const auto most = sink.streamed ? post.limits.silence : post.limits.attempt;
    const auto until = sink.last + most;
    curl_waitfd extra{cancel.fd(), CURL_WAIT_POLLIN, 0};
    curl_multi_poll(multi, &extra, cancel.fd() >= 0 ? 1 : 0,
                    static_cast<int>(clamp_ms(std::chrono::milliseconds(1000), until)), nullptr);
    attempt.cancelled = cancel.requested();
    silent = Clock::now() >= until;
  }
  attempt.code = silent ? CURLE_OPERATION_TIMEDOUT : CURLE_ABORTED_BY_CALLBACK;
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi, &left))
    if (message->msg == CURLMSG_DONE) attempt.code = message->data.result;
  curl_multi_remove_handle(multi, easy);
}

Attempt try_once(const HttpPost& post, curl_slist* headers, const Cancel& cancel) {
  Attempt attempt;
  Easy easy(curl_easy_init());
  Multi multi(curl_multi_init());
  if (!easy || !multi) {
    attempt.code = CURLE_OUT_OF_MEMORY;
    return attempt;
  }
  Sink sink{easy.get(), post.stream, post.limits.reply_bytes};
  set_options(easy.get(), post, headers, sink);
  transfer(multi.get(), easy.get(), post, sink, cancel, attempt);
  attempt.too_large = sink.over;
  attempt.reply.body = std::move(sink.body);
  attempt.reply.streamed = sink.streamed;
  if (sink.ended) attempt.code = CURLE_OK;  // we hung up
  attempt.broken = sink.streamed && !post.stream->whole();
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &attempt.reply.status);
  curl_off_t seconds = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RETRY_AFTER, &seconds);
  attempt.retry_after = std::chrono::seconds(std::clamp<curl_off_t>(seconds, 0, 3600));
  return attempt;
}

bool worth_retrying(const Attempt& attempt) {
  if (attempt.broken) return attempt.code != CURLE_OPERATION_TIMEDOUT;
  if (attempt.code == CURLE_OK) return attempt.reply.status == 429 || attempt.reply.status >= 500;
  return attempt.code == CURLE_COULDNT_CONNECT || attempt.code == CURLE_GOT_NOTHING ||
         attempt.code == CURLE_RECV_ERROR || attempt.code == CURLE_SEND_ERROR ||
         attempt.code == CURLE_PARTIAL_FILE;
}

std::string reason(const Attempt& attempt) {
  if (attempt.broken) return "its reply broke off";
  if (attempt.code != CURLE_OK) return curl_easy_strerror(attempt.code);
  return "it answered " + std::to_string(attempt.reply.status);
}

Expected<HttpReply> conclude(const HttpPost& post, Attempt attempt) {
  const std::string& url = post.url;
  if (attempt.cancelled) return std::unexpected(cancelled_error());
  if (attempt.too_large)
    return std::unexpected(http_error(post,
                                      "the reply of " + url + " is larger than " +
                                          std::to_string(post.limits.reply_bytes) + " bytes",
                                      "check that this is the address of a model"));
  if (attempt.code == CURLE_OPERATION_TIMEDOUT)
    return std::unexpected(http_error(post, "no reply from " + url + " in time",
                                      "try again, or ask a faster model", ETIMEDOUT));
  if (attempt.broken)
    return std::unexpected(
        http_error(post, "the reply of " + url + " broke off before its end", "try again"));
  if (attempt.code != CURLE_OK)
    return std::unexpected(
        http_error(post, "cannot reach " + url + ": " + curl_easy_strerror(attempt.code),
                   "check " + post.setting + " and the network"));
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

Expected<HttpReply> post_json(const HttpPost& post, const Cancel& cancel) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK)
    return std::unexpected(http_error(post, "libcurl does not start", "check its installation"));
  List list(curl_slist_append(nullptr, "Content-Type: application/json"));
  for (const auto& header : post.headers) curl_slist_append(list.get(), header.c_str());

  auto pause = post.limits.first_backoff;
  for (int n = 1;; ++n, pause *= 2) {
    Attempt attempt = try_once(post, list.get(), cancel);
    auto wait = std::min(std::max(pause, attempt.retry_after), post.limits.longest_wait);
    bool again = !attempt.cancelled && !attempt.too_large && n < post.limits.attempts &&
                 worth_retrying(attempt) && Clock::now() + wait < post.deadline;
    if (!again) return conclude(post, std::move(attempt));
    if (post.waiting)
      post.waiting(post.url + ": " + reason(attempt) + "; asking again in " +
                   std::to_string((wait.count() + 999) / 1000) + " s");
    if (cancel.wait_until(Clock::now() + wait)) return std::unexpected(cancelled_error());
  }
}

}  // namespace jailrun::agent
