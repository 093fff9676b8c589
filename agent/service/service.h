// Service: what the routes do. A client of jaild without any right of its own: whatever a guest
// does is status 200 with a verdict, a fault of the request is 4xx, only our own is 500.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "agent/service/http_rate.h"
#include "agent/service/keys.h"
#include "agent/service/metrics.h"
#include "agent/service/routes.h"
#include "agent/service/session_book.h"
#include "agent/store/file_store.h"

namespace jailrun::agent {
class Record;
}

namespace jailrun::service {

// What may be less than the policies allow; limits.h reads it.
struct ServiceLimits {
  double execute_s = 30, execute_most_s = 300, interpreter_s = 60;
  std::vector<std::string> execute_overrides{};  // of the policy of /execute
  std::size_t execute_output = 1 << 20;          // bytes of each stream
};

struct ServiceOptions {
  SessionBook::Options sessions;
  std::string policy = "python";           // of /v1/run and /v1/sessions, where none is named
  std::string execute_policy = "genomic";  // of /execute
  std::string interpreter_policy = "interpreter";  // of /v1/users/{uid}/execute
  std::set<std::string> hosts;  // names of this service besides those of loopback
  std::string store;            // root of the file store
  store::StoreOptions store_options;
  std::string record{};  // file of capsules and threads; empty: Record::default_path()
  std::string version;
  double rate = 0;  // requests a second of each key, or of all where there is none; 0: any
  std::set<std::string> cors_origins{};  // whose pages may ask: "https://app.example"
  ServiceLimits limits{};
  const HttpLoad* load = nullptr;  // of the server that it is served by
};

// What may change while it serves.
struct LiveOptions {
  std::set<std::string> hosts, cors_origins;
  double rate = 0;
};

class Service final : public Application {
 public:
  Service(ServiceOptions options, Keys keys);

  BodyRule rule(std::string_view method, std::string_view path) const override;
  HttpReply handle(HttpRequest& request) override;
  // Takes up the sessions that jaild has kept for the service of before.
  void recover();
  // From time to time.
  void sweep();
  // From any thread; for requests that come after it.
  void reload(LiveOptions options);

 private:
  void add_health();
  void add_execute();
  void add_sessions();
  void add_files();
  void add_interpreter();
  void add_datasets();
  void add_chat();
  void add_runs();
  void add_threads();
  void add_page();
  static bool is_page(std::string_view path);  // which asks for no key
  // `route`: the pattern that it fits.
  HttpReply dispatch(HttpRequest& request, const LiveOptions& live, std::string& route);
  // 401 or 403, or nothing; then `owner` is whose request it is.
  std::optional<HttpReply> refuse(const HttpRequest& request, const LiveOptions& live,
                                  std::string& owner) const;
  std::optional<HttpReply> limit(const std::string& who, double rate) const;
  std::optional<HttpReply> preflight(const HttpRequest& request, const LiveOptions& live) const;
  std::shared_ptr<const LiveOptions> live() const;
  HttpReply health() const;
  HttpReply metrics() const;
  HttpReply interpret(Call& call);
  HttpReply interpreter_status() const;
  Expected<std::string> create(const std::string& owner, const std::string& name,
                               LeaseRequest request, double timeout_s,
                               SessionBook::Life life = SessionBook::Life::Stays);
  HttpReply execute(Call& call);
  HttpReply run(Call& call);
  HttpReply begin_session(Call& call);
  HttpReply run_cell(Call& call);
  HttpReply stream_cell(Call& call);
  HttpReply chat(Call& call);
  HttpReply stream_chat(Call& call);
  HttpReply analyze(Call& call);
  Expected<store::FileStore> store() const;

  const ServiceOptions options_;
  mutable KeyRing keys_;
  mutable RateLimit rates_;
  Routes routes_;
  mutable ServiceMetrics metrics_;
  SessionBook sessions_;
  // Each request opens the record for itself: with this one open too, SQLite does not copy its log
  // into the database, and wait for the disk four times more, at the end of each.
  std::shared_ptr<const agent::Record> open_record_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  std::atomic<std::int64_t> swept_s_ = 0;  // since 1970
  mutable std::mutex live_mutex_;
  std::shared_ptr<const LiveOptions> live_;
};

// An Error whose errno_value is a status (session_book.h), or 500.
HttpReply reply_from(const Error& error);

}  // namespace jailrun::service
