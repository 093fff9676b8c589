#include "agent/store/blobs.h"

#include <dirent.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "agent/store/database.h"
#include "agent/store/hex.h"
#include "jail/sys/units.h"

namespace jailrun::store {
namespace {

constexpr std::string_view kIncoming = "incoming-";
constexpr std::size_t kDigestLetters = 2 * SHA256_DIGEST_SIZE;

bool is_digest(const std::string& name) {
  return name.size() == kDigestLetters &&
         name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string incoming_name() {
  std::array<unsigned char, 16> random;
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    return {};
  return std::string(kIncoming) + hex(random.data(), random.size());
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Incoming::Incoming(Incoming&& other) noexcept
    : directory_(other.directory_),
      name_(std::exchange(other.name_, {})),
      file_(std::move(other.file_)),
      sha256_(std::move(other.sha256_)),
      bytes_(other.bytes_) {}

Incoming::~Incoming() {
  if (!name_.empty()) ::unlinkat(directory_, name_.c_str(), 0);
}

Error Blobs::fault(const std::string& what, const std::string& name) const {
  const std::string path = name.empty() ? path_ : path_ + "/" + name;
  return sys_error(Stage::None, path, "file store: cannot " + what + " " + path,
                   "check its disk, its permissions and the room on it");
}

Expected<Blobs> Blobs::open(const std::string& root) {
  Blobs blobs;
  blobs.path_ = root + "/blobs";
  TRY_VOID(make_directory(blobs.path_));
  blobs.directory_ =
      Fd(::open(blobs.path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!blobs.directory_.valid()) return std::unexpected(blobs.fault("open", ""));
  return blobs;
}

Expected<Incoming> Blobs::create() const {
  for (;;) {
    const std::string name = incoming_name();
    if (name.empty()) return std::unexpected(fault("find a name in", ""));
    Fd file(::openat(directory_.get(), name.c_str(),
                     O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400));
    if (!file.valid()) return std::unexpected(fault("make", name));
    // A sweep may have found the file before its lock was taken: it is gone then, and one more is
    // made.
    struct stat st{};
    if (::flock(file.get(), LOCK_SH | LOCK_NB) == 0 && ::fstat(file.get(), &st) == 0 &&
        st.st_nlink == 1)
      return Incoming(directory_.get(), name, std::move(file));
    ::unlinkat(directory_.get(), name.c_str(), 0);
  }
}

std::optional<Incoming> Blobs::adopt(int source, const struct stat& st) const {
  struct stat ours{};
  if (!S_ISREG(st.st_mode) || st.st_nlink != 0 || ::lseek(source, 0, SEEK_CUR) != 0 ||
      ::fstat(directory_.get(), &ours) != 0 || ours.st_dev != st.st_dev)
    return std::nullopt;
  Fd file(::fcntl(source, F_DUPFD_CLOEXEC, 3));
  const std::string name = incoming_name();
  const std::string self = "/proc/self/fd/" + std::to_string(source);
  // Locked before it has a name: no sweep finds it without. A file that has lost its name gets
  // none.
  if (!file.valid() || name.empty() || ::flock(source, LOCK_SH | LOCK_NB) != 0 ||
      ::fchmod(source, 0400) != 0 ||
      ::linkat(AT_FDCWD, self.c_str(), directory_.get(), name.c_str(), AT_SYMLINK_FOLLOW) != 0)
    return std::nullopt;
  // On its way to the disk while it is read for its digest.
  (void)::sync_file_range(source, 0, 0, SYNC_FILE_RANGE_WRITE);
  return Incoming(directory_.get(), name, std::move(file));
}

Expected<Incoming> Blobs::receive(int source, std::uint64_t most) const {
  const auto too_large = [&] {
    return std::unexpected(Error{Stage::None, "file size", EFBIG,
                                 "the file is larger than " + format_bytes(most),
                                 "store a part of it, or raise the limit of the store"});
  };
  struct stat st{};
  const bool known = ::fstat(source, &st) == 0;
  if (known && S_ISREG(st.st_mode) && static_cast<std::uint64_t>(st.st_size) > most)
    return too_large();
  std::optional<Incoming> adopted = known ? adopt(source, st) : std::nullopt;
  const bool is_copy = !adopted;
  Expected<Incoming> made = is_copy ? create() : Expected<Incoming>(std::move(*adopted));
  if (!made) return made;
  Incoming incoming = std::move(*made);
  sha256_ctx hash;
  sha256_init(&hash);
  std::vector<std::uint8_t> buffer(1 << 18);
  for (;;) {
    const ssize_t n = ::read(source, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return std::unexpected(sys_error(Stage::None, "source", "cannot read what is to be stored",
                                       "check the file and its disk"));
    if (n == 0) break;
    const auto size = static_cast<std::size_t>(n);
    if (incoming.bytes_ + size > most) return too_large();
    incoming.bytes_ += size;
    sha256_update(&hash, size, buffer.data());
    errno = is_copy ? write_all(incoming.file_.get(), reinterpret_cast<const char*>(buffer.data()),
                                size)
                    : 0;
    if (errno != 0) return std::unexpected(fault("write", incoming.name_));
  }
  if (::fsync(incoming.file_.get()) != 0) return std::unexpected(fault("write", incoming.name_));
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest;
  sha256_digest(&hash, digest.size(), digest.data());
  incoming.sha256_ = hex(digest.data(), digest.size());
  return incoming;
}

Expected<void> Blobs::keep(Incoming& incoming) const {
  struct stat st{};
  const bool there =
      ::fstatat(directory_.get(), incoming.sha256_.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISREG(st.st_mode) && static_cast<std::uint64_t>(st.st_size) == incoming.bytes_;
  if (!there) {
    if (::renameat(directory_.get(), incoming.name_.c_str(), directory_.get(),
                   incoming.sha256_.c_str()) != 0)
      return std::unexpected(fault("rename", incoming.name_));
    incoming.name_.clear();
  }
  // Also where it was there already: whoever put it there may have died before this.
  if (::fsync(directory_.get()) != 0) return std::unexpected(fault("write", ""));
  return {};
}

Expected<void> Blobs::remove(const std::string& sha256) const {
  if (!is_digest(sha256) || ::unlinkat(directory_.get(), sha256.c_str(), 0) == 0 || errno == ENOENT)
    return {};
  return std::unexpected(fault("remove", sha256));
}

Expected<std::uint64_t> Blobs::sweep(
    const std::function<Expected<bool>(const std::string&)>& wanted) const {
  const std::unique_ptr<DIR, CloseDirectory> all(::opendir(path_.c_str()));
  if (!all) return std::unexpected(fault("list", ""));
  std::uint64_t gone = 0;
  while (const dirent* entry = ::readdir(all.get())) {
    const std::string name = entry->d_name;
    if (is_digest(name)) {
      TRY(const bool keep, wanted(name));
      if (keep) continue;
    } else if (name.starts_with(kIncoming)) {
      const Fd file(::openat(directory_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
      if (!file.valid() || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) continue;  // in use
    } else {
      continue;
    }
    if (::unlinkat(directory_.get(), name.c_str(), 0) == 0) ++gone;
  }
  return gone;
}

Expected<Fd> Blobs::get(const std::string& sha256, std::uint64_t bytes) const {
  Fd file;
  if (is_digest(sha256))
    file = Fd(::openat(directory_.get(), sha256.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return std::unexpected(fault("open", sha256));
  struct stat st{};
  if (::fstat(file.get(), &st) != 0 || static_cast<std::uint64_t>(st.st_size) != bytes)
    return std::unexpected(Error{Stage::None, sha256, 0,
                                 "file store: " + path_ + "/" + sha256 + " is damaged",
                                 "remove the file from the store and put it again"});
  return file;
}

}  // namespace jailrun::store
