// Connection: one client. Its requests are checked here; ending it ends its jails.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "jail/daemon/asio.h"
#include "jail/daemon/jaild.pb.h"
#include "jail/daemon/session.h"
#include "jail/daemon/wire.h"

namespace jailrun {

class Server;

// In the request pipe it says that a session begins.
std::string session_hello();
Refusal too_many_sessions();
inline constexpr std::size_t kMostLabelBytes = 512;
Refusal label_too_long();

// Who is at the other end, as the kernel says (SO_PEERCRED).
struct Peer {
  std::uint32_t uid = 0, gid = 0;
  std::int32_t pid = 0;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, Fd socket, Peer peer);

  Task run(std::shared_ptr<Connection> self);
  void close();
  const Peer& peer() const { return peer_; }

 private:
  struct Pending {
    daemon::Lease request;
    std::vector<InputFile> files;
    std::vector<Input> packages;
    Owner owner;
    LeaseLimits limits;
    bool narrowed = false;
    std::int64_t arrived_ns = 0;
    std::shared_ptr<JailPool> pool;
    std::string session;  // its name, where it shall be one
  };

  // False: the peer does not keep to the protocol.
  bool read_frames();
  bool account_unclaimed();
  bool handle(const daemon::ToDaemon& message, std::vector<Fd> descriptors);
  // `session`: the name of one that is made anew.
  void lease(const daemon::Lease& request, std::vector<Fd> descriptors,
             const std::string& session = {});
  std::expected<Pending, Refusal> check(const daemon::Lease& request, std::vector<Fd> descriptors);
  void granted(std::uint64_t ticket, std::expected<Loan, Refusal> loan);
  void send_leased(const Pending& pending, std::uint64_t lease, bool parked,
                   std::vector<std::string> warnings, WarmJail::Ends ends);
  void begin_session(const Pending& pending, const std::shared_ptr<JailLease>& lease,
                     std::vector<std::string> warnings);
  void session_ended(std::uint64_t id, const Result& result);
  void attach(LiveSession& session);
  bool session(const daemon::SessionRequest& request);
  void attach_session(const daemon::SessionRequest& request, LiveSession& session);
  void send_session(const daemon::SessionRequest& request, const LiveSession& session,
                    WarmJail::Ends ends);
  void branch_session(const daemon::SessionRequest& request, LiveSession& session);
  void reset_session(const daemon::SessionRequest& request, LiveSession& session);
  void ended(std::uint64_t id, JailLease::Closing closing);
  void kill(const daemon::Kill& request);
  void kill_any(const daemon::KillJail& request);
  void list(std::uint64_t request);
  void refuse(std::uint64_t request, const Refusal& refusal, const std::string& policy = {});
  void send(daemon::FromDaemon& message, std::vector<Fd> descriptors = {});
  void flush();
  Task write_rest(std::shared_ptr<Connection> self);

  Server& server_;
  Fd socket_;
  const Peer peer_;
  std::shared_ptr<Watch> watch_, write_watch_;
  wire::Reader reader_;
  std::size_t unclaimed_ = 0;  // descriptors in reader_, as the server has counted them
  std::deque<wire::Frame> outbox_;
  bool writing_ = false, closed_ = false;
  std::map<std::uint64_t, Pending> pending_;  // by ticket
  std::map<std::uint64_t, std::shared_ptr<JailLease>> leases_;
};

}  // namespace jailrun
