#include "agent/service/service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>

#include "agent/service/http_gzip.h"
#include "jail/daemon/client.h"

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

bool is_loopback_name(const std::string& host) {
  return host == "localhost" || host == "127.0.0.1" || host == "[::1]";
}

}  // namespace

HttpReply reply_from(const Error& error) {
  const int status = error.errno_value;
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
    : options_(std::move(options)), keys_(std::move(keys)), sessions_(options_.sessions) {
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
std::optional<HttpReply> Service::refuse(const HttpRequest& request, std::string& owner) const {
  if (request.local) return std::nullopt;
  const std::string host = host_of(request.header("host"));
  if (!is_loopback_name(host) && !options_.hosts.contains(host))
    return failure(421, "this service does not go by the name " + host + "; see --host");
  const std::string origin = request.header("origin");
  if (!origin.empty() && host_of(origin) != host)
    return failure(403, "requests of pages from elsewhere are refused");
  if (!keys_.needed()) return limit("", options_.rate);
  const auto key = keys_.find(request.header("authorization"));
  if (key) {
    owner = key->id;
    const std::string_view scope = scope_of(request.method, request.path);
    if (!key->may(scope))
      return failure(403, "this key does not have the scope " + std::string(scope));
    return limit(key->id, key->rate > 0 ? key->rate : options_.rate);
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

HttpReply Service::dispatch(HttpRequest& request) {
  std::string owner;
  const bool is_probe =
      request.path == "/healthz" || request.path == "/health" || is_page(request.path);
  if (auto no = refuse(request, owner); no && !(is_probe && no->status == 401))
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
  Call call{request, std::move(match.parts), {}, std::move(owner)};
  if (auto wrong = check_body(*match.route, request, call.body)) return std::move(*wrong);
  return match.route->handle(call);
}

HttpReply Service::handle(HttpRequest& request) {
  const auto begun = std::chrono::steady_clock::now();
  HttpReply reply = dispatch(request);
  pack(reply, request);
  ++replies_[std::min(reply.status / 100, 5u)];
  spdlog::info(
      "{} {} {} {} {:.1f} ms", request.id, request.method, request.path, reply.status,
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count());
  return reply;
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
                 const auto client = Client::connect(options_.sessions.jaild);
                 const Json body = {{"status", client ? "healthy" : "degraded"},
                                    {"active_sessions", sessions_.size()},
                                    {"service", "code_interpreter"}};
                 return json_reply(body, client ? 200 : 503);
               }});
  routes_.add(
      {"GET", "/metrics", "Counters for Prometheus", {}, {}, [this](Call&) { return metrics(); }});
  routes_.add({"GET", "/openapi.json", "This document", {}, {}, [this](Call&) {
                 return json_reply(routes_.openapi(options_.version));
               }});
}

HttpReply Service::metrics() const {
  HttpReply reply;
  reply.type = "text/plain; version=0.0.4";
  const auto add = [&reply](const std::string& name, const std::string& labels, double value) {
    const auto whole = static_cast<std::int64_t>(value);
    const bool is_whole = static_cast<double>(whole) == value;
    reply.body += name + labels + " " + (is_whole ? Json(whole) : Json(value)).dump() + "\n";
  };
  const std::chrono::duration<double> up = std::chrono::steady_clock::now() - begun_;
  add("jailagent_uptime_seconds", "", up.count());
  add("jailagent_sessions", "", static_cast<double>(sessions_.size()));
  for (unsigned i = 2; i < 6; ++i)
    add("jailagent_replies_total", "{status=\"" + std::to_string(i) + "xx\"}",
        static_cast<double>(replies_[i]));
  Expected<Client> client = Client::connect(options_.sessions.jaild);
  const Expected<Metrics> rows = client ? client->stats() : std::unexpected(client.error());
  add("jailrun_up", "", rows ? 1 : 0);
  if (!rows) return reply;
  for (const Metric& row : *rows) {
    if (!row.text.empty()) continue;
    std::string labels;
    if (!row.policy.empty()) labels += "policy=\"" + row.policy + "\"";
    if (!row.kind.empty()) labels += (labels.empty() ? "" : ",") + ("kind=\"" + row.kind + "\"");
    add("jailrun_" + row.name, labels.empty() ? "" : "{" + labels + "}", row.value);
  }
  return reply;
}

Expected<store::FileStore> Service::store() const {
  return store::FileStore::open(options_.store, options_.store_options);
}

}  // namespace jailrun::service
