// The half of Connection that is about sessions.
#include "jail/daemon/connection.h"
#include "jail/daemon/server.h"

namespace jailrun {

void Connection::begin_session(const Pending& pending, const std::shared_ptr<JailLease>& lease,
                               std::vector<std::string> warnings) {
  daemon::Lease again = pending.request;
  again.clear_files();
  const auto session = std::make_shared<LiveSession>(
      server_.io(),
      LiveSession::Origin{pending.session, std::move(again), pending.owner, pending.limits.wall_ns},
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
    server_.sessions().list(peer_.uid, *reply.mutable_sessions());
    send(reply);
    return true;
  }
  const std::shared_ptr<LiveSession> session =
      server_.sessions().find(request.session(), peer_.uid);
  const bool answers =
      request.op() == Op::ATTACH || request.op() == Op::RESET || request.op() == Op::CLOSE;
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
  if (!session.lease().live()) {
    return refuse(request.request(), {0, std::string(refusal::kNoSuchSession),
                                      "the session is ending", "make a new one"});
  }
  if (session.client() != nullptr && session.client() != this) {
    return refuse(request.request(),
                  {0, std::string(refusal::kSessionBusy), "another client executes in this session",
                   "wait for it, or interrupt it"});
  }
  Expected<WarmJail::Ends> ends = session.lease().copy_ends();
  if (!ends) return refuse(request.request(), refusal_from(refusal::kBuildFailed, ends.error()));
  attach(session);
  Pending pending;
  pending.request = session.origin().request;
  pending.request.set_request(request.request());
  pending.session = session.origin().id;
  pending.limits = session.lease().terms().limits;
  pending.limits.wall_ns = session.origin().wall_ns;
  pending.arrived_ns = monotonic_ns();
  send_leased(pending, session.lease().terms().id, session.lease().parked(), {}, std::move(*ends));
}

void Connection::reset_session(const daemon::SessionRequest& request, LiveSession& session) {
  if (!outbox_.empty()) return close();  // each answer holds five descriptors: take them first
  if (session.client() != nullptr && session.client() != this) {
    return refuse(request.request(),
                  {0, std::string(refusal::kSessionBusy), "another client executes in this session",
                   "wait for it, or interrupt it"});
  }
  daemon::Lease again = session.origin().request;
  again.set_request(request.request());
  const std::string id = session.origin().id;
  session.forget_client();  // the end of the old jail is nobody's news
  session.close("reset");
  lease(again, {}, id);
}

}  // namespace jailrun
