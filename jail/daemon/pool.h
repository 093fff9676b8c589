// JailPool: the jails of one policy (for one owner where the policy says so), made ahead; who waits
// for one; and the worlds that they come from.
#pragma once

#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "jail/daemon/asio.h"
#include "jail/daemon/fair_queue.h"
#include "jail/daemon/live_world.h"
#include "jail/daemon/metrics.h"
#include "jail/daemon/pacing.h"
#include "jail/daemon/refusal.h"

namespace jailrun {

// A jail that is lent. It stays the world's; who has it gives it back by discard() or remove().
struct Loan {
  std::shared_ptr<LiveWorld> world;
  PooledJail* jail = nullptr;
  bool parked = false;  // it was ready; else it was built for this lease
};

using LoanDone = std::function<void(std::expected<Loan, Refusal>)>;

// How a daemon wants its pools.
struct PoolOptions {
  bool on_demand = false;  // no jail waits: each is cloned when it is asked for
  std::chrono::seconds import_deadline = LiveWorld::kImportDeadline;
};

class JailPool : public std::enable_shared_from_this<JailPool> {
 public:
  static constexpr std::size_t kMostWaiting = 64;

  JailPool(asio::io_context& io, Catalog::Found policy, Counters& counters, PoolOptions options);

  // Calls `done` once: at once, or when a jail is ready or the deadline is over. `ticket` names the
  // request for forget().
  void acquire(const Owner& owner, std::uint64_t ticket, std::uint64_t wait_ns, LoanDone done);
  // Who asked is gone.
  void forget(std::uint64_t ticket);

  // Starts what is missing. Called once a second, and after each change.
  void tick();
  void set_policy(Catalog::Found policy);
  // Refuses who waits, kills what is parked; leased jails go on until their holders end them.
  void shut_down();
  // Nothing lives in it and nobody waits.
  bool empty() const;
  bool idle_for(std::int64_t ns) const;
  // Nobody has or awaits a jail of it, and it is not kept for its own sake.
  bool unused() const;
  void set_kept(bool kept) { kept_ = kept; }  // keeps `min` also when nobody asks

  const Catalog::Found& policy() const { return policy_; }
  std::vector<std::shared_ptr<LiveWorld>> worlds() const;
  void report(std::vector<MetricRow>& rows) const;

 private:
  struct Waiter {
    std::uint64_t ticket;
    std::int64_t arrived_ns, deadline_ns;
    LoanDone done;
  };

  void pump();
  bool ready();  // a parked jail is to be had; those that died meanwhile are taken away
  void parked_died();
  void start_world();
  void world_ready(const std::shared_ptr<LiveWorld>& world, const std::string& report);
  void world_failed(const std::shared_ptr<LiveWorld>& world, const Error& why);
  void retire_world();
  void drop_parked();
  void plan_build();
  void start_build(bool hurry);
  Task build(std::shared_ptr<JailPool> self, std::shared_ptr<LiveWorld> world, bool hurry);
  asio::awaitable<Expected<void>> join(PooledJail& jail);
  void build_failed(const std::shared_ptr<LiveWorld>& world, const Error& why);
  void lend(bool parked, const Waiter& waiter);
  void refuse_all(const Refusal& refusal);
  void arm_deadline();
  void expire();
  void wake_at(std::int64_t ns);
  bool memory_allows();
  void sweep_worlds();
  LiveWorld::Events events_of(std::shared_ptr<std::weak_ptr<LiveWorld>> world);
  bool usable() const { return world_ && world_->ready() && world_->zygote_alive(); }
  PolicyCounters& count() { return counters_.of(policy_->spec.name); }
  void rest();

  asio::io_context& io_;
  Catalog::Found policy_;
  Counters& counters_;
  const PoolOptions options_;
  Pacing pacing_;
  bool kept_ = false, shutting_down_ = false, pumping_ = false;

  std::shared_ptr<LiveWorld> world_, next_;
  std::vector<std::shared_ptr<LiveWorld>> old_;
  struct Parked {
    PooledJail* jail;
    std::shared_ptr<LiveWorld> world;
  };
  std::deque<Parked> parked_;
  std::uint32_t building_ = 0;
  FairQueue<Waiter> waiting_{kMostWaiting};

  asio::steady_timer refill_timer_, deadline_timer_;
  std::uint32_t world_failures_ = 0, build_failures_ = 0;
  std::int64_t no_world_before_ns_ = 0, no_build_before_ns_ = 0, memory_read_ns_ = 0;
  bool memory_short_ = false;
  Refusal last_failure_;
};

}  // namespace jailrun
