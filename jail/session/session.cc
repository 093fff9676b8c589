#include "jail/session/session.h"

#include <fcntl.h>
#include <nettle/base64.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace jailrun {
namespace {

// Executions shorter than this are none of jaild's business: their limit could not be hit.
constexpr std::int64_t kQuietNs = 20'000'000;
// An interrupt may come before the cell has begun, and is then no cell's: sent once more.
constexpr std::int64_t kEarlyNs = 200'000'000;
// Of one cell; a guest of ours stays far below, one that forges them is cut off here.
constexpr std::size_t kMostDisplays = 1000, kMostDisplayBytes = 64u << 20;
constexpr std::size_t kMostCellBody = 32u << 20;  // of a display; files and tables may be larger
constexpr std::int64_t kLostNs = 5'000'000'000;

bool has_more(const Fd& fd) {
  pollfd entry{fd.get(), POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0 && (entry.revents & POLLIN) != 0;
}

// A pipe without a reader is an error here, not the end of the program.
class NoSigpipe {
 public:
  NoSigpipe() {
    ::sigemptyset(&pipe_);
    ::sigaddset(&pipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoSigpipe() {
    const timespec now{};
    if (::sigismember(&before_, SIGPIPE) == 0) ::sigtimedwait(&pipe_, nullptr, &now);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;

 private:
  sigset_t pipe_{}, before_{};
};

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
  // What is there, but not for ever: whoever floods must not keep us here. False: there will be no
  // more.
  bool drain(const Fd& fd) {
    char buffer[65536];
    for (int i = 0; i < 64; ++i) {
      const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
      if (n > 0) {
        put({buffer, static_cast<std::size_t>(n)});
      } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        return false;
      } else if (errno == EAGAIN) {
        return true;
      }
    }
    return true;
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
      next_id_(other.next_id_),
      taken_over_(other.taken_over_) {}

Session& Session::operator=(Session&& other) noexcept {
  Session taken(std::move(other));
  std::swap(client_, taken.client_);
  std::swap(lent_, taken.lent_);
  std::swap(reader_, taken.reader_);
  std::swap(next_id_, taken.next_id_);
  std::swap(taken_over_, taken.taken_over_);
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
  Session session(client, std::get<Leased>(std::move(reply)));
  session.taken_over_ = true;
  session.reader_ = std::make_unique<AnswerReader>(true);
  return session;
}

Expected<void> Session::reset() {
  if (client_ == nullptr) return std::unexpected(lost());
  TRY(auto reply, client_->take_session(SessionOp::Reset, id()));
  if (const Refusal* no = std::get_if<Refusal>(&reply)) {
    if (no->name != refusal::kSessionBusy) client_ = nullptr;  // the old jail is gone already
    return std::unexpected(refused(*no));
  }
  take(std::get<Leased>(std::move(reply)));
  return {};
}

Expected<void> Session::close() {
  if (client_ == nullptr) return {};  // it has ended
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

Expected<Session> Session::branch(std::optional<std::uint32_t> savepoint,
                                  const std::string& label) {
  Json request = {{"op", "branch"}};
  if (savepoint) request["savepoint"] = *savepoint;
  TRY(const CellAnswer answer, ask_state(std::move(request)));
  pid_t pid = 0;
  std::vector<int> ends;
  if (const auto told = answer.head.find("branch");
      told != answer.head.end() && told->is_object()) {
    pid = static_cast<pid_t>(number_of(*told, "pid"));
    if (const auto all = told->find("ends"); all != told->end() && all->is_array())
      for (const Json& end : *all) ends.push_back(end.is_number_integer() ? end.get<int>() : -1);
  }
  TRY(auto reply, client_->take_branch(id(), pid, ends, label));
  if (const Refusal* no = std::get_if<Refusal>(&reply)) return std::unexpected(refused(*no));
  return Session(*client_, std::get<Leased>(std::move(reply)));
}

Expected<void> Session::put(const std::string& name, std::string_view content) {
  if (content.size() > kMostPut) {
    return std::unexpected(Error{Stage::None, name, EFBIG, name + " has more than 32 MiB",
                                 "give it to a new session as a file: it is not copied then"});
  }
  std::string text(BASE64_ENCODE_RAW_LENGTH(content.size()), '\0');
  base64_encode_raw(text.data(), content.size(),
                    reinterpret_cast<const std::uint8_t*>(content.data()));
  TRY_VOID(ask_state({{"op", "put"}, {"name", name}, {"content", std::move(text)}}));
  return {};
}

Expected<std::string> Session::get(const std::string& name) {
  TRY(CellAnswer answer, ask_state({{"op", "get"}, {"name", name}}));
  return std::move(answer.body);
}

Expected<std::string> Session::arrow(const std::string& name) {
  TRY(CellAnswer answer, ask_state({{"op", "arrow"}, {"name", name}}));
  return std::move(answer.body);
}

namespace {

// One request and what comes of it: one poll(2).
class Exchange {
 public:
  Exchange(Client& client, const Leased& lent, AnswerReader& reader, std::uint64_t number,
           const CellOptions& options, bool clock_at_once, std::size_t most_body)
      : client_(client),
        lent_(lent),
        reader_(reader),
        number_(number),
        most_body_(most_body),
        options_(options),
        out_{options.out, answer_.out, answer_.out_truncated, lent.output_bytes},
        err_{options.err, answer_.err, answer_.err_truncated, lent.output_bytes},
        quiet_ns_(clock_at_once ? 0 : kQuietNs) {}

  Expected<CellAnswer> run(const std::string& frame);

 private:
  enum Slot : std::size_t { Daemon, Cancel, Answer, ToGuest, Out, Err, Slots };
  bool ready(Slot slot) const { return entries_[slot].fd >= 0 && entries_[slot].revents != 0; }
  Expected<void> clock();
  Expected<void> interrupt();
  Expected<void> hear_daemon();
  void write_rest(const std::string& frame);
  void read_answers();
  int timeout() const;

  Client& client_;
  const Leased& lent_;
  AnswerReader& reader_;
  const std::uint64_t number_;
  const std::size_t most_body_;
  const CellOptions& options_;
  CellAnswer answer_;
  Sink out_, err_;
  std::array<pollfd, Slots> entries_{};
  const std::int64_t quiet_ns_, began_ns_ = monotonic_ns();
  std::int64_t silent_ns_ = 0;
  std::int64_t interrupted_ns_ = 0;
  std::size_t written_ = 0;
  bool clocked_ = false, repeated_ = false, answered_ = false;
  bool silent_ = false, out_ended_ = false, err_ended_ = false;
};

Expected<void> Exchange::clock() {
  if (clocked_ || monotonic_ns() - began_ns_ < quiet_ns_) return {};
  clocked_ = true;
  return client_.tell(SessionOp::Clock, lent_.session, answer_.wall_ns);
}

Expected<void> Exchange::interrupt() {
  const std::int64_t now = monotonic_ns();
  const bool again = interrupted_ns_ != 0 && !repeated_ && interrupted_ns_ - began_ns_ < kEarlyNs &&
                     now - interrupted_ns_ > kEarlyNs;
  if (!ready(Cancel) && !again) return {};
  repeated_ = interrupted_ns_ != 0;
  interrupted_ns_ = now;
  return client_.tell(SessionOp::Interrupt, lent_.session);
}

int Exchange::timeout() const {
  constexpr std::int64_t kMillisecond = 1'000'000;
  if (interrupted_ns_ != 0 && !repeated_) return static_cast<int>(kEarlyNs / kMillisecond) + 1;
  if (silent_) return 100;
  if (clocked_) return -1;
  const std::int64_t left = began_ns_ + quiet_ns_ - monotonic_ns();
  return static_cast<int>(std::max<std::int64_t>(left, 0) / kMillisecond) + 1;
}

void Exchange::write_rest(const std::string& frame) {
  const NoSigpipe quiet;
  while (written_ < frame.size()) {
    const ssize_t n =
        ::write(lent_.to_request.get(), frame.data() + written_, frame.size() - written_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    // Where its reader is gone, Ended says so.
    written_ = n < 0 ? frame.size() : written_ + static_cast<std::size_t>(n);
  }
}

void Exchange::read_answers() {
  char buffer[65536];
  const ssize_t n = ::read(lent_.from_answer.get(), buffer, sizeof buffer);
  if (n > 0) reader_.put({buffer, static_cast<std::size_t>(n)});
  if (n == 0) {
    silent_ = true;
    silent_ns_ = monotonic_ns();
  }
  while (std::optional<SessionFrame> got = reader_.next(most_body_)) {
    if (number_of(got->head, "id") != number_) continue;  // of whoever had the session before
    if (text_of(got->head, "kind") == "answer") {
      answer_.head = std::move(got->head);
      answer_.body = std::move(got->body);
      answered_ = true;
      return;
    }
    const std::size_t bytes = got->body.size() + 16 * got->head_bytes;  // parsed, it takes more
    if (answer_.displays_seen >= kMostDisplays ||
        answer_.display_bytes + bytes > kMostDisplayBytes) {
      ++answer_.displays_dropped;
      continue;
    }
    ++answer_.displays_seen;
    answer_.display_bytes += bytes;
    if (options_.display) {
      options_.display(*got);
    } else {
      answer_.displays.push_back(std::move(*got));
    }
  }
}

Expected<void> Exchange::hear_daemon() {
  // Always: what came while something else was waited for wakes no poll.
  for (;;) {
    TRY(std::optional<Message> message, client_.receive(false));
    if (!message) break;
    LeaseEnded* ended = std::get_if<LeaseEnded>(&*message);
    if (ended == nullptr || ended->id != lent_.id) continue;
    answer_.ended = std::move(*ended);
    // What it wrote before it died is still there.
    while (!silent_ && !answered_ && has_more(lent_.from_answer)) read_answers();
    return {};
  }
  // Its end was told to somebody else: one more session of this connection.
  if (silent_ && monotonic_ns() - silent_ns_ > kLostNs) return std::unexpected(lost());
  return {};
}

Expected<CellAnswer> Exchange::run(const std::string& frame) {
  answer_.wall_ns =
      options_.wall_ns == 0 ? lent_.wall_ns : std::min(options_.wall_ns, lent_.wall_ns);
  write_rest(frame);
  while (!answered_ && !answer_.ended) {
    TRY_VOID(clock());
    entries_[Daemon] = {client_.fd(), POLLIN, 0};
    entries_[Cancel] = {interrupted_ns_ != 0 ? -1 : options_.cancel, POLLIN, 0};
    entries_[Answer] = {silent_ ? -1 : lent_.from_answer.get(), POLLIN, 0};
    entries_[ToGuest] = {written_ < frame.size() ? lent_.to_request.get() : -1, POLLOUT, 0};
    entries_[Out] = {out_ended_ ? -1 : lent_.out.get(), POLLIN, 0};
    entries_[Err] = {err_ended_ ? -1 : lent_.err.get(), POLLIN, 0};
    if (::poll(entries_.data(), entries_.size(), timeout()) < 0) continue;
    if (ready(ToGuest)) write_rest(frame);
    if (ready(Out)) out_ended_ = !out_.drain(lent_.out);
    if (ready(Err)) err_ended_ = !err_.drain(lent_.err);
    if (ready(Answer)) read_answers();
    TRY_VOID(interrupt());
    TRY_VOID(hear_daemon());
  }
  answer_.wall_hit = interrupted_ns_ == 0 &&
                     static_cast<std::uint64_t>(monotonic_ns() - began_ns_) >= answer_.wall_ns;
  // It was written before the answer was.
  if (!out_ended_) (void)out_.drain(lent_.out);
  if (!err_ended_) (void)err_.drain(lent_.err);
  if (clocked_ && !answer_.ended) TRY_VOID(client_.tell(SessionOp::Clock, lent_.session, 0));
  return std::move(answer_);
}

}  // namespace

Expected<CellAnswer> Session::ask(Json request, const CellOptions& options) {
  if (client_ == nullptr) return std::unexpected(lost());
  request["id"] = ++next_id_;
  // Whoever was here before may have left something running: jaild shall know that we have come.
  Exchange exchange(*client_, lent_, *reader_, next_id_, options, std::exchange(taken_over_, false),
                    text_of(request, "op") == "execute" ? kMostCellBody : kMaxBodyBytes);
  Expected<CellAnswer> ran = exchange.run(encode_session_request(request));
  if (!ran) {
    ran.error().message = "what was executed is interrupted: " + ran.error().message;
    return std::unexpected(std::move(ran.error()));
  }
  CellAnswer answer = std::move(*ran);
  if (answer.ended) client_ = nullptr;
  return answer;
}

}  // namespace jailrun
