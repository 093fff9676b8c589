#include "jail/daemon/pool.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace jailrun {
namespace {

constexpr std::int64_t kMsNs = 1'000'000, kSecondNs = 1'000'000'000;
constexpr std::int64_t kBuildDeadlineNs = 5 * kSecondNs;
// Failed builds in a row after which the interpreter is taken to be at fault.
constexpr std::uint32_t kBuildsBeforeNewWorld = 5, kBuildsBeforeRefusal = 3;
constexpr std::int64_t kIdleNs = 600 * kSecondNs;

// The host is at fault then: a new interpreter would take even more of it.
bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN ||
         error == ENOSPC;
}

std::uint32_t builders() {
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  return static_cast<std::uint32_t>(std::clamp(cpus, 1l, 8l));
}

}  // namespace

JailPool::JailPool(asio::io_context& io, Catalog::Found policy, Counters& counters,
                   PoolOptions options)
    : io_(io),
      policy_(std::move(policy)),
      counters_(counters),
      options_(options),
      pacing_(policy_->plan->pool, options.on_demand),
      refill_timer_(io),
      deadline_timer_(io) {}

// --- who asks -----------------------------------------------------------------------------------

void JailPool::acquire(const Owner& owner, std::uint64_t ticket, std::uint64_t wait_ns,
                       LoanDone done) {
  const std::int64_t now = monotonic_ns();
  if (shutting_down_) {
    return done(std::unexpected(
        Refusal{0, std::string(refusal::kShuttingDown), "jaild is ending", "ask the next one"}));
  }
  pacing_.arrived(now);
  const auto wait = static_cast<std::int64_t>(std::min<std::uint64_t>(wait_ns, 3600 * kSecondNs));
  Waiter waiter{ticket, now, now + wait, std::move(done)};
  if (waiting_.empty() && ready()) {
    lend(true, waiter);
    return pump();
  }
  // One death is waited out; an interpreter that cannot be started is not.
  if (!usable() && !next_ && world_failures_ > 1 && now < no_world_before_ns_)
    return waiter.done(std::unexpected(last_failure_));
  if (wait_ns == 0) {
    waiter.done(std::unexpected(Refusal{0, std::string(refusal::kDeadlineExceeded),
                                        "no jail is ready", "allow some time, or use --cold"}));
    return pump();
  }
  std::optional<Waiter> gone = waiting_.push(owner, std::move(waiter));
  if (gone) {
    gone->done(std::unexpected(Refusal{0, std::string(refusal::kQueueFull),
                                       std::to_string(kMostWaiting) + " requests wait already",
                                       "ask again later"}));
  }
  arm_deadline();
  pump();
}

void JailPool::forget(std::uint64_t ticket) {
  waiting_.take([&](const Waiter& waiter) { return waiter.ticket == ticket; }, [](Waiter&&) {});
}

// The keeper tells of deaths in its own time: a jail must not be lent before it has.
bool JailPool::ready() {
  while (!parked_.empty() && !parked_.front().jail->jail->waits()) {
    const Parked dead = std::move(parked_.front());
    parked_.pop_front();
    parked_died();
    dead.world->discard(*dead.jail);
  }
  return !parked_.empty();
}

void JailPool::parked_died() {
  ++count().parked_deaths;
  spdlog::warn("policy {}: a parked jail died", policy_->spec.name);
}

void JailPool::lend(bool parked, const Waiter& waiter) {
  const Parked first = std::move(parked_.front());
  parked_.pop_front();
  const double queued = static_cast<double>(monotonic_ns() - waiter.arrived_ns) / 1e9;
  count().queue_seconds += queued;
  (parked ? count().parked_starts : count().forked_starts).observe(queued);
  ++(parked ? count().parked_leases : count().forked_leases);
  first.jail->state = PooledJail::State::Leased;
  waiter.done(Loan{first.world, first.jail, parked});
}

void JailPool::refuse_all(const Refusal& refusal) {
  waiting_.take([](const Waiter&) { return true; },
                [&](Waiter&& waiter) { waiter.done(std::unexpected(refusal)); });
}

void JailPool::arm_deadline() {
  std::int64_t next = INT64_MAX;
  waiting_.each([&](const Waiter& waiter) { next = std::min(next, waiter.deadline_ns); });
  if (next == INT64_MAX) return;
  deadline_timer_.expires_after(nanoseconds(std::max<std::int64_t>(next - monotonic_ns(), 0)));
  deadline_timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    if (const auto self = weak.lock(); self && !error) self->expire();
  });
}

