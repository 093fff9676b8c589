// The half of Connection that is about sessions.
#include "jail/daemon/connection.h"
#include "jail/daemon/server.h"
#include "jail/run/frames.h"

#include <algorithm>
#include <array>

namespace jailrun {
namespace {

Refusal is_busy() {
  return {0, std::string(refusal::kSessionBusy), "another client executes in this session",
          "wait for it, or interrupt it"};
}

}  // namespace

std::string session_hello() {
  const std::uint32_t hello[2] = {kSessionMagic, 0};
  return {reinterpret_cast<const char*>(hello), sizeof hello};
}

Refusal label_too_long() {
  return {0, std::string(refusal::kBadValue), "a label of more than 512 bytes",
          "give it a shorter one"};
}

Refusal too_many_sessions() {
  return {0, std::string(refusal::kTooManySessions), "you have too many sessions",
          "close some: `jailrun session ls` shows them"};
}

void Connection::begin_session(const Pending& pending, const std::shared_ptr<JailLease>& lease,
                               std::vector<std::string> warnings) {
  daemon::Lease again = pending.request;
  again.clear_files();
  const auto session = std::make_shared<LiveSession>(server_.io(),
                                                     LiveSession::Origin{pending.session,
                                                                         lease->terms().id,
                                                                         {},
                                                                         std::move(again),
                                                                         pending.owner,
                                                                         pending.limits.wall_ns},
                                                     lease);
  Expected<WarmJail::Ends> ends = lease->copy_ends();
  if (!ends) {
    session->close("no descriptors");
    return refuse(pending.request.request(), refusal_from(refusal::kBuildFailed, ends.error()));
  }
  server_.sessions().add(session);
  attach(*session);
  lease->start([session, &server = server_](std::uint64_t id, JailLease::Closing closing) {
    server.note_end(id, closing.result);
    server.sessions().remove(*session);
    server.sessions().end_branches(*session, closing.result);
    session->ended(id, std::move(closing));
  });
  send_leased(pending, lease->terms().id, lease->parked(), std::move(warnings), std::move(*ends));
}

void Connection::attach(LiveSession& session) {
  session.attach(this, [weak = weak_from_this()](std::uint64_t id, JailLease::Closing closing) {
    if (const auto self = weak.lock(); self && !self->closed_) self->ended(id, std::move(closing));
  });
}

bool Connection::session(const daemon::SessionRequest& request) {
  using Op = daemon::SessionRequest;
  if (request.op() == Op::LIST) {
    daemon::FromDaemon reply;
    reply.mutable_sessions()->set_request(request.request());
    server_.sessions().list(peer_.uid, request.session(), *reply.mutable_sessions());
    send(reply);
    return true;
  }
  const std::shared_ptr<LiveSession> session =
      server_.sessions().find(request.session(), peer_.uid);
  const bool answers = request.op() == Op::ATTACH || request.op() == Op::RESET ||
                       request.op() == Op::CLOSE || request.op() == Op::BRANCH;
  if (!session) {
    if (answers) {
      refuse(request.request(),
             {0, std::string(refusal::kNoSuchSession), "you have no such session",
              "it may have ended: `jailrun session ls` lists them"});
    }
    return true;
  }
  const bool mine = session->client() == this;
  switch (request.op()) {
    case Op::ATTACH:
      attach_session(request, *session);
      return true;
    case Op::RESET:
      reset_session(request, *session);
      return true;
    case Op::BRANCH:
      branch_session(request, *session);
      return true;
    case Op::CLOSE: {
      session->close("closed");
      daemon::FromDaemon reply;
      reply.mutable_done()->set_request(request.request());
      send(reply);
      return true;
    }
    case Op::DETACH:
      if (mine) session->detach();
      return true;
    case Op::CLOCK:
      if (mine) session->clock(request.wall_ns());
      return true;
    case Op::INTERRUPT:
      session->interrupt();
      return true;
    default:
      return false;
  }
}

void Connection::attach_session(const daemon::SessionRequest& request, LiveSession& session) {
  if (!outbox_.empty()) return close();  // each answer holds five descriptors: take them first
  if (!session.live()) {
    return refuse(request.request(), {0, std::string(refusal::kNoSuchSession),
                                      "the session is ending", "make a new one"});
  }
  if (session.client() != nullptr && session.client() != this) {
    return refuse(request.request(), is_busy());
  }
  Expected<WarmJail::Ends> ends = session.copy_ends();
  if (!ends) return refuse(request.request(), refusal_from(refusal::kBuildFailed, ends.error()));
  attach(session);
  send_session(request, session, std::move(*ends));
}

void Connection::send_session(const daemon::SessionRequest& request, const LiveSession& session,
                              WarmJail::Ends ends) {
  Pending pending;
  pending.request = session.origin().request;
  pending.request.set_request(request.request());
  pending.session = session.origin().id;
  pending.limits = session.lease().terms().limits;
  pending.limits.wall_ns = session.origin().wall_ns;
  pending.arrived_ns = monotonic_ns();
  send_leased(pending, session.origin().number, !session.is_branch() && session.lease().parked(),
              {}, std::move(ends));
}

// The guest has forked a process, and this client knows which.
void Connection::branch_session(const daemon::SessionRequest& request, LiveSession& session) {
  if (!outbox_.empty()) return close();  // as for attach_session()
  if (session.client() != this || !session.live()) return refuse(request.request(), is_busy());
  const LiveSession::Origin& origin = session.origin();
  if (!server_.sessions().admits(origin.owner.uid)) {
    return refuse(request.request(), too_many_sessions());
  }
  if (request.label().size() > kMostLabelBytes) return refuse(request.request(), label_too_long());
  std::array<int, 5> fds{-1, -1, -1, -1, -1};
  for (int i = 0; i < std::min<int>(request.ends_size(), fds.size()); ++i)
    fds[static_cast<std::size_t>(i)] = request.ends(i);
  auto branch = Branch::open(session.lease().jail().jail->cgroup(), request.pid(), fds);
  if (!branch) return refuse(request.request(), refusal_from(refusal::kBadValue, branch.error()));
  Expected<WarmJail::Ends> ends = (*branch)->ends().copy();
  if (ends) {
    const Expected<void> claimed = put_first((*branch)->ends().request.get(), session_hello());
    if (!claimed) ends = std::unexpected(claimed.error());
  }
  if (!ends) {
    (*branch)->kill(session.lease().jail().jail->cgroup());
    return refuse(request.request(), refusal_from(refusal::kBuildFailed, ends.error()));
  }
  daemon::Lease asked = origin.request;
  asked.set_label(request.label());
  const auto made = std::make_shared<LiveSession>(
      server_.io(),
      LiveSession::Origin{Sessions::new_id(), server_.next_number(), origin.id, std::move(asked),
                          origin.owner, origin.wall_ns},
      session.shared_lease(), std::move(*branch));
  server_.sessions().add(made);
  attach(*made);
  made->watch_branch(server_.io(), [made = std::weak_ptr(made), &server = server_](
                                       std::uint64_t id, JailLease::Closing closing) {
    const auto self = made.lock();
    if (!self) return;
    server.sessions().remove(*self);
    self->ended(id, std::move(closing));
  });
  send_session(request, *made, std::move(*ends));
}

void Connection::reset_session(const daemon::SessionRequest& request, LiveSession& session) {
  if (!outbox_.empty()) return close();  // each answer holds five descriptors: take them first
  if (session.client() != nullptr && session.client() != this) {
    return refuse(request.request(), is_busy());
  }
  if (session.is_branch()) {
    return refuse(request.request(), {0, std::string(refusal::kBadValue),
                                      "a branch has no beginning of its own to go back to",
                                      "close it, and branch again"});
  }
  daemon::Lease again = session.origin().request;
  again.set_request(request.request());
  const std::string id = session.origin().id;
  session.forget_client();  // the end of the old jail is nobody's news
  session.close("reset");
  lease(again, {}, id);
}

}  // namespace jailrun
