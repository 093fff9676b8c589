#include "jail/run/streams.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace jailrun {
namespace {

constexpr std::size_t kChunk = 65536;
// A pipe that nobody else writes to takes this much without blocking once poll(2) says so
// (PIPE_BUF). One that is shared may block us all the same: then init's own clock still ends the
// jail.
constexpr std::size_t kSafeWrite = 4096;
// A pipe says POLLERR, a socket only POLLHUP.
constexpr short kReaderGone = POLLERR | POLLHUP;

// What waits to be passed on is passed on first: memory stays bounded by one chunk. A stream that
// is longer than the limit is read no further, but stays open: its writer blocks until it is
// killed, and does not get to tell of a broken pipe.
bool reads(const OutputStream& stream) {
  return !stream.truncated && (stream.forward < 0 || stream.captured.empty());
}

bool ready(const pollfd& entry) { return entry.fd >= 0 && entry.revents != 0; }

}  // namespace

Streams::Streams(OutputStream& out, OutputStream& err, int stdin_source, StreamPipes pipes,
                 std::uint64_t limit)
    : out_(out), err_(err), stdin_source_(stdin_source), pipes_(pipes), limit_(limit) {
  for (Fd* pipe : {&pipes_.in, &pipes_.out, &pipes_.err}) {
    if (pipe->valid()) ::fcntl(pipe->get(), F_SETFL, O_NONBLOCK);
  }
}

void Streams::cancel(std::string why) {
  if (cancelled_.empty()) cancelled_ = std::move(why);
}

void Streams::prepare(pollfd* entries, bool gone) {
  const auto watch = [&](Slot slot, int fd, short events) { entries[slot] = {fd, events, 0}; };
  gone_ = gone;
  const bool feeding = pipes_.in.valid();
  watch(OutPipe, reads(out_) ? pipes_.out.get() : -1, POLLIN);
  watch(ErrPipe, reads(err_) ? pipes_.err.get() : -1, POLLIN);
  watch(OutForward, out_.forward, out_.captured.empty() ? 0 : POLLOUT);
  watch(ErrForward, err_.forward, err_.captured.empty() ? 0 : POLLOUT);
  watch(StdinSource, feeding && !source_ended_ && to_stdin_.empty() ? stdin_source_ : -1, POLLIN);
  watch(StdinPipe, feeding ? pipes_.in.get() : -1, to_stdin_.empty() ? 0 : POLLOUT);
  // The guest is gone and this pipe is not held up by a slow reader: take what is left.
  drains_out_ = gone && entries[OutPipe].fd >= 0;
  drains_err_ = gone && entries[ErrPipe].fd >= 0;
}

void Streams::read_stream(Fd& pipe, OutputStream& stream) {
  char buffer[kChunk];
  const ssize_t n = ::read(pipe.get(), buffer, sizeof buffer);
  // With every process gone, an empty pipe is at its end: a descriptor that the guest sent to
  // itself (SCM_RIGHTS in a cycle) keeps the write end open until the kernel's collector of sockets
  // runs.
  int unread = 0;
  if (n < 0 && (errno == EINTR || (errno == EAGAIN && !gone_))) return;
  if (n < 0 && errno == EAGAIN && ::ioctl(pipe.get(), FIONREAD, &unread) == 0 && unread > 0) return;
  // What is lost is not passed over as an end.
  if (n < 0 && errno != EAGAIN)
    cancel(std::string(stream.name) + " cannot be read: " + strerrordesc_np(errno));
  if (n <= 0) {
    pipe.reset();
    return;
  }
  const std::uint64_t room = limit_ - stream.seen;
  const auto taken = std::min(static_cast<std::uint64_t>(n), room);
  stream.captured.append(buffer, taken);
  stream.seen += taken;
  if (taken == static_cast<std::uint64_t>(n)) return;
  stream.truncated = true;
  if (exceeded_.empty()) exceeded_ = stream.name;
}

void Streams::write_stream(OutputStream& stream) {
  const ssize_t n =
      ::write(stream.forward, stream.captured.data(), std::min(stream.captured.size(), kSafeWrite));
  if (n >= 0) {
    stream.captured.erase(0, static_cast<std::size_t>(n));
  } else if (errno != EINTR && errno != EAGAIN) {
    const int error = errno;
    stream.captured.clear();
    stream.forward = -1;  // from here on it is counted and thrown away
    const bool closed = error == EPIPE || error == ECONNRESET;
    cancel(std::string(stream.name) +
           (closed ? " was closed by its reader"
                   : std::string(" cannot be written: ") + strerrordesc_np(error)));
  }
}

void Streams::forward(const pollfd& entry, OutputStream& stream) {
  if (!ready(entry)) return;
  if ((entry.revents & kReaderGone) != 0 && stream.captured.empty()) {
    stream.forward = -1;
    cancel(std::string(stream.name) + " was closed by its reader");
  } else if (!stream.captured.empty()) {
    write_stream(stream);
  }
}

void Streams::feed_stdin(const pollfd& source, const pollfd& pipe) {
  if (ready(source)) {
    char buffer[kChunk];
    const ssize_t n = ::read(stdin_source_, buffer, sizeof buffer);
    if (n > 0) to_stdin_.assign(buffer, static_cast<std::size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) source_ended_ = true;
  }
  if (ready(pipe)) {
    if ((pipe.revents & POLLERR) != 0) {
      pipes_.in.reset();  // the guest has closed its end
      return;
    }
    const ssize_t n =
        ::write(pipes_.in.get(), to_stdin_.data(), std::min(to_stdin_.size(), kSafeWrite));
    if (n > 0) to_stdin_.erase(0, static_cast<std::size_t>(n));
    if (n < 0 && errno == EPIPE) pipes_.in.reset();
  }
  if (source_ended_ && to_stdin_.empty()) pipes_.in.reset();
}

void Streams::handle(const pollfd* entries) {
  forward(entries[OutForward], out_);
  forward(entries[ErrForward], err_);
  if (ready(entries[OutPipe]) || drains_out_) read_stream(pipes_.out, out_);
  if (ready(entries[ErrPipe]) || drains_err_) read_stream(pipes_.err, err_);
  feed_stdin(entries[StdinSource], entries[StdinPipe]);
}

bool Streams::flushed() const {
  const auto done = [](const OutputStream& stream, const Fd& pipe) {
    return (stream.forward < 0 || stream.captured.empty()) && (!pipe.valid() || stream.truncated);
  };
  return done(out_, pipes_.out) && done(err_, pipes_.err);
}

void Streams::give_up() {
  out_.captured.clear();
  err_.captured.clear();
}

}  // namespace jailrun
