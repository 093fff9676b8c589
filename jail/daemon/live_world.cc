#include "jail/daemon/live_world.h"

#include <cerrno>
#include <csignal>
#include <vector>

namespace jailrun {

std::string_view name(PooledJail::State state) {
  constexpr std::string_view kNames[] = {"building", "parked", "leased", "killed", "collecting"};
  return kNames[static_cast<std::size_t>(state)];
}

Expected<std::shared_ptr<LiveWorld>> LiveWorld::start(asio::io_context& io, Catalog::Found policy,
                                                      Events events,
                                                      std::chrono::seconds import_deadline) {
  std::shared_ptr<LiveWorld> live(new LiveWorld(io, std::move(policy), std::move(events)));
  live->started_ns_ = monotonic_ns();
  TRY(live->world_, World::start(*live->policy_->plan, STDERR_FILENO));
  live->keeper_watch_ = std::make_shared<Watch>(io, live->world_->keeper_fd());
  live->zygote_watch_ = std::make_shared<Watch>(io, live->world_->zygote_fd());
  asio::co_spawn(io, live->watch_zygote(live, import_deadline), asio::detached);
  asio::co_spawn(io, live->watch_keeper(live), asio::detached);
  return live;
}

Task LiveWorld::watch_zygote([[maybe_unused]] std::shared_ptr<LiveWorld> self,
                             std::chrono::seconds import_deadline) {
  const std::shared_ptr<Watch> watch = zygote_watch_;
  asio::steady_timer deadline(io_, import_deadline);
  deadline.async_wait([watch](boost::system::error_code error) {
    if (!error) watch->cancel();
  });
  for (;;) {
    const bool readable = co_await watch->readable();
    if (closed_ || failed_) co_return;
    if (!readable) {
      fail(Error{Stage::Spawn, "zygote", ETIMEDOUT,
                 "the zygote was not ready after " + std::to_string(import_deadline.count()) + " s",
                 "see what its imports do in the log"});
      co_return;
    }
    std::string report;
    const Expected<bool> ready = world_->zygote_ready(report);
    if (!ready) {
      fail(ready.error());
      co_return;
    }
    if (!*ready) continue;
    deadline.cancel();
    ready_ = true;
    events_.ready(report);
    co_return;
  }
}

Task LiveWorld::watch_keeper([[maybe_unused]] std::shared_ptr<LiveWorld> self) {
  const std::shared_ptr<Watch> watch = keeper_watch_;
  while (!closed_) {
    const bool readable = co_await watch->readable();
    if (closed_) co_return;
    if (!readable) {
      keeper_died(Error{Stage::Run, "keeper", EMFILE, "the keeper cannot be watched",
                        "raise the limit of open files of jaild"});
      co_return;
    }
    while (!closed_) {
      const Expected<std::optional<Ended>> ended = world_->next_ended();
      if (!ended) {
        keeper_died(ended.error());
        co_return;
      }
      if (!*ended) break;
      dispatch(**ended);
    }
  }
}

void LiveWorld::dispatch(const Ended& ended) {
  if (ended.pid != 0 && ended.pid == world_->zygote_pid()) {
    zygote_dead_ = true;
    if (!retired_) {
      fail(Error{Stage::Spawn, "zygote", 0,
                 "the zygote of policy " + policy_->spec.name + " died, wait status " +
                     std::to_string(ended.status),
                 "its jails go on; a new one is started"});
    }
    return;
  }
  for (const std::unique_ptr<PooledJail>& each : jails_) {
    PooledJail& jail = *each;
    const bool had_guest = !jail.jail->guest_ended();
    const bool gone = jail.jail->note(ended);
    const bool guest_ended = had_guest && jail.jail->guest_ended();
    if (!gone && !guest_ended) continue;
    // What a guest leaves running dies with it.
    if (guest_ended && !gone) jail.jail->kill();
    if (guest_ended && jail.holder != nullptr) jail.holder->guest_ended();
    if (jail.state == PooledJail::State::Parked) {
      jail.state = PooledJail::State::Dying;
      events_.parked_died(jail);
    }
    if (!gone) return;
    jail.gone = true;
    if (jail.state == PooledJail::State::Leased) {
      jail.holder->gone();
    } else if (jail.state == PooledJail::State::Dying) {
      remove(jail);
    }  // while Building its builder sees to it
    return;  // a pid is one jail's
  }
}

void LiveWorld::keeper_died(const Error& why) {
  keeper_dead_ = true;
  std::vector<PooledJail*> all;
  for (const auto& jail : jails_) all.push_back(jail.get());
  for (PooledJail* jail : all) {
    jail->jail->kill();
    jail->jail->note({jail->jail->guest_pid(), SIGKILL});
    jail->jail->note({jail->jail->init_pid(), SIGKILL});
    jail->gone = true;
    if (jail->state == PooledJail::State::Leased) {
      jail->holder->lost(why);
      jail->holder->gone();
    } else if (jail->state == PooledJail::State::Parked) {
      jail->state = PooledJail::State::Dying;
      events_.parked_died(*jail);
      remove(*jail);
    } else if (jail->state == PooledJail::State::Dying) {
      remove(*jail);
    }
  }
  fail(why);
}

void LiveWorld::fail(const Error& why) {
  if (failed_ || closed_) return;
  failed_ = true;
  zygote_watch_->cancel();
  events_.failed(why);
}

PooledJail& LiveWorld::add(std::unique_ptr<WarmJail> jail) {
  ++children_;
  auto pooled = std::make_unique<PooledJail>();
  pooled->jail = std::move(jail);
  pooled->begun_ns = monotonic_ns();
  return *jails_.emplace_back(std::move(pooled));
}

void LiveWorld::discard(PooledJail& jail) {
  jail.holder = nullptr;
  jail.state = PooledJail::State::Dying;
  if (jail.gone || keeper_dead_ || (jail.jail->init_pid() == 0)) {
    remove(jail);
  } else {
    jail.jail->kill();
  }
}

void LiveWorld::remove(PooledJail& jail) {
  jails_.remove_if([&](const auto& each) { return each.get() == &jail; });
  events_.jail_removed();
}

void LiveWorld::retire() {
  if (retired_) return;
  retired_ = true;
  world_->retire_zygote();
}

void LiveWorld::close() {
  closed_ = true;
  keeper_watch_->cancel();
  zygote_watch_->cancel();
}

}  // namespace jailrun
