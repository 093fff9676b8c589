// LiveSession: a leased jail that outlives the connection that asked for it, or a branch of one: a
// process in such a jail, which ends with it. Sessions: all of them.
//
// Whoever has attached a session talks to its interpreter on descriptors of his own; jaild keeps
// the ends, reads none of them, and keeps the clocks: of one execution (interrupt, then the end of
// the process that executes, then the end of the jail), and of idleness.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "jail/daemon/jaild.pb.h"
#include "jail/daemon/lease.h"
#include "jail/pool/branch.h"

namespace jailrun {

// No session lasts longer.
inline constexpr std::uint64_t kSessionNs = 12ull * 3600 * 1'000'000'000;

class LiveSession : public std::enable_shared_from_this<LiveSession> {
 public:
  // How it came to be: for a reset.
  struct Origin {
    std::string id;
    std::uint64_t number;   // of its lease; a branch has one of its own
    std::string branch_of;  // the id of another session, or empty
    daemon::Lease request;
    Owner owner;
    std::uint64_t wall_ns;  // of one execution, by its policy
  };

  LiveSession(asio::io_context& io, Origin origin, std::shared_ptr<JailLease> lease,
              std::unique_ptr<Branch> branch = nullptr);

  const Origin& origin() const { return origin_; }
  JailLease& lease() const { return *lease_; }
  const std::shared_ptr<JailLease>& shared_lease() const { return lease_; }
  bool is_branch() const { return branch_ != nullptr; }
  bool live() const { return lease_->live() && !branch_ended_; }
  Expected<WarmJail::Ends> copy_ends() const;
  // Of a branch: calls `done` when its process has ended, unless its jail does so before.
  void watch_branch(asio::io_context& io, JailLease::Done done);
  // Null where nobody is attached. Compared, never used.
  const void* client() const { return client_; }
  // `ended` is called should the jail end while this client is attached.
  void attach(const void* client, JailLease::Done ended);
  // What is executed is interrupted: nobody waits for it any more.
  void detach();
  void clock(std::uint64_t wall_ns);
  void interrupt();
  // Its client is not to hear of its end.
  void forget_client();
  void ended(std::uint64_t id, JailLease::Closing closing);
  // From here on nobody finds it; its jail is about to go.
  void close(const std::string& why);
  bool closed() const { return closed_ || (is_branch() && lease_->ending()); }
  std::int64_t idle_since_ns() const { return client_ != nullptr ? INT64_MAX : used_ns_; }
  void describe(daemon::SessionEntry& entry) const;

 private:
  bool has_answered() const;
  void signal(int number);
  void blame_wall(std::uint64_t wall_ns);
  void end_process();
  Task await_branch(std::shared_ptr<LiveSession> self, std::shared_ptr<Watch> watch);
  Result result_of_branch() const;
  void arm(std::int64_t ns);
  void strike();

  const Origin origin_;
  const std::shared_ptr<JailLease> lease_;
  const std::unique_ptr<Branch> branch_;
  std::shared_ptr<Watch> branch_watch_;
  JailLease::Done branch_done_;
  bool branch_ended_ = false;
  std::uint64_t blamed_wall_ns_ = 0;
  asio::steady_timer timer_;
  const void* client_ = nullptr;
  JailLease::Done ended_;
  std::uint64_t wall_ns_ = 0;  // of the execution that goes on
  int strikes_ = 0;
  bool closed_ = false;
  bool orphaned_ = false;  // whoever began what is executed is gone, and sends no end of it
  std::int64_t begun_ns_, used_ns_;
};

class Sessions {
 public:
  explicit Sessions(std::size_t most_of_user) : most_of_user_(most_of_user) {}

  static std::string new_id();  // 128 random bits in hex
  // A session may be begun for this user.
  bool admits(std::uint32_t uid) const;
  std::size_t size() const { return sessions_.size(); }
  void add(const std::shared_ptr<LiveSession>& session);
  void remove(const LiveSession& session);
  // The jail of `session` has: so have all branches in it.
  void end_branches(const LiveSession& session, const Result& result);
  // Nothing where there is none of this id that `uid` may know.
  std::shared_ptr<LiveSession> find(const std::string& id, std::uint32_t uid) const;
  void detach_all(const void* client);
  void close_idle(std::int64_t idle_ns, std::int64_t now);
  // Those with ids after `after`, as many as one frame takes.
  void list(std::uint32_t uid, const std::string& after, daemon::SessionList& into) const;

 private:
  bool has_branches(const LiveSession& session) const;

  const std::size_t most_of_user_;
  std::map<std::string, std::shared_ptr<LiveSession>> sessions_;
};

}  // namespace jailrun
