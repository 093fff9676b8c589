// Session: a live interpreter in a jail, as a program uses it.
//
//     auto client = Client::connect();
//     auto session = Session::create(*client);
//     auto answer = session->execute("x = 1\nx + 1");      // answer->head["outcome"] == "ok"
//     auto state = session->savepoint();
//     session->rollback(*state);
//     session->close();
//
// One thread at a time, one session executing per Client. A Session that is destroyed lets go of
// its jail, which waits for whoever attaches it next; close() ends it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jail/daemon/client.h"
#include "jail/session/frames.h"

namespace jailrun {

struct CellOptions {
  bool transactional = false;  // keep the effects only if the cell succeeded
  std::uint64_t wall_ns = 0;   // at most the policy's, which 0 means
  // Each as it comes. Output beyond the policy's limit is read, counted and dropped.
  std::function<void(std::string_view)> out{}, err{};
  std::function<void(const SessionFrame&)> display{};
  int cancel = -1;  // readable: interrupt what is executed. Read by the caller's own code
};

struct CellAnswer {
  // {"outcome": "ok" | "error" | "interrupted" | "exit" | "died" | "refused", …}: the guest's word.
  // Empty where the jail has ended meanwhile: then `ended` says how.
  Json head;
  std::string body;
  std::vector<SessionFrame> displays;  // unless CellOptions::display has them
  std::size_t displays_seen = 0, display_bytes = 0, displays_dropped = 0;
  std::string out, err;
  std::uint64_t wall_ns = 0;  // its limit
  bool wall_hit = false;      // it took that long, and its user did not interrupt it
  bool out_truncated = false, err_truncated = false;
  std::optional<LeaseEnded> ended;

  bool ok() const { return text_of(head, "outcome") == "ok"; }
};

class Session {
 public:
  // Refusals are errors here: their line() is the message.
  static Expected<Session> create(Client& client, LeaseRequest request = {});
  static Expected<Session> attach(Client& client, const std::string& id);
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  ~Session();

  const std::string& id() const { return lent_.session; }
  // How its jail was had: "parked" or "forked".
  const std::string& start() const { return lent_.start; }
  Expected<CellAnswer> execute(const std::string& code, const CellOptions& options = {});
  Expected<std::uint32_t> savepoint();
  Expected<void> rollback(std::uint32_t savepoint);
  Expected<void> drop(std::uint32_t savepoint);
  // A second session from the same state, or from a saved one: with a process, streams, a wall
  // limit and a directory of its own (a copy of /work, which is its current one), in the same jail,
  // whose other limits, rights and files both have in common. It ends with the session that it came
  // from.
  // `label`: as LeaseRequest's.
  Expected<Session> branch(std::optional<std::uint32_t> savepoint = {},
                           const std::string& label = {});
  // A file in /work, by its name below it. At most kMostPut bytes in, 200 MiB out.
  static constexpr std::size_t kMostPut = 32u << 20;
  Expected<void> put(const std::string& name, std::string_view content);
  Expected<std::string> get(const std::string& name);
  // A variable as Arrow IPC stream.
  Expected<std::string> arrow(const std::string& name);
  // All else is gone; the name stays.
  Expected<void> reset();
  Expected<void> close();

 private:
  Session(Client& client, Leased lent);
  void take(Leased lent);
  Expected<CellAnswer> ask(Json request, const CellOptions& options);
  Expected<CellAnswer> ask_state(Json request);

  Client* client_;
  Leased lent_;
  std::unique_ptr<AnswerReader> reader_;
  std::uint64_t next_id_ = 0;
  bool taken_over_ = false;
};

}  // namespace jailrun
