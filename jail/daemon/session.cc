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
constexpr int kMostListed = 64;  // with labels of 512 bytes they fit in a frame

}  // namespace

LiveSession::LiveSession(asio::io_context& io, Origin origin, std::shared_ptr<JailLease> lease,
                         std::unique_ptr<Branch> branch)
    : origin_(std::move(origin)),
      lease_(std::move(lease)),
      branch_(std::move(branch)),
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
  branch_ended_ = is_branch();
  if (branch_watch_) branch_watch_->cancel();
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
  if (!live()) return false;
  int waiting = 0;
  const int fd = branch_ ? branch_->ends().answer.get() : lease_->answer_fd();
  return ::ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0;
}

void LiveSession::clock(std::uint64_t wall_ns) {
  wall_ns_ = std::min(wall_ns, origin_.wall_ns);
  strikes_ = 0;
  orphaned_ = false;
  blame_wall(0);
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
  if (!live()) return;
  if (orphaned_ && strikes_ > 0 && has_answered()) return clock(0);
  ++strikes_;
  if (strikes_ == 1) {
    interrupt();
  } else if (strikes_ == 2) {
    blame_wall(wall_ns_);
    signal(SIGUSR2);
  } else {
    end_process();
    return;
  }
  arm(kGraceNs);
}

void LiveSession::interrupt() { signal(SIGINT); }

void LiveSession::signal(int number) {
  if (!live()) return;
  if (branch_) {
    branch_->signal(number);
  } else {
    lease_->signal(number);
  }
}

void LiveSession::blame_wall(std::uint64_t wall_ns) {
  blamed_wall_ns_ = wall_ns;
  if (!branch_) lease_->blame_wall(wall_ns);
}

void LiveSession::end_process() {
  if (!live()) return;
  if (branch_) {
    branch_->kill(lease_->jail().jail->cgroup());
  } else {
    lease_->expire();
  }
}

void LiveSession::close(const std::string& why) {
  closed_ = true;
  timer_.cancel();
  if (branch_) {
    end_process();
  } else if (live()) {
    lease_->cancel(why);
  }
}

Expected<WarmJail::Ends> LiveSession::copy_ends() const {
  return branch_ ? branch_->ends().copy() : lease_->copy_ends();
}

void LiveSession::watch_branch(asio::io_context& io, JailLease::Done done) {
  branch_done_ = std::move(done);
  branch_watch_ = std::make_shared<Watch>(io, branch_->pidfd());
  asio::co_spawn(io, await_branch(shared_from_this(), branch_watch_), asio::detached);
}

Task LiveSession::await_branch([[maybe_unused]] std::shared_ptr<LiveSession> self,
                               std::shared_ptr<Watch> watch) {
  co_await watch->readable();
  if (branch_ended_) co_return;  // with its jail
  end_process();                 // what it has left
  branch_ended_ = true;
  branch_done_(origin_.number, {result_of_branch(), {}, 0});
}

// How its process ended is known to its parent in the jail alone.
Result LiveSession::result_of_branch() const {
  Result result;
  result.start = "forked";
  result.policy = origin_.request.policy();
  result.wall_ns = static_cast<std::uint64_t>(monotonic_ns() - begun_ns_);
  if (closed_) {
    result.verdict = Verdict::Cancelled;
    result.reason = "the branch was closed";
  } else if (blamed_wall_ns_ != 0) {
    result.verdict = Verdict::WallTimeout;
    result.reason = "a cell of the branch ran for longer than its limit and heeded no interrupt";
  } else {
    result.verdict = Verdict::NonzeroExit;
    result.reason =
        "the interpreter of the branch has ended; the session that it came from has not";
  }
  result.status = 1;
  return result;
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
  entry.set_origin(origin_.branch_of);
  entry.set_label(origin_.request.label());
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
    if (!session->is_branch() && has_branches(*session)) continue;  // theirs is the same jail
    spdlog::info("session of uid {}: closed, it was idle", session->origin().owner.uid);
    session->close("the session was idle for too long");
  }
}

bool Sessions::has_branches(const LiveSession& session) const {
  return std::ranges::any_of(sessions_, [&](const auto& each) {
    return each.second->is_branch() && &each.second->lease() == &session.lease();
  });
}

void Sessions::end_branches(const LiveSession& session, const Result& result) {
  for (auto each = sessions_.begin(); each != sessions_.end();) {
    const std::shared_ptr<LiveSession> branch = each->second;
    if (!branch->is_branch() || &branch->lease() != &session.lease()) {
      ++each;
      continue;
    }
    each = sessions_.erase(each);
    branch->ended(branch->origin().number, {result, {}, 0});
  }
}

void Sessions::list(std::uint32_t uid, const std::string& after, daemon::SessionList& into) const {
  for (auto each = sessions_.upper_bound(after); each != sessions_.end(); ++each) {
    const LiveSession& session = *each->second;
    if (session.closed() || (uid != 0 && session.origin().owner.uid != uid)) continue;
    if (into.sessions_size() >= kMostListed) return into.set_more(true);
    session.describe(*into.add_sessions());
  }
}

}  // namespace jailrun
