#include "tools/thin/warm.h"

#include <poll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "jail/run/collect.h"
#include "jail/run/judge.h"

namespace jailrun {
namespace {

using WarmOutcome = std::variant<WarmRun, NotWarm>;

// Set, these choose other policies or images than the daemon's.
const char* own_world() {
  for (const char* variable : {"JAILRUN_POLICY_DIR", "JAILRUN_STATE_DIR"}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return variable;
  }
  return nullptr;
}

std::optional<NotWarm> not_for_jaild(const CommandLine& line) {
  const char* variable = own_world();
  if (variable != nullptr && line.start != Start::Warm)
    return NotWarm{std::string(variable) + " is set here, jaild does not see it", "use --warm"};
  if (line.policy.find('/') != std::string::npos) {
    return NotWarm{"a policy that is given by its path is not an installed one",
                   "install it in /etc/jailrun/policies"};
  }
  return std::nullopt;
}

std::string microseconds(std::uint64_t ns) {
  std::string fraction = std::to_string(ns % 1000);
  fraction.insert(0, 3 - fraction.size(), '0');
  return std::to_string(ns / 1000) + "." + fraction + "us";
}

// From lease to Ended: one poll(2).
class Runner {
 public:
  Runner(Client& client, const CommandLine& line, const RunRequest& request)
      : client_(client), line_(line), request_(request) {}

  Expected<WarmOutcome> run();

 private:
  enum Slot : std::size_t {
    Daemon,
    Cancel,
    Answer,
    ToGuest,
    FirstStream,
    Slots = FirstStream + Streams::kSlots
  };

  Expected<std::optional<NotWarm>> lease();
  Expected<void> watch();
  Expected<void> hear(Streams& streams);
  Expected<void> take_files(LeaseEnded& ended);
  void write_request();
  void read_answer();
  std::string read_cancel();
  void finish();
  bool ready(Slot slot) const { return entries_[slot].fd >= 0 && entries_[slot].revents != 0; }

