#include "jail/daemon/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "jail/daemon/decode.h"
#include "jail/daemon/fields.h"

namespace jailrun {
namespace {

template <typename T>
using Out = protozero::pbf_builder<T>;

Error lost() {
  return Error{Stage::None, "jaild", 0, "jaild has ended the connection",
               "see its log; `jailrun run --cold` needs no daemon"};
}

}  // namespace

Expected<Client> Client::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return std::unexpected(Error{Stage::None, path, ENAMETOOLONG,
                                 "the path of the socket is too long", "set JAILRUN_SOCKET"});
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid() ||
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return std::unexpected(sys_error(Stage::None, path, "cannot reach jaild at " + path,
                                     "start jaild, or run with --cold"));
  }
  return Client(std::move(socket));
}

Expected<void> Client::send(const std::string& message, std::vector<Fd> descriptors) {
  if (message.size() > wire::kMaxFrameBytes || descriptors.size() > wire::kMaxDescriptors) {
    return std::unexpected(Error{Stage::None, "request", E2BIG,
                                 "the request is longer than 64 KiB, or has more than 64 files",
                                 "give fewer files and overrides"});
  }
  wire::Frame frame{wire::framed(message), std::move(descriptors)};
  auto sent = wire::send(socket_.get(), frame, 0);
  // A socket that waits says EAGAIN as well, where the kernel is short of memory.
  while (sent && !*sent) {
    pollfd entry{socket_.get(), POLLOUT, 0};
    (void)::poll(&entry, 1, -1);
    sent = wire::send(socket_.get(), frame, 0);
  }
  if (sent) return {};
  // Its last word says why it does not listen.
  if (const auto last = receive(false); last && *last) {
    if (const Refusal* refusal = std::get_if<Refusal>(&**last))
      return std::unexpected(Error{Stage::None, "jaild", 0, refusal->message, refusal->remedy});
  }
  return std::unexpected(sent.error());
}

Expected<std::uint64_t> Client::ask(const LeaseRequest& request) {
  const std::uint64_t number = next_request_++;
  std::vector<Fd> descriptors;
  for (const LeaseRequest::File& file : request.files) {
    descriptors.emplace_back(::fcntl(file.fd, F_DUPFD_CLOEXEC, 3));
    if (!descriptors.back().valid()) {
      return std::unexpected(sys_error(Stage::OpenInputs, file.name, "cannot send " + file.name,
                                       "raise the limit of open files"));
    }
  }
  std::string message;
  {
    Out<fields::ToDaemon> out(message);
    out.add_uint32(fields::ToDaemon::Descriptors, static_cast<std::uint32_t>(descriptors.size()));
    Out<fields::Lease> lease(out, fields::ToDaemon::Lease);
    lease.add_uint64(fields::Lease::Request, number);
    lease.add_string(fields::Lease::Policy, request.policy);
    for (const std::string& each : request.overrides)
      lease.add_string(fields::Lease::Overrides, each);
    lease.add_string(fields::Lease::Owner, request.owner);
    for (const LeaseRequest::File& file : request.files)
      lease.add_string(fields::Lease::Files, file.name);
    lease.add_uint64(fields::Lease::QueueNs, request.queue_ns);
    lease.add_bool(fields::Lease::WantsFiles, request.wants_files);
    lease.add_bool(fields::Lease::Session, request.session);
    for (const std::string& each : request.packages)
      lease.add_string(fields::Lease::Packages, each);
    lease.add_string(fields::Lease::Label, request.label);
    if (!request.first.empty())
      lease.add_bytes(fields::Lease::First, request.first.data(), request.first.size());
  }
  TRY_VOID(send(message, std::move(descriptors)));
  return number;
}

Expected<void> Client::cancel(std::uint64_t lease, const std::string& why) {
  std::string message;
  {
    Out<fields::ToDaemon> out(message);
    Out<fields::Kill> kill(out, fields::ToDaemon::Kill);
    kill.add_uint64(fields::Kill::Lease, lease);
    kill.add_string(fields::Kill::Cancelled, why);
  }
  return send(message, {});
}

