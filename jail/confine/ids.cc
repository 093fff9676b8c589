#include "jail/confine/ids.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "jail/plan/plan.h"

namespace jailrun {

Expected<Fd> open_run_dir() {
  std::string path = "/run/jailrun";
  if (::geteuid() != 0) {
    const char* base = std::getenv("XDG_RUNTIME_DIR");
    if (base == nullptr || base[0] != '/') {
      return std::unexpected(
          Error{Stage::LeaseUid, "XDG_RUNTIME_DIR", 0, "XDG_RUNTIME_DIR is not set",
                "log in through a session that sets it, or set it to a directory "
                "of your own with mode 0700"});
    }
    path = std::string(base) + "/jailrun";
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return std::unexpected(sys_error(Stage::LeaseUid, path, "cannot create " + path,
                                     "make its parent directory writable for this user"));
  }
  Fd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st{};
  if (!dir.valid() || ::fstat(dir.get(), &st) != 0) {
    return std::unexpected(
        sys_error(Stage::LeaseUid, path, "cannot open " + path, "remove what is in its place"));
  }
  if (st.st_uid != ::geteuid() || (st.st_mode & 077) != 0) {
    return std::unexpected(Error{Stage::LeaseUid, path, 0, path + " is not private to this user",
                                 "remove it; it will be made again with mode 0700"});
  }
  return dir;
}

Expected<Fd> UidLease::open_locks(const Fd& run_dir) {
  Fd file(::openat(run_dir.get(), "uids", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) {
    return std::unexpected(sys_error(Stage::LeaseUid, "uids",
                                     "cannot open the lock file of host uids",
                                     "free space or descriptors in the run directory"));
  }
  return file;
}

namespace {

// Locks the lowest free byte of [first, first + count): a crashed owner's leftovers carry its
// number and are swept by the next lease. Nothing where all are taken.
Expected<std::optional<std::uint32_t>> lock_lowest(const Fd& file, std::uint32_t first,
                                                   std::uint32_t count) {
  for (std::uint32_t byte = first; byte < first + count; ++byte) {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    if (::fcntl(file.get(), F_OFD_SETLK, &lock) == 0) return byte;
    if (errno != EAGAIN && errno != EACCES) {
      return std::unexpected(
          sys_error(Stage::LeaseUid, "uids", "cannot lock a host uid",
                    "put the run directory on a file system with OFD locks (tmpfs)"));
    }
  }
  return std::nullopt;
}

}  // namespace

std::uint32_t mapped_uids() {
  // Root's own range is tried, not looked up: a container may show any map.
  if (::geteuid() == 0) return kUidCount;
  const std::string table = read_file_at(AT_FDCWD, "/proc/self/uid_map");
  for (const char* at = table.c_str(); *at != 0;) {
    char* end = nullptr;
    const unsigned long first = std::strtoul(at, &end, 10);
    std::strtoul(end, &end, 10);
    const unsigned long count = std::strtoul(end, &end, 10);
    if (end == at) break;
    if (first <= kUidBase && kUidBase - first < count)
      return static_cast<std::uint32_t>(
          std::min<unsigned long>(count - (kUidBase - first), kUidCount));
    at = *end == '\n' ? end + 1 : end;
  }
  return 0;
}

namespace {

// How many of the mapped ids are for single jails; the blocks of worlds lie above them.
std::uint32_t singles(std::uint32_t mapped) {
  return ::geteuid() == 0 ? kUidCount : std::min(mapped, kPlainUidCount);
}

}  // namespace

Expected<UidLease> UidLease::acquire(const Fd& run_dir) {
  TRY(Fd file, open_locks(run_dir));
  const std::uint32_t mapped = mapped_uids(), count = mapped == 0 ? kUidCount : singles(mapped);
  TRY(const std::optional<std::uint32_t> slot, lock_lowest(file, 0, count));
  if (slot) {
    const std::uint32_t uid = mapped == 0 ? ::geteuid() : kUidBase + *slot;
    return UidLease(std::move(file), uid, *slot);
  }
  return std::unexpected(
      Error{Stage::LeaseUid, "uids", 0,
            "all " + std::to_string(count) + " host uids are in use by live jails",
            "wait for some of them to end"});
}

Expected<UidLease> UidLease::acquire_block(const Fd& run_dir) {
  const std::uint32_t mapped = mapped_uids(), above = singles(mapped);
  const std::uint32_t blocks = ::geteuid() == 0 ? kWorldCount : (mapped - above) / kWorldUids;
  if (blocks == 0) {
    return std::unexpected(Error{
        Stage::LeaseUid, "/etc/subuid", 0,
        "warm jails of a plain user take a range of " +
            std::to_string(kPlainUidCount + kWorldUids) + " ids or more; it has " +
            std::to_string(mapped),
        "give it one, as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
        "USER`; `jailrun run --cold` takes none"});
  }
  TRY(Fd file, open_locks(run_dir));
  TRY(const std::optional<std::uint32_t> byte, lock_lowest(file, kUidCount, blocks));
  if (byte) {
    const std::uint32_t slot = above + (*byte - kUidCount) * kWorldUids;
    return UidLease(std::move(file), kUidBase + slot, slot);
  }
  return std::unexpected(
      Error{Stage::LeaseUid, "uids", 0,
            "all " + std::to_string(blocks) + " blocks of host uids are in use by warm worlds",
            "wait for some of them to end"});
}

namespace {

// What the out-of-memory killer spares because its service is spared (OOMScoreAdjust=-900) would
// have others die for a guest's memory.
Expected<void> take_no_protection(const Fd& proc) {
  if (!read_file_at(AT_FDCWD, "/proc/self/oom_score_adj", 16).starts_with('-')) return {};
  if (const int error = write_file_at(proc.get(), "oom_score_adj", "0"); error != 0) {
    return std::unexpected(Error{Stage::MapIds, "oom_score_adj", error,
                                 "cannot take its owner's protection from the out-of-memory killer "
                                 "from the jail",
                                 "start it with OOMScoreAdjust=0"});
  }
  return {};
}

Expected<void> write_maps(pid_t child, const std::string& line) {
  const std::string dir = "/proc/" + std::to_string(child);
  const Fd proc(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const char* file : {"gid_map", "uid_map"}) {
    if (const int error = write_file_at(proc.get(), file, line); error != 0) {
      return std::unexpected(Error{Stage::MapIds, file, error, std::string("cannot write ") + file,
                                   "run as root, or give this user a range in /etc/subuid"});
    }
  }
  return take_no_protection(proc);
}

}  // namespace

Expected<void> map_ids(pid_t child, std::uint32_t host_uid) {
  return write_maps(child, std::to_string(kGuestUid) + " " + std::to_string(host_uid) + " 1\n");
}

Expected<void> map_block(pid_t child, std::uint32_t host_uid) {
  return write_maps(child,
                    "0 " + std::to_string(host_uid) + " " + std::to_string(kWorldUids) + "\n");
}

}  // namespace jailrun
