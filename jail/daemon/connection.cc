#include "jail/daemon/connection.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "jail/daemon/encode.h"
#include "jail/daemon/server.h"
#include "jail/launch/packages.h"
#include "jail/run/frames.h"

namespace jailrun {
namespace {

constexpr std::size_t kMostLeases = 256;  // and waiting requests, of one connection
constexpr std::size_t kMostUnsent = 512;  // messages that a client does not take
constexpr std::size_t kMostOverrides = 32;
constexpr std::size_t kMostOwnerBytes = 128;

std::unexpected<Refusal> refused(std::string_view name, std::string message, std::string remedy) {
  return std::unexpected(Refusal{0, std::string(name), std::move(message), std::move(remedy)});
}

}  // namespace

Connection::Connection(Server& server, Fd socket, Peer peer)
    : server_(server),
      socket_(std::move(socket)),
      peer_(peer),
      watch_(std::make_shared<Watch>(server.io(), socket_.get())) {}

// --- reading ------------------------------------------------------------------------------------

Task Connection::run([[maybe_unused]] std::shared_ptr<Connection> self) {
  const std::shared_ptr<Watch> watch = watch_;
  while (!closed_) {
    const bool readable = co_await watch->readable();
    if (!readable || closed_) break;
    const Expected<wire::Reader::Got> got = reader_.receive(socket_.get(), MSG_DONTWAIT);
    if (got && *got == wire::Reader::Got::Nothing) continue;
    if (!got || *got == wire::Reader::Got::End) break;
    if (!read_frames() || !account_unclaimed()) {
      ++server_.counters().broken_connections;
      break;
    }
  }
  close();
}

bool Connection::read_frames() {
  for (;;) {
    const auto frame = reader_.next();
    if (!frame) return false;
    if (!*frame) return !reader_.empty() || reader_.unclaimed() == 0;
    daemon::ToDaemon message;
    if (!message.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()))) return false;
    std::optional<std::vector<Fd>> descriptors = reader_.take(message.descriptors());
    if (!descriptors || !handle(message, std::move(*descriptors))) return false;
    if (closed_) return true;
  }
}

bool Connection::account_unclaimed() {
  const std::size_t before = std::exchange(unclaimed_, closed_ ? 0 : reader_.unclaimed());
  return closed_ || server_.hold_unclaimed(peer_.uid, before, unclaimed_);
}

bool Connection::handle(const daemon::ToDaemon& message, std::vector<Fd> descriptors) {
  if (!message.has_lease() && !descriptors.empty()) return false;
  switch (message.what_case()) {
    case daemon::ToDaemon::kLease:
      lease(message.lease(), std::move(descriptors));
      return true;
    case daemon::ToDaemon::kKill:
      kill(message.kill());
      return true;
    case daemon::ToDaemon::kPs:
      list(message.ps().request());
      return true;
    case daemon::ToDaemon::kStats: {
      daemon::FromDaemon reply = encode(server_.metrics(peer_), message.stats().request());
      send(reply);
      return true;
    }
    case daemon::ToDaemon::kKillJail:
      kill_any(message.kill_jail());
      return true;
    case daemon::ToDaemon::kSession:
      return session(message.session());
    case daemon::ToDaemon::WHAT_NOT_SET:
      return false;
  }
  return false;
}

// --- leasing ------------------------------------------------------------------------------------

std::expected<Connection::Pending, Refusal> Connection::check(const daemon::Lease& request,
                                                              std::vector<Fd> descriptors) {
  if (leases_.size() + pending_.size() >= kMostLeases) {
    return refused(refusal::kTooManyLeases,
                   "this connection has " + std::to_string(kMostLeases) + " leases already",
                   "end some of them first");
  }
  if (static_cast<std::size_t>(request.files_size()) != descriptors.size()) {
    return refused(refusal::kBadFile, "as many descriptors as files are needed",
                   "send one descriptor for each name");
  }
  if (std::set<std::string_view>(request.files().begin(), request.files().end()).size() !=
      descriptors.size()) {
    return refused(refusal::kBadFile, "two files have the same name below /data",
                   "use --file PATH:NAME for one of them");
  }
  if (!request.owner().empty() && !server_.trusts(peer_.uid)) {
    return refused(refusal::kNotPermitted,
                   "uid " + std::to_string(peer_.uid) + " may not say whose jail it is",
                   "start jaild with --trust-owner " + std::to_string(peer_.uid));
  }
  if (request.owner().size() > kMostOwnerBytes ||
      static_cast<std::size_t>(request.overrides_size()) > kMostOverrides) {
    return refused(refusal::kBadValue, "an owner of more than 128 bytes, or more than 32 overrides",
                   "ask for less at once");
  }
  if (request.label().size() > kMostLabelBytes) return std::unexpected(label_too_long());
  if (request.first().size() > wire::kMaxFirstBytes) {
    return refused(refusal::kBadValue, "a request of more than 32 KiB within the lease",
                   "write it to the jail after the lease");
  }
  Pending pending;
  pending.owner = {peer_.uid, request.owner()};
  auto policy = server_.catalog().find(request.policy());
  if (!policy) return std::unexpected(policy.error());
  const Plan& plan = *(*policy)->plan;
  if (plan.pool.max == 0) {
    return refused(refusal::kPolicyNotWarm, "policy " + request.policy() + " is never warm",
                   "run with --cold, or give the policy a pool { max: … }");
  }
  pending.limits = limits_of(plan);
  if (request.overrides_size() > 0) {
    auto limits = narrow((*policy)->spec, pending.limits,
                         {request.overrides().begin(), request.overrides().end()});
    if (!limits) return std::unexpected(limits.error());
    const auto is_cpu_time = [](const std::string& each) {
      return each.starts_with("limits.cpu_time=");
    };
    if (request.session() && std::ranges::any_of(request.overrides(), is_cpu_time)) {
      return refused(refusal::kNotOverridable, "a session has no limit of CPU time",
                     "narrow limits.cpus, or limits.wall, which is for each cell");
    }
    pending.narrowed = *limits != pending.limits;
    pending.limits = *limits;
  }
  for (int i = 0; i < request.files_size(); ++i)
    pending.files.push_back(
        {request.files(i), std::move(descriptors[static_cast<std::size_t>(i)])});
  if (request.packages_size() > 0) {
    auto layers = open_packages(plan, {request.packages().begin(), request.packages().end()});
    if (!layers) return std::unexpected(refusal_from(refusal::kPackageUnavailable, layers.error()));
    pending.packages = std::move(*layers);
  }
  auto pool = server_.pool_for(*policy, pending.owner);
  if (!pool) return std::unexpected(pool.error());
  pending.pool = *pool;
  pending.request = request;
  return pending;
}