Expected<void> Client::output_exceeded(std::uint64_t lease, const std::string& stream) {
  std::string message;
  {
    Out<fields::ToDaemon> out(message);
    Out<fields::Kill> kill(out, fields::ToDaemon::Kill);
    kill.add_uint64(fields::Kill::Lease, lease);
    kill.add_string(fields::Kill::OutputExceeded, stream);
  }
  return send(message, {});
}

Expected<std::optional<Message>> Client::decode(std::string_view frame) {
  const Error unsound{Stage::None, "jaild", 0, "jaild sent what this client does not know",
                      "install both from one build"};
  std::optional<Decoded> decoded = decode_message(frame);
  if (!decoded) return std::unexpected(unsound);
  std::optional<std::vector<Fd>> descriptors = reader_.take(decoded->descriptors);
  if (!descriptors) return std::unexpected(unsound);
  if (Leased* leased = std::get_if<Leased>(&decoded->message)) {
    if (descriptors->size() != 5) return std::unexpected(unsound);
    leased->to_request = std::move((*descriptors)[0]);
    leased->from_answer = std::move((*descriptors)[1]);
    leased->in = std::move((*descriptors)[2]);
    leased->out = std::move((*descriptors)[3]);
    leased->err = std::move((*descriptors)[4]);
  } else if (LeaseEnded* ended = std::get_if<LeaseEnded>(&decoded->message)) {
    if (!descriptors->empty()) ended->files = std::move(descriptors->front());
  }
  return std::move(decoded->message);
}

Expected<std::optional<Message>> Client::receive(bool wait) {
  if (!early_.empty()) {
    Message message = std::move(early_.front());
    early_.pop_front();
    return message;
  }
  for (;;) {
    TRY(const std::optional<std::string_view> frame, reader_.next());
    if (frame) return decode(*frame);
    TRY(const wire::Reader::Got got, reader_.receive(socket_.get(), wait ? 0 : MSG_DONTWAIT));
    if (got == wire::Reader::Got::End) return std::unexpected(lost());
    if (got == wire::Reader::Got::Nothing) return std::nullopt;
  }
}

template <typename Wanted>
Expected<Message> Client::wait_for(Wanted wanted) {
  std::deque<Message> others;
  for (;;) {
    Expected<std::optional<Message>> message = receive(true);
    if (message && wanted(**message)) {
      early_.insert(early_.begin(), std::make_move_iterator(others.begin()),
                    std::make_move_iterator(others.end()));
      return std::move(**message);
    }
    if (!message) return std::unexpected(message.error());
    others.push_back(std::move(**message));
  }
}

Expected<std::variant<Leased, Refusal>> Client::lease(const LeaseRequest& request) {
  TRY(const std::uint64_t number, ask(request));
  return wait_leased(number);
}

Expected<std::variant<Leased, Refusal>> Client::wait_leased(std::uint64_t number) {
  TRY(Message message, wait_for([number](const Message& each) {
        if (const Leased* leased = std::get_if<Leased>(&each)) return leased->request == number;
        if (const Refusal* refusal = std::get_if<Refusal>(&each)) return refusal->request == number;
        return false;
      }));
  if (Refusal* refusal = std::get_if<Refusal>(&message)) return std::move(*refusal);
  return std::get<Leased>(std::move(message));
}

Expected<LeaseEnded> Client::wait_ended(std::uint64_t lease) {
  TRY(Message message, wait_for([lease](const Message& each) {
        const LeaseEnded* ended = std::get_if<LeaseEnded>(&each);
        return ended != nullptr && ended->id == lease;
      }));
  return std::get<LeaseEnded>(std::move(message));
}

namespace {

std::string query(fields::ToDaemon what, std::uint64_t number, std::optional<std::uint64_t> lease) {
  std::string message;
  {
    Out<fields::ToDaemon> out(message);
    Out<fields::Query> in(out, what);
    in.add_uint64(fields::Query::Request, number);
    if (lease) in.add_uint64(fields::Query::Lease, *lease);
  }
  return message;
}

}  // namespace

