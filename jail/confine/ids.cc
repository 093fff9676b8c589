#include "jail/confine/ids.h"

#include <sys/stat.h>

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
      return std::unexpected(Error{Stage::LeaseUid, "XDG_RUNTIME_DIR", 0,
                                   "XDG_RUNTIME_DIR is not set",
                                   "log in through a session that sets it, or run as root"});
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

Expected<UidLease> UidLease::acquire(const Fd& run_dir) {
  TRY(Fd file, open_locks(run_dir));
  TRY(const std::optional<std::uint32_t> slot, lock_lowest(file, 0, kUidCount));
  if (slot) return UidLease(std::move(file), kUidBase + *slot);
  return std::unexpected(Error{Stage::LeaseUid, "uids", 0,
                               "all 65536 host uids are in use by live jails",
                               "wait for some of them to end"});
}

Expected<UidLease> UidLease::acquire_block(const Fd& run_dir) {
  TRY(Fd file, open_locks(run_dir));
  TRY(const std::optional<std::uint32_t> byte, lock_lowest(file, kUidCount, kWorldCount));
  if (byte)
    return UidLease(std::move(file), kUidBase + kUidCount + (*byte - kUidCount) * kWorldUids);
  return std::unexpected(Error{Stage::LeaseUid, "uids", 0,
                               "all 256 blocks of host uids are in use by warm worlds",
                               "wait for some of them to end"});
}

namespace {

Expected<void> write_maps(pid_t child, const std::string& line) {
  const std::string dir = "/proc/" + std::to_string(child);
  const Fd proc(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const char* file : {"gid_map", "uid_map"}) {
    if (const int error = write_file_at(proc.get(), file, line); error != 0) {
      return std::unexpected(Error{Stage::MapIds, file, error, std::string("cannot write ") + file,
                                   "run as root, or give this user a range in /etc/subuid"});
    }
  }
  return {};
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
