#include "jail/daemon/wire.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "jail/daemon/configured.h"

namespace jailrun::wire {
namespace {

constexpr std::size_t kHeader = sizeof(std::uint32_t);
constexpr std::size_t kChunk = 16384;

Error broken(std::string message, int error) {
  return Error{Stage::None, "jaild.sock", error, std::move(message),
               "see the log of jaild; `systemctl status jaild`"};
}

// Takes ownership of every descriptor in the control data, however it is cut into messages.
void keep_descriptors(msghdr& header, std::deque<Fd>& into) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      into.emplace_back(fd);
    }
  }
}

}  // namespace

std::string socket_path() {
  const char* chosen = std::getenv("JAILRUN_SOCKET");
  if (chosen != nullptr && *chosen != '\0') return chosen;
  if (std::string configured = configured_socket(); !configured.empty()) return configured;
  const std::string own = own_socket_path();
  return ::access(own.c_str(), F_OK) == 0 ? own : "/run/jaild/jaild.sock";
}

std::string own_socket_path() {
  const char* chosen = std::getenv("JAILRUN_SOCKET");
  if (chosen != nullptr && *chosen != '\0') return chosen;
  const char* base = ::geteuid() == 0 ? nullptr : std::getenv("XDG_RUNTIME_DIR");
  return std::string(base != nullptr && base[0] == '/' ? base : "/run") + "/jaild/jaild.sock";
}

Expected<Reader::Got> Reader::receive(int socket, int flags) {
  if (at_ > 0) {
    buffer_.erase(0, at_);
    at_ = 0;
  }
  const std::size_t filled = buffer_.size();
  buffer_.resize(filled + kChunk);
  iovec part{buffer_.data() + filled, kChunk};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n = 0;
  do n = ::recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  const int error = errno;
  buffer_.resize(filled + static_cast<std::size_t>(n > 0 ? n : 0));
  if (n < 0 && (error == EAGAIN || error == EWOULDBLOCK)) return Got::Nothing;
  if (n < 0) return std::unexpected(broken("the connection broke", error));
  keep_descriptors(header, descriptors_);
  if ((header.msg_flags & MSG_CTRUNC) != 0 || descriptors_.size() > kMaxDescriptors)
    return std::unexpected(broken("more descriptors than a message may have", 0));
  return n == 0 ? Got::End : Got::Data;
}

Expected<std::optional<std::string_view>> Reader::next() {
  const std::string_view waiting = std::string_view(buffer_).substr(at_);
  if (waiting.size() < kHeader) return std::nullopt;
  std::uint32_t size = 0;
  std::memcpy(&size, waiting.data(), sizeof size);
  if (size > kMaxFrameBytes) return std::unexpected(broken("a message is longer than 64 KiB", 0));
  if (waiting.size() < kHeader + size) return std::nullopt;
  at_ += kHeader + size;
  return waiting.substr(kHeader, size);
}

std::optional<std::vector<Fd>> Reader::take(std::size_t count) {
  if (count > descriptors_.size()) return std::nullopt;
  std::vector<Fd> taken;
  taken.reserve(count);
  for (; count > 0; --count) {
    taken.push_back(std::move(descriptors_.front()));
    descriptors_.pop_front();
  }
  return taken;
}

std::string framed(std::string_view message) {
  const auto size = static_cast<std::uint32_t>(message.size());
  std::string bytes(kHeader, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  return bytes.append(message);
}

Expected<bool> send(int socket, Frame& frame, int flags) {
  while (frame.sent < frame.bytes.size()) {
    iovec part{frame.bytes.data() + frame.sent, frame.bytes.size() - frame.sent};
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (frame.sent == 0 && !frame.descriptors.empty()) {
      const std::size_t bytes = frame.descriptors.size() * sizeof(int);
      std::memset(control, 0, sizeof control);
      header.msg_control = control;
      header.msg_controllen = CMSG_SPACE(bytes);
      cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(bytes);
      for (std::size_t i = 0; i < frame.descriptors.size(); ++i) {
        const int fd = frame.descriptors[i].get();
        std::memcpy(CMSG_DATA(rights) + i * sizeof fd, &fd, sizeof fd);
      }
    }
    const ssize_t n = ::sendmsg(socket, &header, flags | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (n < 0) return std::unexpected(broken("the connection broke", errno));
    frame.sent += static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace jailrun::wire