Expected<JailList> Client::ps() {
  TRY_VOID(send(query(fields::ToDaemon::Ps, next_request_++, std::nullopt), {}));
  TRY(Message message,
      wait_for([](const Message& each) { return std::holds_alternative<JailList>(each); }));
  return std::get<JailList>(std::move(message));
}

Expected<Metrics> Client::stats() {
  TRY_VOID(send(query(fields::ToDaemon::Stats, next_request_++, std::nullopt), {}));
  TRY(Message message,
      wait_for([](const Message& each) { return std::holds_alternative<Metrics>(each); }));
  return std::get<Metrics>(std::move(message));
}

Expected<std::optional<Refusal>> Client::kill_jail(std::uint64_t lease) {
  const std::uint64_t number = next_request_++;
  TRY_VOID(send(query(fields::ToDaemon::KillJail, number, lease), {}));
  return wait_done(number);
}

Expected<std::optional<Refusal>> Client::wait_done(std::uint64_t number) {
  TRY(Message message, wait_for([number](const Message& each) {
        if (const RequestDone* done = std::get_if<RequestDone>(&each))
          return done->request == number;
        const Refusal* refusal = std::get_if<Refusal>(&each);
        return refusal != nullptr && refusal->request == number;
      }));
  if (Refusal* refusal = std::get_if<Refusal>(&message)) return std::move(*refusal);
  return std::nullopt;
}

std::string Client::ask_session(SessionOp op, const std::string& session, std::uint64_t wall_ns,
                                std::uint64_t number) {
  std::string message;
  {
    Out<fields::ToDaemon> out(message);
    Out<fields::SessionRequest> in(out, fields::ToDaemon::Session);
    in.add_uint64(fields::SessionRequest::Request, number);
    in.add_string(fields::SessionRequest::Session, session);
    in.add_uint32(fields::SessionRequest::Op, static_cast<std::uint32_t>(op));
    in.add_uint64(fields::SessionRequest::WallNs, wall_ns);
  }
  return message;
}

Expected<void> Client::tell(SessionOp op, const std::string& session, std::uint64_t wall_ns) {
  return send(ask_session(op, session, wall_ns, 0), {});
}

Expected<std::variant<Leased, Refusal>> Client::take_session(SessionOp op,
                                                             const std::string& session) {
  const std::uint64_t number = next_request_++;
  TRY_VOID(send(ask_session(op, session, 0, number), {}));
  return wait_leased(number);
}

Expected<std::variant<Leased, Refusal>> Client::take_branch(const std::string& session, pid_t pid,
                                                            const std::vector<int>& ends,
                                                            const std::string& label) {
  const std::uint64_t number = next_request_++;
  std::string message;
  {
    Out<fields::ToDaemon> out(message);
    Out<fields::SessionRequest> in(out, fields::ToDaemon::Session);
    in.add_uint64(fields::SessionRequest::Request, number);
    in.add_string(fields::SessionRequest::Session, session);
    in.add_uint32(fields::SessionRequest::Op, static_cast<std::uint32_t>(SessionOp::Branch));
    in.add_int32(fields::SessionRequest::Pid, pid);
    for (const int end : ends) in.add_int32(fields::SessionRequest::Ends, end);
    in.add_string(fields::SessionRequest::Label, label);
  }
  TRY_VOID(send(message, {}));
  return wait_leased(number);
}

Expected<std::optional<Refusal>> Client::close_session(const std::string& session) {
  const std::uint64_t number = next_request_++;
  TRY_VOID(send(ask_session(SessionOp::Close, session, 0, number), {}));
  return wait_done(number);
}

Expected<std::vector<SessionInfo>> Client::sessions() {
  std::vector<SessionInfo> all;
  for (bool more = true; more;) {
    const std::string last = all.empty() ? "" : all.back().session;
    TRY_VOID(send(ask_session(SessionOp::List, last, 0, next_request_++), {}));
    TRY(Message message,
        wait_for([](const Message& each) { return std::holds_alternative<SessionInfos>(each); }));
    SessionInfos some = std::get<SessionInfos>(std::move(message));
    more = some.more && !some.sessions.empty();
    std::ranges::move(some.sessions, std::back_inserter(all));
  }
  return all;
}

}  // namespace jailrun
