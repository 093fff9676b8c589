#include "jail/run/collect.h"

#include <nettle/sha2.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "jail/run/collector.h"
#include "jail/sys/uapi.h"
#include "jail/sys/units.h"

namespace jailrun {
namespace {

constexpr std::size_t kMaxSkipped = 100;
constexpr int kCollectTimeoutMs = 30'000;
constexpr CollectorLimits kLimits{.entries = 200'000, .depth = 32};

constexpr std::array<std::pair<std::string_view, std::string_view>, 19> kMediaTypes = {{
    {"png", "image/png"},
    {"svg", "image/svg+xml"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"gif", "image/gif"},
    {"pdf", "application/pdf"},
    {"csv", "text/csv"},
    {"tsv", "text/tab-separated-values"},
    {"json", "application/json"},
    {"txt", "text/plain"},
    {"md", "text/markdown"},
    {"html", "text/html"},
    {"xml", "application/xml"},
    {"py", "text/x-python"},
    {"parquet", "application/vnd.apache.parquet"},
    {"arrow", "application/vnd.apache.arrow.file"},
    {"npy", "application/x-npy"},
    {"sqlite", "application/vnd.sqlite3"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
}};

std::string media_type(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot != std::string_view::npos) {
    for (const auto& [extension, type] : kMediaTypes) {
      if (name.substr(dot + 1) == extension) return std::string(type);
    }
  }
  return "application/octet-stream";
}

// Below the output directory for certain: the collector might have been taken over by what it
// looked at.
bool stays_below(std::string_view path) {
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view name = path.substr(at, end - at);
    if (name.empty() || name == "." || name == "..") return false;
    at = end + 1;
  }
  return true;
}

// Names that cannot forge a terminal line or a log record: printable, and no bytes above ASCII that
// are not UTF-8. `text` gets the name with every other byte as \xNN.
bool printable(std::string_view name, std::string& text) {
  bool good = true;
  for (std::size_t i = 0; i < name.size();) {
    const auto c = static_cast<unsigned char>(name[i]);
    std::size_t length = c < 0x80                   ? 1
                         : (c >= 0xc2 && c <= 0xdf) ? 2
                         : (c >= 0xe0 && c <= 0xef) ? 3
                         : (c >= 0xf0 && c <= 0xf4) ? 4
                                                    : 0;
    for (std::size_t k = 1; k < length; ++k) {
      if (i + k >= name.size() || (static_cast<unsigned char>(name[i + k]) & 0xc0) != 0x80)
        length = 0;
    }
    // C0, DEL, C1 (as UTF-8: c2 80 to c2 9f), the separators of lines and the bidirectional
    // overrides: U+2028 to U+202E and U+2066 to U+206E.
    const std::string_view sequence = name.substr(i, length);
    const bool bidirectional =
        length == 3 && ((sequence >= "\xe2\x80\xa8" && sequence <= "\xe2\x80\xae") ||
                        (sequence >= "\xe2\x81\xa6" && sequence <= "\xe2\x81\xae"));
    const bool control =
        c < 0x20 || c == 0x7f ||
        (c == 0xc2 && length == 2 && static_cast<unsigned char>(name[i + 1]) < 0xa0);
    if (length == 0 || control || bidirectional) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x", c);
      text += hex;
      good = false;
      ++i;
      continue;
    }
    text += sequence;
    i += length;
  }
  return good;
}

const char* reason_of(Found found) {
  switch (found) {
    case Found::NotRegular:
      return "not a regular file (link, fifo, socket or device)";
    case Found::Unreadable:
      return "the guest took away its own right to read it";
    case Found::TooDeep:
      return "too many directories deep, or too long a path";
    case Found::TooMany:
      return "there are more entries than are looked at; the walk ended here";
    case Found::File:
    case Found::End:
      break;
  }
  return "unknown";
}

class Collector {
 public:
  explicit Collector(const ReceiveRequest& request) : request_(request) {}
  Expected<Collection> run();

 private:
  Expected<void> receive(int socket);
  Expected<void> take(const std::string& path, const Fd& file);
  Expected<void> copy(const std::string& path, const Fd& file, std::uint64_t size,
                      sha256_ctx& digest);
  Expected<Fd> open_parent(const std::string& path);
  void skip(std::string name, std::string reason);
  Error cannot_write(const std::string& path) const;

