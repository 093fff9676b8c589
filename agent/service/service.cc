#include "agent/service/service.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "agent/service/http_gzip.h"
#include "agent/service/questions.h"
#include "jail/daemon/client.h"
#include "jail/daemon/log.h"

namespace jailrun::service {
namespace {

// host:port without the port, in lower case.
std::string host_of(std::string text) {
  if (const std::size_t scheme = text.find("://"); scheme != std::string::npos)
    text.erase(0, scheme + 3);
  const std::size_t colon = text.rfind(':');
  if (colon != std::string::npos && text.find(']', colon) == std::string::npos) text.resize(colon);
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

SessionBook::Options with_account(SessionBook::Options options, ServiceMetrics& metrics) {
  options.started = [&metrics](const std::string& start, double seconds) {
    metrics.started(start, seconds);
  };
  return options;
}

// Anything may stand for a method, and each would be a line of /metrics for ever.
std::string known_method(const std::string& method) {
  constexpr std::string_view kKnown[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
  return std::ranges::find(kKnown, method) == std::end(kKnown) ? "other" : method;
}

std::uint64_t bytes_of(const HttpRequest& request) {
  struct stat st{};
  if (request.upload.valid() && ::fstat(request.upload.get(), &st) == 0)
    return static_cast<std::uint64_t>(st.st_size);
  return request.body.size();
}

// The browser must not take what was said to one origin for an answer to another.
void vary_by_origin(HttpReply& reply) {
  const auto vary =
      std::ranges::find(reply.headers, std::string("Vary"), [](auto& each) { return each.first; });
  if (vary == reply.headers.end()) {
    reply.headers.emplace_back("Vary", "Origin");
  } else {
    vary->second += ", Origin";
  }
}

bool is_loopback_name(const std::string& host) {
  return host == "localhost" || host == "127.0.0.1" || host == "[::1]";
}

}  // namespace

HttpReply reply_from(const Error& error) {
  const bool is_full = error.errno_value == ENOSPC || error.errno_value == EDQUOT;
  const int status = is_full ? 507 : error.errno_value;
  if (status < 400 || status > 599) {
    spdlog::error("{}", error.line());
    return failure(500, "Internal server error: " + error.message);
  }
  HttpReply reply =
      failure(static_cast<unsigned>(status),
              error.remedy.empty() ? error.message : error.message + "; " + error.remedy);
  if (status == 429 || status == 503) reply.headers.emplace_back("Retry-After", "1");
  return reply;
}

Service::Service(ServiceOptions options, Keys keys)
    : options_(std::move(options)),
      keys_(std::move(keys)),
      sessions_(with_account(options_.sessions, metrics_)),
      live_(std::make_shared<LiveOptions>(
          LiveOptions{options_.hosts, options_.cors_origins, options_.rate})) {
  if (auto record = open_record(options_))
    open_record_ = std::make_shared<const agent::Record>(std::move(*record));
  add_health();
  add_execute();
  add_sessions();
  add_files();
  add_interpreter();
  add_datasets();
  add_chat();
  add_runs();
  add_page();
}

BodyRule Service::rule(std::string_view method, std::string_view path) const {
  const Routes::Match match = routes_.find(method, path);
  if (match.route == nullptr) return {};
  return match.route->body;
}

// A page of another site that a browser on this machine shows is no user of ours: it can reach
// loopback, under a name of its own (DNS rebinding) or with its own Origin (CSRF).
std::optional<HttpReply> Service::refuse(const HttpRequest& request, const LiveOptions& live,
                                         std::string& owner) const {
  if (request.local) return std::nullopt;
  const std::string host = host_of(request.header("host"));
  if (!is_loopback_name(host) && !live.hosts.contains(host))
    return failure(421, "this service does not go by the name " + host + "; see --host");
  const std::string origin = request.header("origin");
  if (!origin.empty() && host_of(origin) != host && !live.cors_origins.contains(origin))
    return failure(403, "requests of pages from elsewhere are refused; see --cors-origin");
  if (auto reply = preflight(request, live)) return reply;
  if (!keys_.needed()) return limit("", live.rate);
  const auto key = keys_.find(request.header("authorization"));
  if (key) {
    owner = key->id;
    const std::string_view scope = scope_of(request.method, request.path);
    if (!key->may(scope))
      return failure(403, "this key does not have the scope " + std::string(scope));
    return limit(key->id, key->rate > 0 ? key->rate : live.rate);
  }
  HttpReply reply = failure(401, "a key is needed: Authorization: Bearer jr_…");
  reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

std::optional<HttpReply> Service::limit(const std::string& who, double rate) const {
  const auto wait = rates_.refuse(who, rate, std::chrono::steady_clock::now());
  if (!wait) return std::nullopt;
  HttpReply reply = failure(429, "too many requests a second");
  reply.headers.emplace_back("Retry-After", std::to_string(*wait));
  return reply;
}

// What a browser asks before it lets a page of another origin ask: it bears no key.
std::optional<HttpReply> Service::preflight(const HttpRequest& request,
                                            const LiveOptions& live) const {
  if (request.method != "OPTIONS" || !live.cors_origins.contains(request.header("origin")) ||
      request.header("access-control-request-method").empty())
    return std::nullopt;
  const Routes::Match match = routes_.find("OPTIONS", request.path);
  if (match.methods.empty()) return failure(404, "Not Found");
  std::string methods;
  for (const std::string& each : match.methods) methods += (methods.empty() ? "" : ", ") + each;
  HttpReply reply;
  reply.headers = {{"Access-Control-Allow-Methods", methods},
                   {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id"},
                   {"Access-Control-Max-Age", "600"}};
  return reply;
}

HttpReply Service::dispatch(HttpRequest& request, const LiveOptions& live, std::string& route) {
  std::string owner;
  const bool is_probe =
      request.path == "/healthz" || request.path == "/health" || is_page(request.path);
  if (auto no = refuse(request, live, owner); no && !(is_probe && no->status == 401))
    return std::move(*no);
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  Routes::Match match = routes_.find(method, request.path);
  if (match.route == nullptr) {
    if (match.methods.empty()) return failure(404, "Not Found");
    HttpReply reply = failure(405, "Method Not Allowed");
    std::string allowed;
    for (const std::string& each : match.methods) allowed += (allowed.empty() ? "" : ", ") + each;
    reply.headers.emplace_back("Allow", allowed);
    return reply;
  }
  route = match.route->pattern;
  Call call{request, std::move(match.parts), {}, std::move(owner)};
  if (auto wrong = check_body(*match.route, request, call.body)) return std::move(*wrong);
  return match.route->handle(call);
}

HttpReply Service::handle(HttpRequest& request) {
  const auto begun = std::chrono::steady_clock::now();
  const LogScope scope("request_id", request.id);
  const auto live = this->live();
  const std::uint64_t received = bytes_of(request);
  std::string route = "other";
  HttpReply reply = dispatch(request, *live, route);
  pack(reply, request);
  const std::string origin = request.header("origin");
  if (!request.local && !live->cors_origins.empty()) vary_by_origin(reply);
  if (!request.local && live->cors_origins.contains(origin)) {
    reply.headers.emplace_back("Access-Control-Allow-Origin", origin);
    reply.headers.emplace_back("Access-Control-Expose-Headers", "ETag, Retry-After, X-Request-Id");
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  metrics_.replied(known_method(request.method), route, reply.status, took.count(), received,
                   reply.file.valid() ? reply.file_bytes : reply.body.size());
  spdlog::info("{} {} {} {:.1f} ms", request.method, request.path, reply.status,
               took.count() * 1000);
  return reply;
}

std::shared_ptr<const LiveOptions> Service::live() const {
  const std::lock_guard lock(live_mutex_);
  return live_;
}

void Service::reload(LiveOptions options) {
  auto made = std::make_shared<LiveOptions>(std::move(options));
  const std::lock_guard lock(live_mutex_);
  live_ = std::move(made);
}

void Service::recover() {
  const auto found = sessions_.recover();
  if (!found) return spdlog::warn("no session of before is taken up: {}", found.error().line());
  if (*found > 0) spdlog::info("{} sessions of before are taken up", *found);
}

void Service::sweep() {
  sessions_.sweep();
  swept_s_ = std::time(nullptr);
  Expected<store::FileStore> files = store();
  if (!files) return spdlog::error("{}", files.error().line());
  if (const auto swept = files->sweep(); swept && swept->expired + swept->blobs > 0)
    spdlog::info("swept {} expired files, {} contents", swept->expired, swept->blobs);
}

void Service::add_health() {
  routes_.add({"GET", "/healthz", "Is it alive?", {}, {}, [](Call&) {
                 return json_reply({{"status", "ok"}});
               }});
  routes_.add({"GET", "/health", "Is it alive, and are jails to be had?", {}, {}, [this](Call&) {
                 return health();
               }});
  routes_.add(
      {"GET", "/metrics", "Counters for Prometheus", {}, {}, [this](Call&) { return metrics(); }});
  routes_.add({"GET", "/openapi.json", "This document", {}, {}, [this](Call&) {
                 return json_reply(routes_.openapi(options_.version));
               }});
}

// Ready: jails are to be had. Alive is /healthz. While the service ends, the server itself says
// 503.
HttpReply Service::health() const {
  const auto client = Client::connect(options_.sessions.jaild);
  const Json body = {{"status", client ? "healthy" : "degraded"},
                     {"active_sessions", sessions_.size()},
                     {"service", "code_interpreter"}};
  return json_reply(body, client ? 200 : 503);
}

HttpReply Service::metrics() const {
  Exposition all;
  const auto gauge = [&all](const char* name, const char* help, double value) {
    all.family(name, "gauge", help);
    all.sample({}, value);
  };
  const std::chrono::duration<double> up = std::chrono::steady_clock::now() - begun_;
  gauge("jailagent_uptime_seconds", "Since the service began", up.count());
  gauge("jailagent_sessions", "Live sessions of the service",
        static_cast<double>(sessions_.size()));
  if (const HttpLoad* load = options_.load) {
    gauge("jailagent_connections", "Connections of clients",
          static_cast<double>(load->connections));
    gauge("jailagent_requests_in_hand", "Requests that are answered, or wait for it",
          static_cast<double>(load->requests));
    all.family("jailagent_refused_total", "counter",
               "Requests answered 429 at once, for too many waited");
    all.sample({}, static_cast<double>(load->refused));
  }
  metrics_.expose(all);
  Expected<Client> client = Client::connect(options_.sessions.jaild);
  Expected<Metrics> rows = client ? client->stats() : std::unexpected(client.error());
  gauge("jaild_up", "Whether jaild answers the service", rows ? 1 : 0);
  if (rows) expose(*rows, all);
  HttpReply reply;
  reply.type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = all.text();
  return reply;
}

Expected<store::FileStore> Service::store() const {
  return store::FileStore::open(options_.store, options_.store_options);
}

}  // namespace jailrun::service
