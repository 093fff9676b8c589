// Wire: frames with descriptors on a unix stream socket, for both ends. See jaild.proto.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jail/sys/fd.h"

namespace jailrun::wire {

inline constexpr std::size_t kMaxFrameBytes = 64 << 10;
inline constexpr std::size_t kMaxFirstBytes = 32 << 10;  // of Lease.first: half a pipe
inline constexpr std::size_t kMaxDescriptors = 64;  // of one frame; the kernel's own bound is 253

// Where the socket lies unless told otherwise: $JAILRUN_SOCKET; else as the configuration file says
// (configured.h); else the one in
// $XDG_RUNTIME_DIR/jaild of a plain user that has a jaild of its own; else /run/jaild/jaild.sock.
std::string socket_path();
// Where a jaild of this user puts its own: $JAILRUN_SOCKET; else below /run, or, for a plain user,
// below $XDG_RUNTIME_DIR.
std::string own_socket_path();

// Bytes and descriptors as they arrive, cut into frames.
class Reader {
 public:
  enum class Got { Data, Nothing, End };
  // One recvmsg(2); `flags` as MSG_DONTWAIT. Errors: the connection is broken, or the peer sends
  // more descriptors than any frame may have.
  Expected<Got> receive(int socket, int flags);
  // The next whole frame, without its length; valid until the next call of anything. Error: longer
  // than any may be.
  Expected<std::optional<std::string_view>> next();
  // The first `count` descriptors that came, which belong to the frame just given.
  std::optional<std::vector<Fd>> take(std::size_t count);
  // Descriptors that no frame has claimed. More than none after the last frame: a broken peer.
  std::size_t unclaimed() const { return descriptors_.size(); }
  bool empty() const { return buffer_.size() == at_; }

 private:
  std::string buffer_;
  std::size_t at_ = 0;  // of what has not been given yet
  std::deque<Fd> descriptors_;
};

// A frame on its way out.
struct Frame {
  std::string bytes;  // with the length in front
  std::vector<Fd> descriptors;
  std::size_t sent = 0;
};

// Puts the length in front. The message must have at most kMaxFrameBytes.
std::string framed(std::string_view message);

// Sends what the socket takes; true when all of it is gone. The descriptors go with the first byte.
Expected<bool> send(int socket, Frame& frame, int flags);

}  // namespace jailrun::wire