void JailPool::expire() {
  const std::int64_t now = monotonic_ns();
  const std::string why = memory_short_         ? "the host is short of memory"
                          : !usable()           ? "the interpreter is not ready yet"
                          : build_failures_ > 0 ? last_failure_.message
                                                : "all jails are in use";
  const Refusal refusal{0, std::string(refusal::kDeadlineExceeded),
                        "no jail became ready in time: " + why, "allow more time, or use --cold"};
  waiting_.take([&](const Waiter& waiter) { return waiter.deadline_ns <= now; },
                [&](Waiter&& waiter) { waiter.done(std::unexpected(refusal)); });
  arm_deadline();
}

// --- making jails -------------------------------------------------------------------------------

bool JailPool::memory_allows() {
  const std::int64_t now = monotonic_ns();
  if (now - memory_read_ns_ > 50 * kMsNs) {
    memory_read_ns_ = now;
    const HostMemory memory = host_memory();
    const std::uint64_t reserve = std::max<std::uint64_t>(memory.total / 10, 256u << 20);
    memory_short_ = memory.total != 0 && memory.available < reserve;
  }
  return !memory_short_;
}

void JailPool::wake_at(std::int64_t ns) {
  refill_timer_.expires_after(nanoseconds(std::max<std::int64_t>(ns - monotonic_ns(), 0)));
  refill_timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    if (const auto self = weak.lock(); self && !error) self->pump();
  });
}

void JailPool::plan_build() {
  const std::int64_t now = monotonic_ns();
  const auto waiting = static_cast<std::uint32_t>(waiting_.size());
  const auto parked = static_cast<std::uint32_t>(parked_.size());
  const std::uint32_t target = pacing_.target(now);
  if (!usable()) {
    if (waiting > 0 || (kept_ && policy_->plan->pool.min > 0)) start_world();
    return;
  }
  // Whoever waits gets as many builders as there are CPUs; what is made for later, one.
  const std::uint32_t wanted = std::min(waiting, builders());
  const bool behind = parked + building_ < target;
  if (building_ >= wanted && !(behind && building_ == 0)) return;
  if (now < no_build_before_ns_) return wake_at(no_build_before_ns_);
  if (!memory_allows()) return wake_at(now + 100 * kMsNs);
  // One may fail on the spot, and take the world with it.
  while (building_ < wanted && now >= no_build_before_ns_) start_build(true);
  if (behind && building_ == 0 && now >= no_build_before_ns_) {
    const std::int64_t quiet = pacing_.quiet_ns(parked, now);
    if (quiet > 0) return wake_at(now + quiet);
    start_build(false);
  }
  if (now < no_build_before_ns_) wake_at(no_build_before_ns_);
}

void JailPool::pump() {
  if (pumping_) return;  // a `done` may come back here
  pumping_ = true;
  while (!waiting_.empty() && ready()) lend(false, *waiting_.pop());
  if (!shutting_down_) plan_build();
  pumping_ = false;
}

void JailPool::start_build(bool hurry) {
  ++building_;
  asio::co_spawn(io_, build(shared_from_this(), world_, hurry), asio::detached);
}

asio::awaitable<Expected<void>> JailPool::join(PooledJail& jail) {
  std::shared_ptr<Watch> watch;
  asio::steady_timer deadline(io_, nanoseconds(kBuildDeadlineNs));
  const auto current = std::make_shared<std::weak_ptr<Watch>>();
  deadline.async_wait([current](boost::system::error_code error) {
    if (const auto waiting = current->lock(); waiting && !error) waiting->cancel();
  });
  while (jail.jail->state() != WarmJail::State::Parked) {
    watch = std::make_shared<Watch>(io_, jail.jail->control_fd());
    *current = watch;
    const bool readable = co_await watch->readable();
    if (!readable) {
      co_return std::unexpected(Error{Stage::Spawn, "jail", ETIMEDOUT,
                                      "a new jail hung while it was made",
                                      "ask again: the interpreter is started anew"});
    }
    const Expected<WarmJail::State> state = jail.jail->advance();
    if (!state) co_return std::unexpected(state.error());
  }
  co_return Expected<void>{};
}

Task JailPool::build([[maybe_unused]] std::shared_ptr<JailPool> self,
                     std::shared_ptr<LiveWorld> world, bool hurry) {
  const std::int64_t begun = monotonic_ns();
  Expected<std::unique_ptr<WarmJail>> made = WarmJail::begin(world->world(), hurry);
  if (!made) {
    --building_;
    build_failed(world, made.error());
    co_return;
  }
  PooledJail& jail = world->add(std::move(*made));
  Expected<void> joined = co_await join(jail);
  --building_;
  if (joined && jail.gone) {
    joined = std::unexpected(Error{Stage::Spawn, "jail", 0, "a new jail died while it was made",
                                   "see the log of jaild"});
  }
  if (!joined) {
    world->discard(jail);
    build_failed(world, joined.error());
    co_return;
  }
  if (shutting_down_ || world->policy() != policy_) {
    world->discard(jail);
    co_return;
  }
  build_failures_ = 0;
  ++count().built;
  count().build_seconds += static_cast<double>(monotonic_ns() - begun) / 1e9;
  pacing_.built(monotonic_ns() - begun);
  jail.state = PooledJail::State::Parked;
  parked_.push_back({&jail, world});
  const PoolPlan& plan = policy_->plan->pool;
  if (world == world_ && world->children() >= plan.children) start_world();
  pump();
}

