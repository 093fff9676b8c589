#include "jail/confine/inputs.h"

#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>

#include "jail/confine/ids.h"
#include "jail/confine/mounts.h"
#include "jail/sys/uapi.h"
#include "jail/sys/units.h"

namespace jailrun {
namespace {

Error bad_input(const std::string& path, int error, std::string message, std::string remedy) {
  return Error{Stage::OpenInputs, path, error, std::move(message), std::move(remedy)};
}

// A namespace looks like a regular file and can be mounted; a guest that opened the mount would
// hold a handle of the host's.
bool is_namespace(const struct stat& st) {
  struct stat own{};
  return ::stat("/proc/self/ns/user", &own) != 0 || own.st_dev == st.st_dev;
}

Expected<Fd> open_regular(const std::string& path, const char* what, struct stat& st) {
  // O_NONBLOCK: a fifo must be refused, not waited for.
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.valid() || ::fstat(file.get(), &st) != 0) {
    return std::unexpected(bad_input(path, errno, std::string("cannot open ") + what + " " + path,
                                     "check the path and its permissions"));
  }
  if (S_ISDIR(st.st_mode)) {
    return std::unexpected(bad_input(path, 0, std::string(what) + " " + path + " is a directory",
                                     "name a file; give several with --file for each"));
  }
  if (!S_ISREG(st.st_mode) || is_namespace(st)) {
    return std::unexpected(bad_input(path, 0,
                                     std::string(what) + " " + path + " is not a regular file",
                                     "copy its content into a file first"));
  }
  return file;
}

// A user namespace whose only mapping is `from` (on disk) to `to` (as seen): what an id-mapped
// mount needs.
Fd id_mapping(const struct stat& st, std::uint32_t to) {
  uapi::clone_args args{};
  const pid_t owner = ::getpid();
  args.flags = CLONE_NEWUSER;
  args.exit_signal = SIGCHLD;
  const long child = ::syscall(SYS_clone3, &args, sizeof args);
  if (child < 0) return {};
  if (child == 0) {
    // Else kill -9 of the owner would leave it behind, and with it its copy of the uid lease.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != owner) ::_exit(0);
    for (;;) ::pause();
  }
  const std::string dir = "/proc/" + std::to_string(child);
  const Fd proc(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const std::string uid = std::to_string(st.st_uid) + " " + std::to_string(to) + " 1\n";
  const std::string gid = std::to_string(st.st_gid) + " " + std::to_string(to) + " 1\n";
  Fd userns;
  if (write_file_at(proc.get(), "uid_map", uid) == 0 &&
      write_file_at(proc.get(), "gid_map", gid) == 0) {
    userns = Fd(::openat(proc.get(), "ns/user", O_RDONLY | O_CLOEXEC));
  }
  ::kill(static_cast<pid_t>(child), SIGKILL);  // its pid is ours until it is reaped
  while (::waitpid(static_cast<pid_t>(child), nullptr, 0) < 0 && errno == EINTR) {
  }
  return userns;
}

// The file as a detached mount that the guest may read; empty where its file system cannot do that,
// or where it has no name any more.
Fd mounted(const Fd& file, const struct stat& st, std::uint32_t host_uid) {
  if (st.st_nlink == 0) return {};
  // A plain user's guest with that user's own id may read what its owner may.
  const bool its_own = st.st_uid == host_uid && (st.st_mode & S_IRUSR) != 0;
  if ((st.st_mode & S_IROTH) != 0 || its_own) return read_only_mount(file, uapi::kMountNoexec);
  const Fd userns = id_mapping(st, host_uid);
  if (!userns.valid()) return {};
  return read_only_mount(file, uapi::kMountNoexec | uapi::kMountIdmap, userns.get());
}

Expected<std::string> read_whole(const Fd& file, const std::string& path, std::uint64_t limit,
                                 const char* what) {
  std::string content;
  char buffer[65536];
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return std::unexpected(bad_input(path, errno, std::string("cannot read ") + what + " " + path,
                                       "check the file and its disk"));
    }
    if (n == 0) return content;
    content.append(buffer, static_cast<std::size_t>(n));
    if (content.size() > limit) {
      return std::unexpected(bad_input(
          path, 0, std::string(what) + " " + path + " is larger than " + format_bytes(limit),
          "give data as --file; code is smaller than that"));
    }
  }
}

// Never asks the server of a network or user file system, which could let the owner wait for ever.
bool stat_cached(const Fd& file, struct stat& st) {
  struct statx known{};
  if (::statx(file.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
              STATX_TYPE | STATX_MODE | STATX_NLINK | STATX_UID | STATX_GID, &known) != 0)
    return false;
  st.st_dev = ::makedev(known.stx_dev_major, known.stx_dev_minor);
  st.st_mode = known.stx_mode;
  st.st_nlink = known.stx_nlink;
  st.st_uid = known.stx_uid;
  st.st_gid = known.stx_gid;
  return true;
}

bool valid_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

