// LiveWorld: a World with the jails that came from it and the events of both. It lives until it is
// retired and its last jail is gone.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "jail/daemon/asio.h"
#include "jail/daemon/catalog.h"
#include "jail/pool/warm_jail.h"

namespace jailrun {

class LiveWorld;

// Who has a jail at present hears of its end.
class JailHolder {
 public:
  virtual void guest_ended() = 0;
  virtual void gone() = 0;                  // every process of it
  virtual void lost(const Error& why) = 0;  // the keeper is dead, and so all of it: then gone()

 protected:
  ~JailHolder() = default;
};

struct PooledJail {
  enum class State : std::uint8_t { Building, Parked, Leased, Dying, Collecting };
  std::unique_ptr<WarmJail> jail;
  State state = State::Building;
  JailHolder* holder = nullptr;  // while Leased
  std::int64_t begun_ns = 0;
  bool gone = false;
};

std::string_view name(PooledJail::State state);

class LiveWorld : public std::enable_shared_from_this<LiveWorld> {
 public:
  // What its pool wants to know.
  struct Events {
    std::function<void(const std::string& report)> ready;
    std::function<void(const Error& why)> failed;  // the zygote or the keeper is dead
    std::function<void(PooledJail& jail)> parked_died;
    std::function<void()> jail_removed;
  };

  static constexpr std::chrono::seconds kImportDeadline{120};

  // Imports that take longer than the deadline hang.
  static Expected<std::shared_ptr<LiveWorld>> start(asio::io_context& io, Catalog::Found policy,
                                                    Events events,
                                                    std::chrono::seconds import_deadline);

  World& world() { return *world_; }
  const Catalog::Found& policy() const { return policy_; }
  bool ready() const { return ready_; }
  bool zygote_alive() const { return !zygote_dead_ && !keeper_dead_; }
  std::int64_t started_ns() const { return started_ns_; }
  std::uint32_t children() const { return children_; }
  std::size_t jail_count() const { return jails_.size(); }
  const std::list<std::unique_ptr<PooledJail>>& jails() const { return jails_; }

  PooledJail& add(std::unique_ptr<WarmJail> jail);
  // Kills it; it is removed when it is gone.
  void discard(PooledJail& jail);
  // Of one that is gone.
  void remove(PooledJail& jail);
  // No more children. What lives goes on.
  void retire();
  // Ends the waiting for events: called when nothing of it is needed any more.
  void close();

 private:
  LiveWorld(asio::io_context& io, Catalog::Found policy, Events events)
      : io_(io), policy_(std::move(policy)), events_(std::move(events)) {}
  Task watch_zygote(std::shared_ptr<LiveWorld> self, std::chrono::seconds import_deadline);
  Task watch_keeper(std::shared_ptr<LiveWorld> self);
  void dispatch(const Ended& ended);
  void keeper_died(const Error& why);
  void fail(const Error& why);

  asio::io_context& io_;
  Catalog::Found policy_;
  Events events_;
  std::unique_ptr<World> world_;
  std::list<std::unique_ptr<PooledJail>> jails_;  // destroyed before the world
  std::shared_ptr<Watch> keeper_watch_, zygote_watch_;
  std::int64_t started_ns_ = 0;
  std::uint32_t children_ = 0;
  bool ready_ = false, retired_ = false, failed_ = false, zygote_dead_ = false,
       keeper_dead_ = false, closed_ = false;
};

}  // namespace jailrun
