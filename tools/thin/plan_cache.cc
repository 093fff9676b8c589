#include "tools/thin/plan_cache.h"

#include <dirent.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "jail/confine/ids.h"
#include "jail/plan/find_policy.h"
#include "jail/sys/landlock.h"

extern char** environ;

namespace jailrun {
namespace {

// Changes when a program is built again: libseccomp is linked into jailrun-full, so its version is
// in here.
std::string build_stamp(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) return {};
  return path + " " + std::to_string(st.st_ino) + " " + std::to_string(st.st_size) + " " +
         std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec) + "\n";
}

std::string cache_key(const PolicySource& source, const std::vector<std::string>& sets) {
  utsname kernel{};
  ::uname(&kernel);
  std::string key = std::to_string(Plan::kVersion) + " " + std::to_string(sizeof(Plan)) + "\n";
  key += build_stamp("/proc/self/exe") + build_stamp(program_beside("jailrun-full")) +
         kernel.release + " landlock " + std::to_string(landlock_abi()) + "\n" + source.path + "\n";
  key += group_stamp(source);
  for (const std::string& set : sets) key += "set " + set + "\n";
  return key + source.text;
}

// The name only spreads; what decides is the key that the file begins with.
std::string file_name(const std::string& key) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char text[24];
  std::snprintf(text, sizeof text, "plan-%016llx", static_cast<unsigned long long>(hash));
  return text;
}

bool sound(const Plan& plan) {
  return plan.magic == Plan::kMagic && plan.version == Plan::kVersion &&
         plan.size == sizeof(Plan) && plan.filter_length > 0 &&
         plan.filter_length <= plan.filter.size() && plan.env_bytes <= plan.env.size() &&
         plan.rlimit_count <= plan.rlimits.size() && plan.policy[sizeof plan.policy - 1] == 0 &&
         plan.image[sizeof plan.image - 1] == 0;
}

std::unique_ptr<Plan> read_cached(const Fd& dir, const std::string& name, const std::string& key) {
  const Fd file(::openat(dir.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat st{};
  if (!file.valid() || ::fstat(file.get(), &st) != 0 || st.st_uid != ::geteuid() ||
      !S_ISREG(st.st_mode))
    return {};
  if (static_cast<std::size_t>(st.st_size) != key.size() + sizeof(Plan)) return {};
  std::string seen(key.size(), '\0');
  auto plan = std::make_unique<Plan>();
  const bool same =
      ::read(file.get(), seen.data(), seen.size()) == static_cast<ssize_t>(seen.size()) &&
      seen == key && ::read(file.get(), plan.get(), sizeof(Plan)) == sizeof(Plan);
  return same && sound(*plan) ? std::move(plan) : nullptr;
}

// Each policy text and --set has a file of its own; once there are many, all go.
void bound_cache(const Fd& dir) {
  constexpr int kMost = 256;
  const int fd = ::openat(dir.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = fd < 0 ? nullptr : ::fdopendir(fd);
  if (listing == nullptr) return;
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(listing)) {
    if (std::string_view(entry->d_name).starts_with("plan-")) names.emplace_back(entry->d_name);
  }
  ::closedir(listing);
  if (names.size() < kMost) return;
  for (const std::string& old : names) ::unlinkat(dir.get(), old.c_str(), 0);
}

// Losing a cache entry costs a compilation, so failures here are nobody's concern.
void write_cached(const Fd& dir, const std::string& name, const std::string& key,
                  const Plan& plan) {
  bound_cache(dir);
  const std::string temporary = name + "." + std::to_string(::getpid());
  const Fd file(::openat(dir.get(), temporary.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return;
  const bool written =
      write_all(file.get(), key.data(), key.size()) == 0 &&
      write_all(file.get(), reinterpret_cast<const char*>(&plan), sizeof plan) == 0;
  if (!written || ::renameat(dir.get(), temporary.c_str(), dir.get(), name.c_str()) != 0) {
    ::unlinkat(dir.get(), temporary.c_str(), 0);
  }
}

// Both streams of a child until its end; messages are bounded.
void drain(const Pipe& out, const Pipe& err, std::string& output, std::string& messages) {
  pollfd entries[2] = {{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}};
  std::string* const texts[2] = {&output, &messages};
  while (entries[0].fd >= 0 || entries[1].fd >= 0) {
    if (::poll(entries, 2, -1) < 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (entries[i].fd < 0 || entries[i].revents == 0) continue;
      char buffer[16384];
      const ssize_t n = ::read(entries[i].fd, buffer, sizeof buffer);
      if (n > 0 && texts[i]->size() < (1u << 20))
        texts[i]->append(buffer, static_cast<std::size_t>(n));
      if (n == 0 || (n < 0 && errno != EINTR)) entries[i].fd = -1;
    }
  }
}

Expected<std::unique_ptr<Plan>> compile(const std::string& policy,
                                        const std::vector<std::string>& sets) {
  const std::string program = program_beside("jailrun-full");
  std::vector<std::string> arguments = {program, "compile", policy};
  for (const std::string& set : sets) arguments.push_back("--set=" + set);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int ends[4];
  if (::pipe2(ends, O_CLOEXEC) != 0 || ::pipe2(ends + 2, O_CLOEXEC) != 0) {
    return std::unexpected(
        sys_error(Stage::None, "pipe", "cannot make a pipe", "raise the limit of open files"));
  }
  Pipe out{Fd(ends[0]), Fd(ends[1])}, err{Fd(ends[2]), Fd(ends[3])};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, out.write.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, err.write.get(), 2);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return std::unexpected(Error{Stage::None, program, error, "cannot run " + program,
                                 "install jailrun-full beside jailrun: it compiles policies"});
  }
  out.write.reset();
  err.write.reset();
  std::string output, messages;
  drain(out, err, output, messages);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  auto plan = std::make_unique<Plan>();
  if (status != 0 || output.size() != sizeof(Plan)) {
    while (messages.ends_with('\n')) messages.pop_back();
    return std::unexpected(
        Error{Stage::None, policy, 0,
              messages.empty() ? "policy " + policy + " could not be compiled" : messages,
              "correct what is named; `jailrun explain " + policy + "` checks it again"});
  }
  std::memcpy(plan.get(), output.data(), sizeof(Plan));
  if (!sound(*plan)) {
    return std::unexpected(Error{Stage::None, program, 0,
                                 program + " is of another version than jailrun",
                                 "install both from one build"});
  }
  return plan;
}

}  // namespace

std::string program_beside(const char* name) {
  char path[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  std::string program(path, length > 0 ? static_cast<std::size_t>(length) : 0);
  program.resize(program.rfind('/') + 1);
  return program + name;
}

Expected<std::unique_ptr<Plan>> load_plan(const std::string& policy,
                                          const std::vector<std::string>& sets) {
  TRY(const PolicySource source, find_policy(policy));
  const std::string key = cache_key(source, sets), name = file_name(key);
  const Expected<Fd> dir = open_run_dir();
  if (dir) {
    if (auto plan = read_cached(*dir, name, key)) return plan;
  }
  TRY(std::unique_ptr<Plan> plan, compile(policy, sets));
  // The compiler read the policy again: only if it is still the same may the Plan bear this key.
  const Expected<PolicySource> after = find_policy(policy);
  if (dir && after && cache_key(*after, sets) == key) write_cached(*dir, name, key, *plan);
  return plan;
}

}  // namespace jailrun