// Length of the UTF-8 sequence at `at`, or 0 where it is none (RFC 3629: no overlong form, no
// surrogate).
std::size_t utf8_length(const std::string& text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned a = byte(at), b = byte(at + 1);
  if (a < 0x80) return 1;
  if (a >= 0xc2 && a <= 0xdf) return tail(at + 1) ? 2 : 0;
  if (a >= 0xe0 && a <= 0xef) {
    if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f)) return 0;
    return tail(at + 1) && tail(at + 2) ? 3 : 0;
  }
  if (a >= 0xf0 && a <= 0xf4) {
    if ((a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f)) return 0;
    return tail(at + 1) && tail(at + 2) && tail(at + 3) ? 4 : 0;
  }
  return 0;
}

constexpr std::size_t kSmallCopyBytes = 65536;  // of a memfd: it cannot change, and costs nothing

// A memfd that nobody can write any more: a copy of it is as good as itself.
bool sealed(const Fd& file) {
  const int seals = ::fcntl(file.get(), F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_WRITE) != 0;
}

bool declares_encoding(const std::string& script) {
  std::size_t end = script.find('\n');
  if (end != std::string::npos) end = script.find('\n', end + 1);
  const std::string head = script.substr(0, end);
  return head.find("coding:") != std::string::npos || head.find("coding=") != std::string::npos;
}

}  // namespace

Expected<OpenedInput> open_source(const InputSource& source) {
  struct stat st{};
  OpenedInput opened;
  TRY(opened.file, open_regular(source.path, "input", st));
  opened.name = source.name.empty() ? source.path.substr(source.path.rfind('/') + 1) : source.name;
  if (!valid_name(opened.name)) {
    return std::unexpected(bad_input(source.path, 0,
                                     "'" + opened.name + "' is no file name for /data",
                                     "use --file " + source.path + ":NAME with a plain name"));
  }
  return opened;
}

Expected<Input> open_input(const InputSource& source, std::uint32_t host_uid,
                           std::vector<std::string>& warnings) {
  TRY(const OpenedInput opened, open_source(source));
  struct stat st{};
  Input input;
  input.name = opened.name;
  if (::fstat(opened.file.get(), &st) == 0) input.tree = mounted(opened.file, st, host_uid);
  if (input.tree.valid()) return input;
  TRY(input.content, read_whole(opened.file, source.path, kMaxCopyBytes, "input"));
  if (sealed(opened.file) && input.content.size() <= kSmallCopyBytes) return input;
  warnings.push_back("input " + input.name +
                     " was copied: its file system cannot be mounted for the guest's id");
  return input;
}

Expected<Input> open_input_fd(Fd file, const std::string& name, std::uint32_t host_uid,
                              std::vector<std::string>& warnings) {
  Input input;
  input.name = name;
  if (!valid_name(name)) {
    return std::unexpected(
        bad_input(name, 0, "'" + name + "' is no file name for /data", "give it a plain name"));
  }
  // What the client could not read it must not be able to have shown to its guest.
  const int flags = ::fcntl(file.get(), F_GETFL);
  struct stat st{};
  if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) == O_WRONLY ||
      !stat_cached(file, st) || !S_ISREG(st.st_mode) || is_namespace(st)) {
    return std::unexpected(bad_input(name, 0, "input " + name + " is not opened for reading",
                                     "send a descriptor of a regular file, opened O_RDONLY"));
  }
  input.tree = mounted(file, st, host_uid);
  if (input.tree.valid()) return input;
  // Reading a file of the client's could block for as long as its file system likes; a memfd
  // cannot, and one that is sealed does not change while it is read.
  if (!sealed(file) || ::lseek(file.get(), 0, SEEK_SET) != 0) {
    return std::unexpected(
        bad_input("mount", 0, "input " + name + " cannot be mounted for the guest's id",
                  "put it on another file system, send it as a sealed memfd, or run with --cold"));
  }
  TRY(input.content, read_whole(file, name, kMaxCopyBytes, "input"));
  if (input.content.size() > kSmallCopyBytes)
    warnings.push_back("input " + name + " was copied: it cannot be mounted for the guest's id");
  return input;
}

Expected<std::string> read_script(const std::string& path) {
  Fd file;
  if (path == "-") {
    file = Fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  } else {
    struct stat st{};
    TRY(file, open_regular(path, "script", st));
  }
  TRY(std::string script, read_whole(file, path, kMaxScriptBytes, "script"));
  std::size_t line = 1;
  for (std::size_t at = 0; at < script.size();) {
    const std::size_t length = utf8_length(script, at);
    if (script[at] == '\0' || (length == 0 && !declares_encoding(script))) {
      return std::unexpected(bad_input(
          path, 0, "script " + path + " is not UTF-8 text (line " + std::to_string(line) + ")",
          "save it as UTF-8, or declare its encoding in the first line"));
    }
    if (script[at] == '\n') ++line;
    at += length == 0 ? 1 : length;
  }
  return script;
}

}  // namespace jailrun
