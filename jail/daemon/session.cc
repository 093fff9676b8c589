#include "jail/daemon/session.h"

#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace jailrun {
namespace {

// After an interrupt, and after the process that executes was to end.
constexpr std::int64_t kGraceNs = 2'000'000'000;
constexpr int kMostListed = 500;

}  // namespace

LiveSession::LiveSession(asio::io_context& io, Origin origin, std::shared_ptr<JailLease> lease)
    : origin_(std::move(origin)),
      lease_(std::move(lease)),
      timer_(io),
      begun_ns_(monotonic_ns()),
      used_ns_(begun_ns_) {}

void LiveSession::attach(const void* client, JailLease::Done ended) {
  if (orphaned_ && has_answered()) clock(0);  // its answer is about to be read
  client_ = client;
  ended_ = std::move(ended);
  used_ns_ = monotonic_ns();
}

void LiveSession::forget_client() {
  client_ = nullptr;
  ended_ = nullptr;
}

void LiveSession::ended(std::uint64_t id, JailLease::Closing closing) {
  timer_.cancel();
  if (ended_) std::exchange(ended_, nullptr)(id, std::move(closing));
}

void LiveSession::detach() {
  forget_client();
  used_ns_ = monotonic_ns();
  // Where nothing is executed the guest takes no notice of it.
  if (wall_ns_ == 0) return interrupt();
  orphaned_ = true;
  if (strikes_ == 0) strike();
}

// How much waits in the pipe says it; what, nobody here reads.
bool LiveSession::has_answered() const {
  int waiting = 0;
  return lease_->live() && ::ioctl(lease_->answer_fd(), FIONREAD, &waiting) == 0 && waiting > 0;
}

void LiveSession::clock(std::uint64_t wall_ns) {
  wall_ns_ = std::min(wall_ns, origin_.wall_ns);
  strikes_ = 0;
  orphaned_ = false;
  lease_->blame_wall(0);
  if (wall_ns == 0) {
    timer_.cancel();
  } else {
    arm(static_cast<std::int64_t>(wall_ns_));
  }
}

void LiveSession::arm(std::int64_t ns) {
  timer_.expires_after(nanoseconds(ns));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    if (const auto self = weak.lock(); self && !error) self->strike();
  });
}

// The root of a session that has saved states passes SIGUSR2 on, as the end of the live process; of
// any other session it is the end.
void LiveSession::strike() {
  if (!lease_->live()) return;
  if (orphaned_ && strikes_ > 0 && has_answered()) return clock(0);
  ++strikes_;
  if (strikes_ == 1) {
    interrupt();
  } else if (strikes_ == 2) {
    lease_->blame_wall(wall_ns_);
    lease_->signal(SIGUSR2);
  } else {
    lease_->expire();
    return;
  }
  arm(kGraceNs);
}

void LiveSession::interrupt() {
  if (lease_->live()) lease_->signal(SIGINT);
}

void LiveSession::close(const std::string& why) {
  closed_ = true;
  timer_.cancel();
  if (lease_->live()) lease_->cancel(why);
}

void LiveSession::describe(daemon::SessionEntry& entry) const {
  const std::int64_t now = monotonic_ns();
  entry.set_session(origin_.id);
  entry.set_policy(origin_.request.policy());
  entry.set_uid(origin_.owner.uid);
  entry.set_owner(origin_.owner.name);
  entry.set_state(client_ == nullptr ? "idle" : wall_ns_ != 0 ? "executing" : "attached");
  entry.set_age_ns(static_cast<std::uint64_t>(now - begun_ns_));
  entry.set_idle_ns(client_ == nullptr ? static_cast<std::uint64_t>(now - used_ns_) : 0);
  entry.set_memory_bytes(lease_->memory_bytes());
}

std::string Sessions::new_id() {
  unsigned char bytes[16];
  // Whoever knows it still has to be its creator. Of 16 bytes the kernel gives all or none.
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) std::abort();
  std::string id;
  for (const unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    id += digits;
  }
  return id;
}

bool Sessions::admits(std::uint32_t uid) const {
  const auto count = std::ranges::count_if(sessions_, [&](const auto& each) {
    return each.second->origin().owner.uid == uid && !each.second->closed();
  });
  return static_cast<std::size_t>(count) < most_of_user_;
}

void Sessions::add(const std::shared_ptr<LiveSession>& session) {
  sessions_[session->origin().id] = session;
}

void Sessions::remove(const LiveSession& session) {
  const auto found = sessions_.find(session.origin().id);
  if (found != sessions_.end() && found->second.get() == &session) sessions_.erase(found);
}

std::shared_ptr<LiveSession> Sessions::find(const std::string& id, std::uint32_t uid) const {
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->closed()) return nullptr;
  return uid == 0 || found->second->origin().owner.uid == uid ? found->second : nullptr;
}

void Sessions::detach_all(const void* client) {
  for (const auto& [id, session] : sessions_)
    if (session->client() == client) session->detach();
}

void Sessions::close_idle(std::int64_t idle_ns, std::int64_t now) {
  for (const auto& [id, session] : sessions_) {
    if (session->closed() || session->idle_since_ns() > now - idle_ns) continue;
    spdlog::info("session of uid {}: closed, it was idle", session->origin().owner.uid);
    session->close("the session was idle for too long");
  }
}

void Sessions::list(std::uint32_t uid, daemon::SessionList& into) const {
  for (const auto& [id, session] : sessions_) {
    if (session->closed() || (uid != 0 && session->origin().owner.uid != uid)) continue;
    if (into.sessions_size() >= kMostListed) return;
    session->describe(*into.add_sessions());
  }
}

}  // namespace jailrun