  Client& client_;
  const CommandLine& line_;
  const RunRequest& request_;
  std::array<pollfd, Slots> entries_{};
  Leased leased_;
  OutputStream out_{"stdout"}, err_{"stderr"};
  std::string frame_, answer_;
  std::string lost_;  // why a stream is not whole
  std::size_t written_ = 0;
  bool gone_ = false, killed_ = false;
  WarmRun run_;
};

std::string Runner::read_cancel() {
  signalfd_siginfo signal{};
  const ssize_t n = ::read(request_.cancel, &signal, sizeof signal);
  return n == sizeof signal ? signal_name(static_cast<int>(signal.ssi_signo)) + " received"
                            : "asked to";
}

Expected<std::optional<NotWarm>> Runner::lease() {
  LeaseRequest ask;
  ask.policy = line_.policy;
  ask.overrides = line_.sets;
  if (line_.timeout_ns != 0)
    ask.overrides.push_back("limits.wall=" + microseconds(line_.timeout_ns));
  ask.packages = line_.packages;
  ask.wants_files = request_.list_files || request_.out_dir >= 0;
  std::vector<OpenedInput> inputs;
  for (const InputSource& source : line_.files) {
    TRY(OpenedInput opened, open_source(source));
    ask.files.push_back({opened.name, opened.file.get()});
    inputs.push_back(std::move(opened));
  }
  if (frame_.size() <= LeaseRequest::kMaxFirstBytes) {
    ask.first = frame_;
    written_ = frame_.size();
  }
  run_.request_ns = monotonic_ns();
  TRY_VOID(client_.ask(ask));
  for (;;) {
    pollfd waits[2] = {{client_.fd(), POLLIN, 0}, {request_.cancel, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0) continue;
    if (waits[1].revents != 0) {
      return std::unexpected(Error{Stage::None, "jaild", 0,
                                   read_cancel() + " while waiting for a jail", "nothing has run"});
    }
    TRY(std::optional<Message> message, client_.receive(false));
    if (!message) continue;
    if (const Refusal* refusal = std::get_if<Refusal>(&*message)) {
      return NotWarm{refusal->message + " (" + refusal->name + ")", refusal->remedy,
                     refusal::cold_may_do(refusal->name)};
    }
    if (Leased* leased = std::get_if<Leased>(&*message)) {
      leased_ = std::move(*leased);
      return std::nullopt;
    }
  }
}

void Runner::write_request() {
  while (written_ < frame_.size()) {
    const ssize_t n =
        ::write(leased_.to_request.get(), frame_.data() + written_, frame_.size() - written_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) break;  // the guest is gone: Ended says how
    written_ += static_cast<std::size_t>(n);
  }
  leased_.to_request.reset();
}

// One frame and the end of file; a guest that writes more is heard no longer.
void Runner::read_answer() {
  char buffer[sizeof(AnswerFrame) + 1];
  const ssize_t n = ::read(leased_.from_answer.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n > 0) answer_.append(buffer, static_cast<std::size_t>(n));
  if (n <= 0 || answer_.size() > sizeof(AnswerFrame)) leased_.from_answer.reset();
}

Expected<void> Runner::take_files(LeaseEnded& ended) {
  if (!ended.files.valid()) return {};
  TRY(Collection collection,
      receive_files({ended.files.get(), ended.work_device, leased_.collect_files,
                     leased_.collect_bytes, request_.out_dir, request_.out_name}));
  run_.result.files = std::move(collection.files);
  run_.result.files_skipped = std::move(collection.skipped);
  return {};
}

Expected<void> Runner::hear(Streams& streams) {
  if (ready(Cancel)) {
    TRY_VOID(client_.cancel(leased_.id, read_cancel()));
    if (gone_) streams.give_up();  // only a slow reader is left
  }
  if (!ready(Daemon)) return {};
  TRY(std::optional<Message> message, client_.receive(false));
  if (!message) return {};
  LeaseEnded* ended = std::get_if<LeaseEnded>(&*message);
  if (ended == nullptr || ended->id != leased_.id) return {};
  gone_ = true;
  run_.result = std::move(ended->result);
  return take_files(*ended);
}

Expected<void> Runner::watch() {
  Streams streams(out_, err_, request_.stdin_source, {leased_.in, leased_.out, leased_.err},
                  leased_.output_bytes);
  while (!gone_ || !streams.flushed()) {
    entries_[Daemon] = {gone_ ? -1 : client_.fd(), POLLIN, 0};
    entries_[Cancel] = {request_.cancel, POLLIN, 0};
    entries_[Answer] = {gone_ ? -1 : leased_.from_answer.get(), POLLIN, 0};
    entries_[ToGuest] = {leased_.to_request.get(), POLLOUT, 0};
    streams.prepare(&entries_[FirstStream], gone_);
    if (::poll(entries_.data(), entries_.size(), streams.drains() ? 0 : -1) < 0) continue;
    if (ready(ToGuest)) write_request();
    if (ready(Answer)) read_answer();
    TRY_VOID(hear(streams));
    streams.handle(&entries_[FirstStream]);
    if (gone_) lost_ = streams.cancelled();
    if (killed_ || gone_) continue;
    if (!streams.exceeded().empty()) {
      killed_ = true;
      TRY_VOID(client_.output_exceeded(leased_.id, streams.exceeded()));
    } else if (!streams.cancelled().empty()) {
      killed_ = true;
      TRY_VOID(client_.cancel(leased_.id, streams.cancelled()));
    }
  }
  return {};
}

// What jaild knows, and what only we have seen: the streams.
void Runner::finish() {
  Result& result = run_.result;
  result.start = leased_.start;
  result.policy = line_.policy;
  result.warnings.insert(result.warnings.begin(), leased_.warnings.begin(), leased_.warnings.end());
  result.out_truncated = out_.truncated;
  result.err_truncated = err_.truncated;
  // The guest may have ended before we had read so far.
  if (out_.truncated || err_.truncated)
    judge_output(out_.truncated ? out_.name : err_.name, leased_.output_bytes, result);
  if (!lost_.empty()) judge_cancelled(lost_, result);
  if (request_.forward_out < 0) result.out = std::move(out_.captured);
  if (request_.forward_err < 0) result.err = std::move(err_.captured);
  run_.answer = parse_answer(answer_);
  run_.queued_ns = leased_.queued_ns;
}

Expected<WarmOutcome> Runner::run() {
  const auto& argv = request_.launch.argv;
  Request script{{argv.begin() + 1, argv.end()}, request_.launch.script};
  frame_ = encode(script);
  TRY(std::optional<NotWarm> refused, lease());
  if (refused) return *refused;
  ::fcntl(leased_.to_request.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(leased_.from_answer.get(), F_SETFL, O_NONBLOCK);
  write_request();
  if (request_.stdin_source < 0) leased_.in.reset();  // its stdin is empty
  out_.forward = request_.forward_out;
  err_.forward = request_.forward_err;
  TRY_VOID(watch());
  finish();
  return std::move(run_);
}

}  // namespace

std::variant<Client, NotWarm> reach_jaild(const CommandLine& line) {
  if (std::optional<NotWarm> why = not_for_jaild(line)) return *why;
  Expected<Client> client = Client::connect();
  if (client) return std::move(*client);
  Error& error = client.error();
  return NotWarm{error.message + ": " + errno_name(error.errno_value), error.remedy};
}

Expected<WarmOutcome> run_warm(Client& client, const CommandLine& line, const RunRequest& request) {
  return Runner(client, line, request).run();
}

}  // namespace jailrun