void Connection::lease(const daemon::Lease& request, std::vector<Fd> descriptors,
                       const std::string& session) {
  const std::int64_t now = monotonic_ns();
  auto checked = check(request, std::move(descriptors));
  if (!checked) return refuse(request.request(), checked.error(), request.policy());
  checked->arrived_ns = now;
  if (request.session()) {
    if (session.empty() && !server_.sessions().admits(peer_.uid)) {
      return refuse(request.request(), too_many_sessions());
    }
    checked->session = session.empty() ? Sessions::new_id() : session;
    checked->request.clear_first();
  }
  const std::uint64_t ticket = server_.next_number();
  const std::shared_ptr<JailPool> pool = checked->pool;
  const Owner owner = checked->owner;
  pending_.emplace(ticket, std::move(*checked));
  pool->acquire(owner, ticket, request.queue_ns(),
                [weak = weak_from_this(), ticket](std::expected<Loan, Refusal> loan) {
                  if (const auto self = weak.lock(); self && !self->closed_) {
                    self->granted(ticket, std::move(loan));
                  } else if (loan) {
                    loan->world->discard(*loan->jail);
                  }
                });
}

void Connection::granted(std::uint64_t ticket, std::expected<Loan, Refusal> loan) {
  auto node = pending_.extract(ticket);
  if (node.empty()) {
    if (loan) loan->world->discard(*loan->jail);
    return;
  }
  Pending pending = std::move(node.mapped());
  if (!loan) return refuse(pending.request.request(), loan.error(), pending.request.policy());
  // The guest wakes up while the rest of the lease is done here.
  const bool is_session = !pending.session.empty();
  if (is_session && !server_.sessions().admits(peer_.uid)) {  // many may have asked at once
    loan->world->discard(*loan->jail);
    return refuse(pending.request.request(), too_many_sessions());
  }
  if (loan->parked && !is_session && pending.request.first().empty())
    loan->jail->jail->announce_request();
  LeaseLimits limits = pending.limits;
  if (is_session) {  // those of the policy are for one execution
    limits.wall_ns = kSessionNs;
    limits.cpu_ns = kSessionNs / 1000 * limits.cpu_millis;
  }
  const auto lease =
      std::make_shared<JailLease>(server_.io(), std::move(*loan),
                                  JailLease::Terms{ticket, pending.owner, limits, pending.narrowed,
                                                   pending.request.wants_files()});
  std::vector<std::string> warnings;
  const std::string first = is_session ? session_hello() : pending.request.first();
  if (const Expected<void> ready =
          lease->prepare(std::move(pending.files), std::move(pending.packages), first, warnings);
      !ready) {
    const Error& error = ready.error();
    const std::string_view name = error.object == "mount"            ? refusal::kFileNotMountable
                                  : error.stage == Stage::OpenInputs ? refusal::kBadFile
                                                                     : refusal::kBuildFailed;
    return refuse(pending.request.request(), refusal_from(name, error), pending.request.policy());
  }
  server_.add(lease);
  if (is_session) return begin_session(pending, lease, std::move(warnings));
  leases_.emplace(ticket, lease);
  send_leased(pending, lease->terms().id, lease->parked(), std::move(warnings), lease->take_ends());
  if (closed_) return;  // it was gone already: close() has ended the lease
  lease->start(
      [weak = weak_from_this(), &server = server_](std::uint64_t id, JailLease::Closing closing) {
        server.note_end(id, closing.result);
        if (const auto self = weak.lock(); self && !self->closed_)
          self->ended(id, std::move(closing));
      });
}

