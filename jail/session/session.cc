#include "jail/session/session.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace jailrun {
namespace {

// Executions shorter than this are none of jaild's business: their limit could not be hit.
constexpr std::int64_t kQuietNs = 20'000'000;
// An interrupt may come before the cell has begun, and is then no cell's: sent once more.
constexpr std::int64_t kEarlyNs = 200'000'000;

Error refused(const Refusal& refusal) {
  return Error{Stage::None, "jaild", 0, refusal.message + " (" + refusal.name + ")",
               refusal.remedy};
}

Error lost() {
  return Error{Stage::None, "session", 0, "the session has ended",
               "`jailrun session ls` lists those that live"};
}

// What a cell writes, as far as its policy lets it.
struct Sink {
  const std::function<void(std::string_view)>& hear;
  std::string& kept;
  bool& truncated;
  std::uint64_t left;

  void put(std::string_view bytes) {
    if (bytes.size() > left) {
      truncated = true;
      bytes = bytes.substr(0, left);
    }
    left -= bytes.size();
    if (hear) {
      hear(bytes);
    } else {
      kept += bytes;
    }
  }
  // All that is there. False: there will be no more.
  bool drain(const Fd& fd) {
    char buffer[65536];
    for (;;) {
      const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
      if (n > 0) {
        put({buffer, static_cast<std::size_t>(n)});
      } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        return false;
      } else if (errno == EAGAIN) {
        return true;
      }
    }
  }
};

}  // namespace

Session::Session(Client& client, Leased lent) : client_(&client) {
  take(std::move(lent));
  // Answers to whoever had the session before bear other numbers.
  next_id_ = static_cast<std::uint64_t>(monotonic_ns());
}

void Session::take(Leased lent) {
  lent_ = std::move(lent);
  reader_ = std::make_unique<AnswerReader>();
  for (const Fd* fd : {&lent_.to_request, &lent_.from_answer, &lent_.out, &lent_.err})
    ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
}

Session::Session(Session&& other) noexcept
    : client_(std::exchange(other.client_, nullptr)),
      lent_(std::move(other.lent_)),
      reader_(std::move(other.reader_)),
      next_id_(other.next_id_) {}

Session& Session::operator=(Session&& other) noexcept {
  Session taken(std::move(other));
  std::swap(client_, taken.client_);
  std::swap(lent_, taken.lent_);
  std::swap(reader_, taken.reader_);
  std::swap(next_id_, taken.next_id_);
  return *this;
}

Session::~Session() {
  if (client_ != nullptr && !id().empty()) (void)client_->tell(SessionOp::Detach, id());
}

Expected<Session> Session::create(Client& client, LeaseRequest request) {
  request.session = true;
  TRY(auto reply, client.lease(request));
  if (const Refusal* no = std::get_if<Refusal>(&reply)) return std::unexpected(refused(*no));
  return Session(client, std::get<Leased>(std::move(reply)));
}

Expected<Session> Session::attach(Client& client, const std::string& id) {
  TRY(auto reply, client.take_session(SessionOp::Attach, id));
  if (const Refusal* no = std::get_if<Refusal>(&reply)) return std::unexpected(refused(*no));
  return Session(client, std::get<Leased>(std::move(reply)));
}

Expected<void> Session::reset() {
  TRY(auto reply, client_->take_session(SessionOp::Reset, id()));
  if (const Refusal* no = std::get_if<Refusal>(&reply)) return std::unexpected(refused(*no));
  take(std::get<Leased>(std::move(reply)));
  return {};
}

Expected<void> Session::close() {
  TRY(const std::optional<Refusal> no, client_->close_session(id()));
  if (no) return std::unexpected(refused(*no));
  client_ = nullptr;
  return {};
}

Expected<CellAnswer> Session::execute(const std::string& code, const CellOptions& options) {
  Json request = {{"op", "execute"}, {"code", code}};
  if (options.transactional) request["transactional"] = true;
  return ask(std::move(request), options);
}

Expected<CellAnswer> Session::ask_state(Json request) {
  TRY(CellAnswer answer, ask(std::move(request), {}));
  if (answer.ended) return std::unexpected(lost());
  if (answer.ok()) return answer;
  std::string why = "the interpreter does not say why";
  if (const auto error = answer.head.find("error"); error != answer.head.end())
    if (error->is_object()) why = text_of(*error, "message");
  return std::unexpected(
      Error{Stage::None, "session", 0, why, "the session goes on as it was before"});
}

Expected<std::uint32_t> Session::savepoint() {
  TRY(const CellAnswer answer, ask_state({{"op", "savepoint"}}));
  return static_cast<std::uint32_t>(number_of(answer.head, "savepoint"));
}

Expected<void> Session::rollback(std::uint32_t savepoint) {
  TRY_VOID(ask_state({{"op", "rollback"}, {"savepoint", savepoint}}));
  return {};
}

Expected<void> Session::drop(std::uint32_t savepoint) {
  TRY_VOID(ask_state({{"op", "drop"}, {"savepoint", savepoint}}));
  return {};
}