void JailPool::build_failed(const std::shared_ptr<LiveWorld>& world, const Error& why) {
  ++count().build_failures;
  if (world != world_) return pump();  // it was retired meanwhile
  ++build_failures_;
  spdlog::warn("policy {}: no new jail: {}", policy_->spec.name, why.line());
  last_failure_ = refusal_from(refusal::kBuildFailed, why);
  no_build_before_ns_ = monotonic_ns() + backoff_ns(build_failures_, 5 * kMsNs, 5 * kSecondNs);
  if (build_failures_ >= kBuildsBeforeRefusal) refuse_all(last_failure_);
  if (build_failures_ % kBuildsBeforeNewWorld == 0 && !is_shortage(why.errno_value)) {
    retire_world();
    start_world();
  }
  pump();
}

// --- once a second ------------------------------------------------------------------------------

void JailPool::rest() {
  drop_parked();
  if (world_) retire_world();
  sweep_worlds();
}

void JailPool::tick() {
  if (shutting_down_) return sweep_worlds();
  const std::int64_t now = monotonic_ns();
  const PoolPlan& plan = policy_->plan->pool;
  const bool needed = (kept_ && plan.min > 0) || !waiting_.empty();
  if (!needed && pacing_.idle_for(kIdleNs, now)) return rest();
  if (world_ && !next_ && now - world_->started_ns() > static_cast<std::int64_t>(plan.age_ns))
    start_world();
  if (parked_.size() > pacing_.target(now)) {
    const Parked oldest = std::move(parked_.front());
    parked_.pop_front();
    oldest.world->discard(*oldest.jail);
  }
  sweep_worlds();
  pump();
}

void JailPool::shut_down() {
  shutting_down_ = true;
  refuse_all({0, std::string(refusal::kShuttingDown), "jaild is ending", "ask the next one"});
  rest();
  if (next_) {
    next_->retire();
    old_.push_back(std::move(next_));
    next_.reset();
  }
  refill_timer_.cancel();
  deadline_timer_.cancel();
  sweep_worlds();
}

bool JailPool::empty() const { return worlds().empty() && waiting_.empty() && building_ == 0; }

bool JailPool::unused() const {
  if (kept_ || !waiting_.empty()) return false;
  const auto all = worlds();
  return std::none_of(all.begin(), all.end(), [](const auto& world) {
    return std::any_of(world->jails().begin(), world->jails().end(),
                       [](const auto& jail) { return jail->state == PooledJail::State::Leased; });
  });
}

bool JailPool::idle_for(std::int64_t ns) const { return pacing_.idle_for(ns, monotonic_ns()); }

std::vector<std::shared_ptr<LiveWorld>> JailPool::worlds() const {
  std::vector<std::shared_ptr<LiveWorld>> all = old_;
  if (world_) all.push_back(world_);
  if (next_) all.push_back(next_);
  return all;
}

void JailPool::report(std::vector<MetricRow>& rows) const {
  const std::int64_t now = monotonic_ns();
  const std::string& policy = policy_->spec.name;
  std::size_t leased = 0;
  for (const auto& world : worlds()) {
    for (const auto& jail : world->jails())
      leased += jail->state == PooledJail::State::Leased ? 1 : 0;
  }
  const auto add = [&](const char* name, double value) {
    rows.push_back({name, policy, {}, value, {}});
  };
  add("jaild_parked", static_cast<double>(parked_.size()));
  add("jaild_building", building_);
  add("jaild_leased", static_cast<double>(leased));
  add("jaild_waiting", static_cast<double>(waiting_.size()));
  add("jaild_target", pacing_.target(now));
  add("jaild_arrivals_per_second", pacing_.arrivals_per_second(now));
  add("jaild_worlds", static_cast<double>(worlds().size()));
  add("jaild_zygote_children", world_ ? world_->children() : 0);
  add("jaild_warm", usable() ? 1 : 0);
  if (world_failures_ > 0 || build_failures_ > 0)
    rows.push_back({"jaild_last_failure", policy, last_failure_.name, 1, last_failure_.message});
}

}  // namespace jailrun