void Connection::send_leased(const Pending& pending, std::uint64_t lease, bool parked,
                             std::vector<std::string> warnings, WarmJail::Ends ends) {
  daemon::FromDaemon message;
  daemon::Leased& leased = *message.mutable_leased();
  leased.set_request(pending.request.request());
  leased.set_lease(lease);
  leased.set_start(parked ? "parked" : "forked");
  leased.set_queued_ns(static_cast<std::uint64_t>(monotonic_ns() - pending.arrived_ns));
  leased.set_wall_ns(pending.limits.wall_ns);
  leased.set_output_bytes(pending.limits.output_bytes);
  leased.set_collect_files(static_cast<std::uint32_t>(pending.limits.collect_files));
  leased.set_collect_bytes(pending.limits.collect_bytes);
  leased.set_session(pending.session);
  for (std::string& warning : warnings) leased.add_warnings(std::move(warning));
  std::vector<Fd> descriptors;
  for (Fd* end : {&ends.request, &ends.answer, &ends.in, &ends.out, &ends.err})
    descriptors.push_back(std::move(*end));
  send(message, std::move(descriptors));
}

void Connection::ended(std::uint64_t id, JailLease::Closing closing) {
  leases_.erase(id);
  daemon::FromDaemon message = encode(closing.result, id, closing.work_device);
  std::vector<Fd> descriptors;
  if (closing.files.valid()) descriptors.push_back(std::move(closing.files));
  send(message, std::move(descriptors));
}

// --- the rest -----------------------------------------------------------------------------------

void Connection::kill(const daemon::Kill& request) {
  const auto found = leases_.find(request.lease());
  if (found == leases_.end()) return;  // it has ended meanwhile
  if (request.output_exceeded() == "stdout" || request.output_exceeded() == "stderr") {
    found->second->output_exceeded(request.output_exceeded());
  } else {
    const std::string why = request.cancelled().substr(0, 200);
    found->second->cancel(why.empty() ? "asked to" : why);
  }
}

void Connection::kill_any(const daemon::KillJail& request) {
  const std::shared_ptr<JailLease> lease = server_.find(request.lease());
  if (!lease || (peer_.uid != 0 && lease->terms().owner.uid != peer_.uid)) {
    return refuse(request.request(),
                  {0, std::string(refusal::kNoSuchJail),
                   "you have no jail with lease " + std::to_string(request.lease()),
                   "`jailrun ps` lists them"});
  }
  lease->cancel("killed by uid " + std::to_string(peer_.uid));
  daemon::FromDaemon reply;
  reply.mutable_done()->set_request(request.request());
  send(reply);
}

void Connection::list(std::uint64_t request) {
  daemon::FromDaemon reply;
  reply.mutable_ps()->set_request(request);
  server_.list(peer_, *reply.mutable_ps());
  send(reply);
}

void Connection::refuse(std::uint64_t request, const Refusal& refusal, const std::string& policy) {
  server_.count_refusal(policy, refusal.name);
  daemon::FromDaemon message = encode(refusal, request);
  send(message);
}

// --- writing ------------------------------------------------------------------------------------

void Connection::send(daemon::FromDaemon& message, std::vector<Fd> descriptors) {
  if (closed_) return;
  message.set_descriptors(static_cast<std::uint32_t>(descriptors.size()));
  outbox_.push_back({wire::framed(message.SerializeAsString()), std::move(descriptors)});
  if (!writing_) flush();
  if (outbox_.size() > kMostUnsent) close();
}

void Connection::flush() {
  while (!outbox_.empty()) {
    const Expected<bool> sent = wire::send(socket_.get(), outbox_.front(), MSG_DONTWAIT);
    if (!sent) return close();
    if (!*sent) break;
    outbox_.pop_front();
  }
  if (outbox_.empty() || writing_) return;
  writing_ = true;
  write_watch_ = std::make_shared<Watch>(server_.io(), socket_.get());
  asio::co_spawn(server_.io(), write_rest(shared_from_this()), asio::detached);
}

Task Connection::write_rest([[maybe_unused]] std::shared_ptr<Connection> self) {
  const std::shared_ptr<Watch> watch = write_watch_;
  while (!closed_ && !outbox_.empty()) {
    const bool writable = co_await watch->writable();
    if (!writable || closed_) break;
    flush();
  }
  writing_ = false;
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  watch_->cancel();
  if (write_watch_) write_watch_->cancel();
  for (const auto& [ticket, pending] : pending_) pending.pool->forget(ticket);
  pending_.clear();
  for (const auto& [id, lease] : leases_) lease->cancel("its client is gone");
  leases_.clear();
  server_.sessions().detach_all(this);
  outbox_.clear();
  socket_.reset();
  server_.hold_unclaimed(peer_.uid, std::exchange(unclaimed_, 0), 0);
  reader_ = {};
  server_.remove(*this);
}

}  // namespace jailrun
