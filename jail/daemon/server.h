// Server: jaild as a whole: its socket, its pools, its leases, and the order in which it begins and
// ends.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "jail/daemon/catalog.h"
#include "jail/daemon/connection.h"
#include "jail/daemon/metrics.h"
#include "jail/daemon/pool.h"

namespace jailrun {

struct ServerOptions {
  std::string socket;               // path; its directory is made where missing
  std::uint32_t mode = 0660;        // of the socket
  std::string group;                // name of a group, or empty: the daemon's
  std::vector<std::string> warm;    // policies made ready at start; empty: all with pool.min > 0
  std::set<std::uint32_t> trusted;  // uids that may say whose jail it is
  PoolOptions pool;
  std::size_t sessions_of_user = 64;
  std::chrono::seconds session_idle{15 * 60};
  // Of a service manager: a socket that listens already, at `socket`, and stays when this ends; -1:
  // none. The server owns it.
  int listener = -1;
  std::function<void()> serving = [] {};  // once, when clients are served
  std::function<void()> alive = [] {};    // by the loop that serves them, every second or sooner
};

class Server {
 public:
  explicit Server(ServerOptions options);

  // Until SIGTERM or SIGINT. Errors: the socket cannot be had, another jaild has it.
  Expected<void> run();

  asio::io_context& io() { return io_; }
  Catalog& catalog() { return catalog_; }
  Counters& counters() { return counters_; }
  Sessions& sessions() { return sessions_; }
  bool trusts(std::uint32_t uid) const { return options_.trusted.contains(uid); }
  std::uint64_t next_number() { return ++numbers_; }
  std::expected<std::shared_ptr<JailPool>, Refusal> pool_for(const Catalog::Found& policy,
                                                             const Owner& owner);
  void add(const std::shared_ptr<JailLease>& lease);
  std::shared_ptr<JailLease> find(std::uint64_t lease) const;
  void note_end(std::uint64_t lease, const Result& result);
  void list(const Peer& peer, daemon::Ps& into) const;
  std::vector<MetricRow> metrics(const Peer& peer) const;
  void count_refusal(const std::string& policy, const std::string& name);
  void remove(Connection& connection);
  // A connection of `uid` has `now` descriptors of a message that is not whole yet. False: these
  // are more than one user may have.
  bool hold_unclaimed(std::uint32_t uid, std::size_t before, std::size_t now);

 private:
  using PoolKey = std::pair<std::string, Owner>;

  Expected<void> listen();
  Expected<void> bind_socket();
  Task accept_clients();
  void heed_signals();
  Task tick();
  void admit(Fd socket);
  void sweep();
  void warm_up();
  void reload();
  void begin_end();
  bool ended() const;

  const ServerOptions options_;
  asio::io_context io_{1};
  Catalog catalog_;
  Counters counters_;
  Sessions sessions_{options_.sessions_of_user};
  std::uint64_t numbers_ = 0;
  Fd lock_, listener_;
  std::shared_ptr<Watch> listener_watch_;
  asio::signal_set signals_{io_};
  asio::steady_timer timer_{io_};
  std::map<PoolKey, std::shared_ptr<JailPool>> pools_;
  std::map<std::uint64_t, std::weak_ptr<JailLease>> leases_;
  std::vector<std::shared_ptr<JailPool>> leaving_;  // made room; until their last jail has ended
  std::map<Connection*, std::shared_ptr<Connection>> connections_;
  struct Share {
    std::size_t connections = 0, unclaimed = 0;
  };
  std::map<std::uint32_t, Share> shares_;  // by uid
  bool ending_ = false;
  std::int64_t end_by_ns_ = 0;
};

}  // namespace jailrun