  const ReceiveRequest& request_;
  Collection collection_;
  std::size_t more_skipped_ = 0;
  std::uint64_t bytes_ = 0;
};

void Collector::skip(std::string name, std::string reason) {
  if (collection_.skipped.size() < kMaxSkipped) {
    collection_.skipped.push_back({std::move(name), std::move(reason)});
  } else {
    ++more_skipped_;
  }
}

// What a name in the output directory stands in the way of is that one file's fate, not the run's:
// a guest must not be able to lose its Result by a name.
bool in_the_way(int error) {
  return error == EISDIR || error == ENOTDIR || error == ELOOP || error == EEXIST ||
         error == ENOTEMPTY || error == ENAMETOOLONG;
}

Error Collector::cannot_write(const std::string& path) const {
  return sys_error(Stage::Collect, path, "cannot write " + request_.out_name + "/" + path,
                   "free space there, or give another --out; what was written before is complete");
}

// Makes the directories of `path` below the output directory, following no link that lies there.
Expected<Fd> Collector::open_parent(const std::string& path) {
  Fd dir(::openat(request_.out_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::size_t at = 0;
  for (std::size_t slash; (slash = path.find('/', at)) != std::string::npos; at = slash + 1) {
    const std::string name = path.substr(at, slash - at);
    if (::mkdirat(dir.get(), name.c_str(), 0777) != 0 && errno != EEXIST)
      return std::unexpected(cannot_write(path));
    dir = Fd(::openat(dir.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!dir.valid()) return std::unexpected(cannot_write(path));
  }
  return dir;
}

Expected<void> Collector::copy(const std::string& path, const Fd& file, std::uint64_t size,
                               sha256_ctx& digest) {
  Fd parent, target;
  const std::string name = path.substr(path.rfind('/') + 1);
  const std::string temporary = ".jailrun-partial-" + std::to_string(::getpid());
  if (request_.out_dir >= 0) {
    TRY(parent, open_parent(path));
    ::unlinkat(parent.get(), temporary.c_str(), 0);  // of a killed run that had this pid
    target = Fd(::openat(parent.get(), temporary.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (!target.valid()) return std::unexpected(cannot_write(path));
  }
  char buffer[65536];
  int error = 0;
  for (std::uint64_t done = 0; done < size && error == 0;) {
    const ssize_t n =
        ::read(file.get(), buffer, std::min<std::uint64_t>(sizeof buffer, size - done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    nettle_sha256_update(&digest, static_cast<std::size_t>(n),
                         reinterpret_cast<const std::uint8_t*>(buffer));
    if (target.valid()) error = write_all(target.get(), buffer, static_cast<std::size_t>(n));
    done += static_cast<std::uint64_t>(n);
  }
  if (!target.valid()) return {};
  if (error == 0 && ::renameat(parent.get(), temporary.c_str(), parent.get(), name.c_str()) == 0)
    return {};
  if (error != 0) errno = error;
  Error failed = cannot_write(path);
  ::unlinkat(parent.get(), temporary.c_str(), 0);
  return std::unexpected(std::move(failed));
}

Expected<void> Collector::take(const std::string& path, const Fd& file) {
  std::string text;
  const bool good_name = printable(path, text);
  struct stat st{};
  if (::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_dev != request_.device) {
    skip(text, reason_of(Found::NotRegular));
    return {};
  }
  const auto size = static_cast<std::uint64_t>(st.st_size);
  if (!good_name) {
    skip(text, "its name is not printable UTF-8");
  } else if (!stays_below(path)) {
    skip(text, "it would lie outside of the output directory");
  } else if (collection_.files.size() >= request_.max_files) {
    skip(text, "more than " + std::to_string(request_.max_files) + " files (limits.collect_files)");
  } else if (size > request_.max_bytes - bytes_) {
    skip(text, format_bytes(size) + " are more than is left of " +
                   format_bytes(request_.max_bytes) + " (limits.collect_bytes)");
  } else {
    sha256_ctx digest;
    nettle_sha256_init(&digest);
    if (Expected<void> copied = copy(path, file, size, digest); !copied) {
      if (!in_the_way(copied.error().errno_value)) return std::unexpected(copied.error());
      skip(text, "in " + request_.out_name + " something else has that name");
      return {};
    }
    std::uint8_t sum[SHA256_DIGEST_SIZE];
    nettle_sha256_digest(&digest, sizeof sum, sum);
    std::string hex;
    for (const std::uint8_t byte : sum) {
      char two[3];
      std::snprintf(two, sizeof two, "%02x", byte);
      hex += two;
    }
    bytes_ += size;
    collection_.files.push_back({path, size, hex, media_type(path)});
  }
  return {};
}

// The messages of the collector: its word is checked, its lengths bounded, its descriptors owned at
// once.
Expected<void> Collector::receive(int socket) {
  static FoundMessage message;
  const std::int64_t deadline = monotonic_ns() + std::int64_t{kCollectTimeoutMs} * 1'000'000;
  for (;;) {
    pollfd entry{socket, POLLIN, 0};
    const std::int64_t left = (deadline - monotonic_ns()) / 1'000'000;
    const int ready = left <= 0 ? 0 : ::poll(&entry, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      skip("", "the walk took longer than 30 s and was ended");
      return {};
    }
    iovec part{&message, sizeof message};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    // Whatever the reason, nobody may take a part for the whole.
    if (n <= 0) {
      skip("", "the walk was cut off" + (n < 0 ? ": " + errno_name(errno) : std::string()) +
                   "; not all files are here");
      return {};
    }
    Fd file;
    const cmsghdr* rights = CMSG_FIRSTHDR(&header);
    if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
      file = Fd(fd);
    }
    const std::size_t head = offsetof(FoundMessage, path);
    if (static_cast<std::size_t>(n) < head ||
        message.path_bytes != static_cast<std::size_t>(n) - head) {
      skip("", "the walk was cut off; not all files are here");
      return {};
    }
    if (message.found == Found::End) return {};
    const std::string path(message.path, message.path_bytes);
    if (message.found == Found::File && file.valid()) {
      TRY_VOID(take(path, file));
    } else {
      std::string text;
      printable(path, text);
      skip(text, reason_of(message.found));
    }
  }
}

Expected<Collection> Collector::run() {
  TRY_VOID(receive(request_.socket));
  if (more_skipped_ > 0) {
    collection_.skipped.push_back({"", "and " + std::to_string(more_skipped_) + " more entries"});
  }
  return std::move(collection_);
}

}  // namespace

Expected<Walk> start_walk(const Fd& work, std::uint32_t host_uid) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return std::unexpected(sys_error(Stage::Collect, "socket", "cannot make a socket pair",
                                     "raise the limit of open files"));
  }
  Fd owner(ends[0]), theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0)
    return std::unexpected(sys_error(Stage::Collect, "fork", "cannot start the collector",
                                     "raise the limit of processes"));
  if (child == 0) collector_main(work.get(), theirs.get(), host_uid, kLimits);
  return Walk{std::move(owner), child};
}

Expected<Collection> receive_files(const ReceiveRequest& request) {
  return Collector(request).run();
}

bool has_files(const Fd& work) {
  struct statfs fs{};
  return ::fstatfs(work.get(), &fs) != 0 || fs.f_files - fs.f_ffree > 1;
}

Expected<Collection> collect(const CollectRequest& request) {
  TRY(const Walk walk, start_walk(request.work, request.host_uid));
  struct stat st{};
  ::fstat(request.work.get(), &st);
  const ReceiveRequest receive{walk.socket.get(), st.st_dev,       request.max_files,
                               request.max_bytes, request.out_dir, request.out_name};
  Expected<Collection> collection = Collector(receive).run();
  ::kill(walk.pid, SIGKILL);
  int status = 0;
  while (::waitpid(walk.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (collection && WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    const bool openat2 = WEXITSTATUS(status) == kNoOpenat2;
    return std::unexpected(
        Error{Stage::Collect, "/work", 0,
              openat2 ? "files cannot be taken out of /work without openat2 (kernel 5.6)"
                      : "the collector could not start",
              "run `jailrun doctor` to see what this host allows"});
  }
  return collection;
}

}  // namespace jailrun
