#include "rootfs/build.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <nlohmann/json.hpp>
#include <vector>

#include "rootfs/disk.h"
#include "rootfs/recipe.h"

namespace jailrun::rootfs {
namespace {

using nlohmann::json;

volatile sig_atomic_t noted = 0;
void note_signal(int signal) { noted = signal; }

constexpr std::array kSignals = {SIGINT, SIGTERM};

// While it lives, SIGINT and SIGTERM are noted instead of ending us: there is something to clean
// up. They are blocked except in a ppoll with `outside`: one that came just before a blocking call
// would be slept over.
class SignalsNoted {
 public:
  SignalsNoted() {
    noted = 0;
    sigset_t block;
    ::sigemptyset(&block);
    for (const int signal : kSignals) ::sigaddset(&block, signal);
    ::sigprocmask(SIG_BLOCK, &block, &outside_);
    struct sigaction action = {};
    action.sa_handler = note_signal;
    for (std::size_t i = 0; i < kSignals.size(); ++i)
      ::sigaction(kSignals[i], &action, &before_[i]);
  }
  ~SignalsNoted() {
    // In this order: what came late goes to our handler.
    ::sigprocmask(SIG_SETMASK, &outside_, nullptr);
    for (std::size_t i = 0; i < kSignals.size(); ++i)
      ::sigaction(kSignals[i], &before_[i], nullptr);
  }
  SignalsNoted(const SignalsNoted&) = delete;
  SignalsNoted& operator=(const SignalsNoted&) = delete;

  const sigset_t& outside() const { return outside_; }
  static bool interrupted() {
    sigset_t pending;
    ::sigpending(&pending);
    return noted != 0 || ::sigismember(&pending, SIGINT) == 1 ||
           ::sigismember(&pending, SIGTERM) == 1;
  }

 private:
  sigset_t outside_;
  std::array<struct sigaction, kSignals.size()> before_;
};

std::unexpected<Error> build_failed(int errno_value, std::string message, std::string remedy) {
  return std::unexpected(
      Error{Stage::None, "build.py", errno_value, std::move(message), std::move(remedy)});
}

std::unexpected<Error> interruption() {
  return build_failed(EINTR, "the build was stopped",
                      "nothing is left of it; run the command again");
}

// In the child: a mount namespace of its own, so that whatever the builder mounts in the tree is
// gone with it, even by SIGKILL, and removing the tree can never reach a bind mount. A plain user
// becomes root of a user namespace that holds one id, the user's own. Returns the errno, or 0.
int enter_namespaces(uid_t uid, gid_t gid) {
  if (::unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) return errno;
  if (uid != 0) {
    const std::string uids = "0 " + std::to_string(uid) + " 1",
                      gids = "0 " + std::to_string(gid) + " 1";
    if (const int error = write_file_at(AT_FDCWD, "/proc/self/setgroups", "deny")) return error;
    if (const int error = write_file_at(AT_FDCWD, "/proc/self/uid_map", uids)) return error;
    if (const int error = write_file_at(AT_FDCWD, "/proc/self/gid_map", gids)) return error;
  }
  return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ? errno : 0;
}

struct Builder {
  pid_t pid = -1;
  Fd lines;  // its stdout
};

Expected<Builder> start(const std::vector<std::string>& command, int lock, const sigset_t& mask) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return build_failed(errno, "cannot make a pipe", "raise the limit of open files");
  Pipe pipe{Fd(ends[0]), Fd(ends[1])};
  const pid_t parent = ::getpid();
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  const pid_t pid = ::fork();
  if (pid < 0)
    return build_failed(errno, "cannot start the builder", "raise the limit of processes");
  if (pid == 0) {
    for (const int signal : kSignals) ::signal(signal, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);
    ::dup2(pipe.write.get(), STDOUT_FILENO);
    if (enter_namespaces(uid, gid) != 0) ::_exit(126);
    // After the change of credentials, which resets it.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(130);
    ::setenv("JAILRUN_LOCK_FD", std::to_string(lock).c_str(), 1);
    ::setenv("PYTHONUNBUFFERED", "1", 1);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  return Builder{pid, std::move(pipe.read)};
}

// Hands on the builder's lines until it is gone; its wait status. A signal to us ends it.
int follow(const Builder& builder, const sigset_t& mask,
           const std::function<void(std::string_view)>& progress) {
  std::string pending;
  char buffer[4096];
  for (;;) {
    pollfd readable = {.fd = builder.lines.get(), .events = POLLIN, .revents = 0};
    if (::ppoll(&readable, 1, nullptr, &mask) < 0) {
      if (SignalsNoted::interrupted()) ::kill(builder.pid, SIGTERM);
      continue;
    }
    const ssize_t n = ::read(builder.lines.get(), buffer, sizeof buffer);
    if (n <= 0) break;
    pending.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t end; (end = pending.find('\n')) != std::string::npos;
         pending.erase(0, end + 1))
      if (progress) progress(std::string_view(pending).substr(0, end));
  }
  int status = 0;
  while (::waitpid(builder.pid, &status, 0) < 0 && errno == EINTR) continue;
  return status;
}

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm parts;
  char text[32];
  ::gmtime_r(&now, &parts);
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
}

