#include "rootfs/sha256.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

namespace jailrun::rootfs {

Sha256::Sha256() { sha256_init(&context_); }

void Sha256::update(std::string_view bytes) {
  sha256_update(&context_, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
}

std::string Sha256::hex() {
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest;
  sha256_digest(&context_, digest.size(), digest.data());
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

Expected<std::string> sha256_of(int fd, const std::string& path) {
  Sha256 hash;
  std::vector<char> buffer(1 << 18);
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return std::unexpected(sys_error(Stage::None, path, "cannot read " + path,
                                       "check the disk, then build the image anew"));
    if (n == 0) return hash.hex();
    hash.update({buffer.data(), static_cast<std::size_t>(n)});
  }
}

}  // namespace jailrun::rootfs
