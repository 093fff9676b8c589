// A guest's three streams at their other end: what it prints is passed on or captured, counted and
// bounded; what it reads is fed to it. Waits for nothing by itself: the caller's poll(2) does.
#pragma once

#include <poll.h>

#include <array>
#include <cstdint>
#include <string>

#include "jail/sys/fd.h"

namespace jailrun {

// One of the guest's output streams and where it goes: captured, or passed on to a descriptor of
// ours.
struct OutputStream {
  explicit OutputStream(const char* stream) : name(stream) {}
  const char* name;        // "stdout"
  int forward = -1;        // -1: capture
  std::string captured;    // or, when forwarding, what waits to be passed on
  std::uint64_t seen = 0;  // bytes
  bool truncated = false;
};

// Our ends of the guest's pipes. Each is closed when its stream has ended.
struct StreamPipes {
  Fd& in;
  Fd& out;
  Fd& err;
};

class Streams {
 public:
  static constexpr std::size_t kSlots = 6;

  // `limit` bytes of each output stream are taken. The pipes become non-blocking.
  Streams(OutputStream& out, OutputStream& err, int stdin_source, StreamPipes pipes,
          std::uint64_t limit);

  // Fills kSlots entries for poll(2). With `gone` every process of the guest has ended: an empty
  // pipe is then at its end.
  void prepare(pollfd* entries, bool gone);
  // Does what the entries, back from poll(2), allow.
  void handle(const pollfd* entries);
  // What waits must be read without waiting for more.
  bool drains() const { return drains_out_ || drains_err_; }
  // Everything that the guest wrote has been passed on.
  bool flushed() const;
  // A slow reader is waited for no longer.
  void give_up();

  // Why the guest should be killed, or empty: the reader of a stream is gone, …
  const std::string& cancelled() const { return cancelled_; }
  // … or a stream is longer than the limit: its name, or empty.
  const std::string& exceeded() const { return exceeded_; }

 private:
  enum Slot : std::size_t { OutPipe, ErrPipe, OutForward, ErrForward, StdinSource, StdinPipe };

  void read_stream(Fd& pipe, OutputStream& stream);
  void write_stream(OutputStream& stream);
  void forward(const pollfd& entry, OutputStream& stream);
  void feed_stdin(const pollfd& source, const pollfd& pipe);
  void cancel(std::string why);

  OutputStream& out_;
  OutputStream& err_;
  const int stdin_source_;
  StreamPipes pipes_;
  const std::uint64_t limit_;
  std::string to_stdin_, cancelled_, exceeded_;
  bool source_ended_ = false, gone_ = false, drains_out_ = false, drains_err_ = false;
};

}  // namespace jailrun
