// The worlds of a pool: started, replaced, retired.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "jail/daemon/pool.h"

namespace jailrun {
namespace {

constexpr std::int64_t kMsNs = 1'000'000, kSecondNs = 1'000'000'000;
// An interpreter that dies sooner than this after it was ready counts as one that cannot be
// started.
constexpr std::int64_t kShortLifeNs = 10 * kSecondNs;

}  // namespace

LiveWorld::Events JailPool::events_of(std::shared_ptr<std::weak_ptr<LiveWorld>> world) {
  const std::weak_ptr<JailPool> weak = weak_from_this();
  LiveWorld::Events events;
  events.ready = [weak, world](const std::string& report) {
    if (const auto self = weak.lock()) self->world_ready(world->lock(), report);
  };
  events.failed = [weak, world](const Error& why) {
    if (const auto self = weak.lock()) self->world_failed(world->lock(), why);
  };
  events.parked_died = [weak](PooledJail& jail) {
    const auto self = weak.lock();
    if (!self) return;
    std::erase_if(self->parked_, [&](const Parked& each) { return each.jail == &jail; });
    self->parked_died();
  };
  events.jail_removed = [weak] {
    if (const auto self = weak.lock())
      asio::post(self->io_, [self] {
        self->sweep_worlds();
        self->pump();
      });
  };
  return events;
}

void JailPool::start_world() {
  const std::int64_t now = monotonic_ns();
  if (next_ || shutting_down_) return;
  if (now < no_world_before_ns_) return wake_at(no_world_before_ns_);
  ++count().worlds_started;
  auto slot = std::make_shared<std::weak_ptr<LiveWorld>>();
  Expected<std::shared_ptr<LiveWorld>> world =
      LiveWorld::start(io_, policy_, events_of(slot), options_.import_deadline);
  if (!world) return world_failed(nullptr, world.error());
  *slot = *world;
  next_ = std::move(*world);
}

void JailPool::world_ready(const std::shared_ptr<LiveWorld>& world, const std::string& report) {
  if (!world || world != next_) return;
  const double seconds = static_cast<double>(monotonic_ns() - world->started_ns()) / 1e9;
  count().import_seconds = seconds;
  spdlog::info("policy {}: world ready after {:.0f} ms: {}", policy_->spec.name, seconds * 1e3,
               report);
  if (world_) retire_world();
  world_ = std::move(next_);
  next_.reset();
  world_failures_ = build_failures_ = 0;
  no_build_before_ns_ = 0;
  pump();
}

void JailPool::world_failed(const std::shared_ptr<LiveWorld>& world, const Error& why) {
  const bool starting = !world || world == next_, serving = world && world == world_;
  if (!starting && !serving) return;
  const std::int64_t now = monotonic_ns();
  spdlog::error("policy {}: {}", policy_->spec.name, why.line());
  ++count().worlds_failed;
  last_failure_ = refusal_from(refusal::kWarmupFailed, why);
  if (starting && next_) {
    old_.push_back(std::move(next_));
    next_.reset();
  }
  if (starting || now - world->started_ns() < kShortLifeNs) {
    ++world_failures_;
    no_world_before_ns_ = now + backoff_ns(world_failures_, 200 * kMsNs, 60 * kSecondNs);
  }
  if (serving) retire_world();
  if (starting && !usable()) refuse_all(last_failure_);
  // Not from inside of the world's own event.
  asio::post(io_, [self = shared_from_this()] {
    self->sweep_worlds();
    self->pump();
  });
}

void JailPool::retire_world() {
  spdlog::info("policy {}: interpreter retired after {} children; {} jails of it live",
               policy_->spec.name, world_->children(), world_->jail_count());
  world_->retire();
  old_.push_back(std::move(world_));
  world_.reset();
}

void JailPool::sweep_worlds() {
  std::erase_if(old_, [&](const std::shared_ptr<LiveWorld>& world) {
    if (world->jail_count() > 0) return false;
    world->close();
    return true;
  });
}

void JailPool::drop_parked() {
  std::deque<Parked> all;
  all.swap(parked_);
  for (const Parked& each : all) each.world->discard(*each.jail);
}

void JailPool::set_policy(Catalog::Found policy) {
  policy_ = std::move(policy);
  pacing_.set_plan(policy_->plan->pool);
  // What was made by the old text is no jail of this policy any more.
  drop_parked();
  if (world_) retire_world();
  if (next_) {
    next_->retire();
    old_.push_back(std::move(next_));
    next_.reset();
  }
  world_failures_ = 0;
  no_world_before_ns_ = 0;
  sweep_worlds();
  pump();
}

}  // namespace jailrun
