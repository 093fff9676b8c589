// SHA-256 of files, as lower-case hex.
#pragma once

#include <nettle/sha2.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "jail/sys/error.h"

namespace jailrun::rootfs {

class Sha256 {
 public:
  Sha256();
  void update(std::string_view bytes);
  std::string hex();  // ends the digest and starts a new one

 private:
  sha256_ctx context_;
};

// Of everything that can be read from `fd`; `path` is for the message only.
Expected<std::string> sha256_of(int fd, const std::string& path);

}  // namespace jailrun::rootfs
