// Client: how a program leases jails from jaild. Blocking, with a descriptor for those who poll.
//
//     auto client = Client::connect();
//     auto reply = client->lease({.policy = "python"});      // Lease, or Refusal by name
//     write(lease.request …encode({argv, script})…);         // straight to the jail
//     read(lease.answer …parse_answer()…);                   // provisional: the guest's word
//     auto result = client->wait_ended(lease.id);            // the kernel's account
//
// One thread at a time. Ending the connection ends the jails that were leased over it.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "jail/daemon/refusal.h"
#include "jail/daemon/wire.h"
#include "jail/run/result.h"

namespace jailrun {

struct LeaseRequest {
  std::string policy = "python";
  std::vector<std::string> overrides{};  // "limits.wall=5s"
  std::string owner{};                   // believed from trusted peers only
  struct File {
    std::string name;  // below /data
    int fd;            // opened for reading by the caller, who keeps it
  };
  std::vector<File> files{};
  std::uint64_t queue_ns = 10'000'000'000;
  bool wants_files = false;
  bool session = false;  // Leased::session names it; it stays when the connection ends
  std::vector<std::string> packages{};  // by name, for /packages
  // Of a session: its creator's own word for it, at most 512 bytes of UTF-8. Client::sessions()
  // gives it back, so that whoever has to be started again finds what was his.
  std::string label{};
  // What jaild puts into the request pipe before it answers; of at most kMaxFirstBytes. Longer ones
  // are written by the client, to Leased::to_request.
  // Not for sessions.
  std::string_view first{};
  static constexpr std::size_t kMaxFirstBytes = wire::kMaxFirstBytes;
};

struct Leased {
  std::uint64_t request = 0, id = 0;
  std::string start;  // "parked" or "forked"
  std::vector<TimelineEntry> timeline;
  std::uint64_t queued_ns = 0, wall_ns = 0, output_bytes = 0, collect_bytes = 0;
  std::uint32_t collect_files = 0;
  std::vector<std::string> warnings;
  Fd to_request, from_answer, in, out, err;
  std::string session;
};

struct SessionInfo {
  std::string session, policy, owner, state;
  std::string origin;  // of a branch: the session that it is a branch of
  std::string label;
  std::uint32_t uid = 0;
  std::uint64_t age_ns = 0, idle_ns = 0, memory_bytes = 0;
};
struct SessionInfos {
  std::vector<SessionInfo> sessions;
  bool more = false;
};

enum class SessionOp : std::uint32_t {
  Attach,
  Detach,
  Clock,
  Interrupt,
  Reset,
  Close,
  List,
  Branch
};

struct LeaseEnded {
  std::uint64_t id = 0;
  Result result;  // without start, streams and files
  Fd files;       // for receive_files(), where files were wanted and there are some
  std::uint64_t work_device = 0;
};

struct JailInfo {
  std::uint64_t lease = 0;
  std::string policy, state, owner;
  std::uint32_t uid = 0, host_uid = 0;
  std::int32_t pid = 0;
  std::uint64_t age_ns = 0, leased_ns = 0, memory_bytes = 0;
};
struct JailList {
  std::vector<JailInfo> jails;
  std::uint64_t more = 0;
};

struct Metric {
  std::string name, policy, kind;
  double value = 0;
  std::string text;
};
using Metrics = std::vector<Metric>;

struct RequestDone {
  std::uint64_t request = 0;
};

using Message =
    std::variant<Leased, Refusal, LeaseEnded, JailList, Metrics, RequestDone, SessionInfos>;

class Client {
 public:
  static Expected<Client> connect(const std::string& path = wire::socket_path());

  int fd() const { return socket_.get(); }  // readable: call receive()

  // --- without waiting for the answer ---------------------------------------------------------
  Expected<std::uint64_t> ask(const LeaseRequest& request);  // the number that the answer bears
  Expected<void> cancel(std::uint64_t lease, const std::string& why);
  Expected<void> output_exceeded(std::uint64_t lease, const std::string& stream);
  // Of a session that exists: Detach, Clock, Interrupt, which have no answer.
  Expected<void> tell(SessionOp op, const std::string& session, std::uint64_t wall_ns = 0);
  // The next message; nothing where none is there and `wait` is false. Error: jaild is gone.
  Expected<std::optional<Message>> receive(bool wait);

  // --- waiting --------------------------------------------------------------------------------
  Expected<std::variant<Leased, Refusal>> lease(const LeaseRequest& request);
  Expected<LeaseEnded> wait_ended(std::uint64_t lease);
  Expected<JailList> ps();
  Expected<Metrics> stats();
  Expected<std::optional<Refusal>> kill_jail(std::uint64_t lease);
  // Attach or Reset.
  Expected<std::variant<Leased, Refusal>> take_session(SessionOp op, const std::string& session);
  // The process that the guest of `session`, which is attached, has forked; frames.h.
  Expected<std::variant<Leased, Refusal>> take_branch(const std::string& session, pid_t pid,
                                                      const std::vector<int>& ends,
                                                      const std::string& label = {});
  Expected<std::optional<Refusal>> close_session(const std::string& session);
  Expected<std::vector<SessionInfo>> sessions();

 private:
  explicit Client(Fd socket) : socket_(std::move(socket)) {}
  Expected<void> send(const std::string& message, std::vector<Fd> descriptors);
  std::string ask_session(SessionOp op, const std::string& session, std::uint64_t wall_ns,
                          std::uint64_t number);
  Expected<std::variant<Leased, Refusal>> wait_leased(std::uint64_t number);
  Expected<std::optional<Refusal>> wait_done(std::uint64_t number);
  Expected<std::optional<Message>> decode(std::string_view frame);
  // The first message that `wanted` accepts; what comes before it is kept for later.
  template <typename Wanted>
  Expected<Message> wait_for(Wanted wanted);

  Fd socket_;
  wire::Reader reader_;
  std::deque<Message> early_;
  std::uint64_t next_request_ = 1;
};

}  // namespace jailrun
