// Fd: an owned descriptor. Move-only, no implicit conversion, closed on destruction; every
// descriptor in the project is opened CLOEXEC.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "jail/sys/error.h"

namespace jailrun {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd read, write;
};

// Whole content of a small file below `dir` (AT_FDCWD for a plain path); at most `limit` bytes are
// read. An empty string where it cannot be read.
std::string read_file_at(int dir, const char* path, std::size_t limit = 65536);

// Writes all of `text` to a control file below `dir` in one write(2); the errno, or 0.
int write_file_at(int dir, const char* path, std::string_view text);

// Writes everything, retrying short writes and EINTR; the errno, or 0.
int write_all(int fd, const char* data, std::size_t size);

}  // namespace jailrun