Expected<std::string> Session::arrow(const std::string& name) {
  TRY(CellAnswer answer, ask_state({{"op", "arrow"}, {"name", name}}));
  return std::move(answer.body);
}

Expected<CellAnswer> Session::ask(Json request, const CellOptions& options) {
  if (client_ == nullptr) return std::unexpected(lost());
  CellAnswer answer;
  Sink out{options.out, answer.out, answer.out_truncated, lent_.output_bytes};
  Sink err{options.err, answer.err, answer.err_truncated, lent_.output_bytes};
  const std::uint64_t number = ++next_id_;
  request["id"] = number;
  const std::string frame = encode_session_request(request);
  std::size_t written = 0;
  const std::int64_t began = monotonic_ns();
  std::int64_t interrupted_ns = 0;
  bool clocked = false, repeated = false, answered = false, silent = false;
  const std::uint64_t wall_ns =
      options.wall_ns == 0 ? lent_.wall_ns : std::min(options.wall_ns, lent_.wall_ns);

  const auto write_rest = [&] {
    while (written < frame.size()) {
      const ssize_t n =
          ::write(lent_.to_request.get(), frame.data() + written, frame.size() - written);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno == EAGAIN;
      written += static_cast<std::size_t>(n);
    }
    return true;
  };
  write_rest();  // where its reader is gone, Ended says so
  enum Slot : std::size_t { Daemon, Cancel, Answer, ToGuest, Out, Err, Slots };
  std::array<pollfd, Slots> entries{};
  while (!answered) {
    const std::int64_t quiet_ns = began + kQuietNs - monotonic_ns();
    if (!clocked && quiet_ns <= 0) {
      clocked = true;
      TRY_VOID(client_->tell(SessionOp::Clock, id(), wall_ns));
    }
    entries[Daemon] = {client_->fd(), POLLIN, 0};
    entries[Cancel] = {interrupted_ns != 0 ? -1 : options.cancel, POLLIN, 0};
    entries[Answer] = {silent ? -1 : lent_.from_answer.get(), POLLIN, 0};
    entries[ToGuest] = {written < frame.size() ? lent_.to_request.get() : -1, POLLOUT, 0};
    entries[Out] = {lent_.out.get(), POLLIN, 0};
    entries[Err] = {lent_.err.get(), POLLIN, 0};
    const bool may_repeat = interrupted_ns != 0 && !repeated;
    const int timeout = may_repeat ? static_cast<int>(kEarlyNs / 1'000'000 + 1)
                        : clocked  ? -1
                                   : static_cast<int>(quiet_ns / 1'000'000 + 1);
    if (::poll(entries.data(), entries.size(), timeout) < 0) continue;
    if (entries[ToGuest].revents != 0 && !write_rest()) written = frame.size();
    if (entries[Out].revents != 0 && !out.drain(lent_.out)) lent_.out.reset();
    if (entries[Err].revents != 0 && !err.drain(lent_.err)) lent_.err.reset();
    const bool again = interrupted_ns != 0 && !repeated && interrupted_ns - began < kEarlyNs &&
                       monotonic_ns() - interrupted_ns > kEarlyNs;
    if (entries[Cancel].revents != 0 || again) {
      repeated = interrupted_ns != 0;
      interrupted_ns = monotonic_ns();
      TRY_VOID(client_->tell(SessionOp::Interrupt, id()));
    }
    if (entries[Answer].revents != 0) {
      char buffer[65536];
      const ssize_t n = ::read(lent_.from_answer.get(), buffer, sizeof buffer);
      if (n > 0) reader_->put({buffer, static_cast<std::size_t>(n)});
      silent = n == 0;
      while (std::optional<SessionFrame> got = reader_->next()) {
        if (number_of(got->head, "id") != number) continue;
        if (text_of(got->head, "kind") == "answer") {
          answer.head = std::move(got->head);
          answer.body = std::move(got->body);
          answered = true;
        } else if (options.display) {
          options.display(*got);
        } else if (answer.displays.size() < 1000) {
          answer.displays.push_back(std::move(*got));
        }
      }
      if (!reader_->sound()) {
        // Nothing that it says can be understood any more.
        TRY_VOID(close());
        return std::unexpected(Error{Stage::None, "session", 0,
                                     "the guest wrote rubbish into its answers: closed",
                                     "make a new session"});
      }
    }
    if (entries[Daemon].revents == 0) continue;
    TRY(std::optional<Message> message, client_->receive(false));
    if (!message) continue;
    LeaseEnded* ended = std::get_if<LeaseEnded>(&*message);
    if (ended == nullptr || ended->id != lent_.id) continue;
    answer.ended = std::move(*ended);
    client_ = nullptr;
    answered = true;
  }
  // It was written before the answer was.
  if (lent_.out.valid()) out.drain(lent_.out);
  if (lent_.err.valid()) err.drain(lent_.err);
  if (clocked && client_ != nullptr) TRY_VOID(client_->tell(SessionOp::Clock, id(), 0));
  return answer;
}

}  // namespace jailrun