// What the builder says of its work, report.json, as the head of a manifest.
Expected<Manifest> read_report(const std::string& path, int status) {
  const Expected<std::string> text = read_file(path);
  const json report = text ? json::parse(*text, nullptr, false) : json();
  const auto string = [](const json& object, const char* name) {
    return object.is_object() && object.contains(name) && object[name].is_string()
               ? object[name].get<std::string>()
               : std::string();
  };
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
    return build_failed(ENOENT, "cannot run python3", "install it: apt install python3");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 126)
    return build_failed(0, "cannot make namespaces to build in",
                        "build as root, or allow unprivileged user namespaces on this host");
  if (!string(report, "error").empty())
    return build_failed(0, string(report, "error"), string(report, "remedy"));
  if (status != 0 || !report.is_object())
    return build_failed(0, "the builder ended without an image", "see its messages above");
  Manifest manifest{.created = now_utc(), .python = string(report, "python")};
  for (const char* origin : {"debian", "wheel"})
    for (const json& package : report.value(origin, json::array()))
      manifest.packages.push_back({origin, string(package, "name"), string(package, "version"),
                                   string(package, "license")});
  return manifest;
}

Expected<Manifest> make_tree(const Store& store, const std::string& recipe,
                             const std::string& building, int lock, const SignalsNoted& signals,
                             const BuildOptions& options) {
  const std::string tree = building + "/tree", report = building + "/report.json";
  std::vector<std::string> command = {
      "python3", "-B",      recipe + "/build.py", "--recipe", recipe, "--tree",
      tree,      "--cache", store.cache(),        "--report", report};
  if (!options.mirror.empty()) command.insert(command.end(), {"--mirror", options.mirror});
  TRY(const Builder builder, start(command, lock, signals.outside()));
  const int status = follow(builder, signals.outside(), options.progress);
  if (SignalsNoted::interrupted()) return interruption();
  TRY(Manifest manifest, read_report(report, status));
  if (options.progress) options.progress("hashing every file");
  TRY(manifest.entries, scan(tree));
  if (SignalsNoted::interrupted()) return interruption();
  manifest.bytes = total_bytes(manifest.entries);
  if (::unlink(report.c_str()) != 0)
    return build_failed(errno, "cannot remove " + report, "check the rights of this directory");
  return manifest;
}

bool is_current(const Expected<Generation>& generation, const std::string& key) {
  return generation && generation->key == key &&
         ::access((generation->path + "/manifest.json").c_str(), R_OK) == 0;
}

}  // namespace

Expected<Built> build(const Store& store, const std::string& recipe, const BuildOptions& options) {
  TRY(const std::string key, recipe_key(recipe));
  const auto finished = [&](bool up_to_date) -> Expected<Built> {
    TRY(Generation generation, store.current(options.image));
    TRY(const Manifest manifest, read_manifest(generation));
    return Built{std::move(generation), up_to_date, manifest.bytes};
  };
  if (!options.rebuild && is_current(store.current(options.image), key)) return finished(true);

  TRY_VOID(store.make_directories());
  TRY(const Fd lock, store.lock());
  // Whoever held the lock may have built the very image.
  if (!options.rebuild && is_current(store.current(options.image), key)) return finished(true);
  TRY_VOID(store.sweep(options.image));

  const SignalsNoted signals;
  const std::string building =
      store.root() + "/.building-" + options.image + "-" + key + "-" + std::to_string(::getpid());
  TRY_VOID(make_directories(building, 0755));
  Expected<Manifest> manifest = make_tree(store, recipe, building, lock.get(), signals, options);
  if (!manifest) {
    // Best effort: the failure is what the caller must hear of, and the next build sweeps.
    static_cast<void>(remove_tree(building));
    return std::unexpected(std::move(manifest.error()));
  }
  manifest->image = options.image;
  manifest->key = key;
  TRY_VOID(write_file(building + "/manifest.json", to_json(*manifest)));
  TRY_VOID(store.publish(building, options.image, key));
  TRY_VOID(store.sweep(options.image));
  return finished(false);
}

}  // namespace jailrun::rootfs
