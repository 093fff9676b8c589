#include "tests/integration/jaild/kill_soak.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "jail/confine/ids.h"
#include "jail/session/session.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr double kPatienceS = 20;

double seconds_since(std::int64_t begun) {
  return static_cast<double>(monotonic_ns() - begun) / 1e9;
}

// --- clients ------------------------------------------------------------------------------------

// What all clients and the killer share.
struct Round {
  std::atomic<bool> down = false, stop = false;
  std::atomic<std::uint64_t> answered = 0, interrupted = 0, wrong = 0;
  std::mutex lock;
  std::string faults;

  void fault(const std::string& what) {
    ++wrong;
    const std::lock_guard guard(lock);
    if (faults.size() < 4000) faults += what + "\n";
  }
};

class Worker {
 public:
  Worker(const Daemon& daemon, Round& round, unsigned seed)
      : socket_(daemon.socket()), round_(round), dice_(seed), thread_([this] { live(); }) {}
  // Since when it has waited for jaild or a jail; 0: it does not.
  std::int64_t waiting_since() const { return since_; }

 private:
  void live();
  void execute_in_session(Client& client);
  void run_once(Client& client);
  bool cell(Session& session, int& n);
  // Whether there is a value. If not, jaild has to have been killed.
  template <typename T>
  bool heard(const Expected<T>& got, const char* what);
  template <typename Ask>
  auto ask(Ask act) {
    since_ = monotonic_ns();
    auto got = act();
    since_ = 0;
    return got;
  }
  int dice(int sides) { return static_cast<int>(dice_() % static_cast<unsigned>(sides)); }

  const std::string socket_;
  Round& round_;
  std::mt19937 dice_;
  std::atomic<std::int64_t> since_ = 0;
  std::jthread thread_;
};

template <typename T>
bool Worker::heard(const Expected<T>& got, const char* what) {
  if (got) return true;
  if (round_.down) {
    ++round_.interrupted;
  } else {
    round_.fault(std::string(what) + " failed while jaild lived: " + got.error().line());
  }
  return false;
}

void Worker::live() {
  while (!round_.stop) {
    Expected<Client> client = Client::connect(socket_);
    if (!client) {
      ::poll(nullptr, 0, 5);
      continue;
    }
    if (dice(4) == 0) {
      run_once(*client);
    } else {
      execute_in_session(*client);
    }
  }
}

void Worker::run_once(Client& client) {
  const auto reply = ask([&] { return client.lease({.queue_ns = 60 * kSecondNs}); });
  if (!heard(reply, "a lease")) return;
  if (const Refusal* refused = std::get_if<Refusal>(&*reply))
    return round_.fault("a lease was refused: " + refused->line());
  auto& leased = const_cast<Leased&>(std::get<Leased>(*reply));
  const std::string number = std::to_string(dice_());
  const std::string frame = encode(Request{{"soak.py"}, "print(" + number + ")\n"});
  const auto ended = ask([&] {
    leased.in.reset();
    (void)write_all(leased.to_request.get(), frame.data(), frame.size());
    std::string out;
    char buffer[4096];
    for (ssize_t n; (n = ::read(leased.out.get(), buffer, sizeof buffer)) > 0;)
      out.append(buffer, static_cast<std::size_t>(n));
    Expected<LeaseEnded> got = client.wait_ended(leased.id);
    if (got) got->result.out = std::move(out);
    return got;
  });
  if (!heard(ended, "a run")) return;
  if (ended->result.verdict == Verdict::Ok && ended->result.out == number + "\n") {
    ++round_.answered;
  } else {
    round_.fault("a run of " + number + " gave " + ended->result.out + ", " + ended->result.reason);
  }
}

// One thing that a session does; false where it has come to its end.
bool Worker::cell(Session& session, int& n) {
  if (dice(8) == 0) {
    const auto state = ask([&] { return session.savepoint(); });
    if (!heard(state, "a savepoint")) return false;
    const auto spoilt = ask([&] { return session.execute("n += 1000"); });
    return heard(spoilt, "a cell") &&
           heard(ask([&] { return session.rollback(*state); }), "a rollback") &&
           heard(ask([&] { return session.drop(*state); }), "a drop");
  }
  if (dice(8) == 0) {
    const auto failed =
        ask([&] { return session.execute("n += 1000; 1 / 0", {.transactional = true}); });
    return heard(failed, "a trial");
  }
  static constexpr const char* kCells[] = {"n += 1; n", "import time; time.sleep(.03); n += 1; n",
                                           "print('x' * 300_000); n += 1; n",
                                           "sum(range(1_000_000)); n += 1; n"};
  const auto answer = ask([&] { return session.execute(kCells[dice(4)]); });
  if (!heard(answer, "a cell")) return false;
  ++n;
  const std::string got = answer->displays.empty()
                              ? answer->head.dump()
                              : text_of(answer->displays[0].head["data"], "text/plain");
  if (answer->ok() && got == std::to_string(n)) {
    ++round_.answered;
    return true;
  }
  round_.fault("cell " + std::to_string(n) + " gave " + got +
               (answer->ended ? ", " + answer->ended->result.reason : ""));
  return false;
}

void Worker::execute_in_session(Client& client) {
  auto session = ask([&] { return Session::create(client, {.queue_ns = 60 * kSecondNs}); });
  if (!heard(session, "a session")) return;
  int n = 0;
  if (!heard(ask([&] { return session->execute("n = 0"); }), "a cell")) return;
  for (int i = dice(20); i >= 0; --i)
    if (!cell(*session, n)) return;
  (void)heard(ask([&] { return session->close(); }), "the end of a session");
}

// --- what is left -------------------------------------------------------------------------------

std::string slurp(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// True if nobody alive holds the lease of this guest's uid.
bool unleased(const Fd& locks, std::uint32_t uid) {
  std::uint32_t byte = uid - kUidBase;
  if (byte >= kUidCount) byte = kUidCount + (byte - kUidCount) / kWorldUids;
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return ::fcntl(locks.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

// Processes that no owner answers for: by their uid, or by their program.
std::string orphans(const fs::path& spawner) {
  const Fd locks(::open("/run/jailrun/uids", O_RDWR | O_CLOEXEC));
  std::string found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string pid = entry.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string status = slurp(entry.path() / "status");
    const std::size_t at = status.find("\nUid:\t");
    if (at == std::string::npos) continue;
    const std::uint64_t uid = std::strtoull(status.c_str() + at + 6, nullptr, 10);
    const std::uint64_t most = std::uint64_t{kUidBase} + kUidCount + kWorldCount * kWorldUids;
    const bool ours = fs::read_symlink(entry.path() / "exe", error) == spawner;
    if (ours || (uid >= kUidBase && uid < most && unleased(locks, static_cast<std::uint32_t>(uid))))
      found += "process " + pid + " " + status.substr(0, status.find('\n')) + "\n";
  }
  return found;
}

// Where our daemon makes its groups, in each hierarchy: what others leave elsewhere is theirs.
bool is_in_our_group(const fs::path& group) {
  std::ifstream file("/proc/self/cgroup");
  const std::string parent = group.parent_path().lexically_normal().string();
  for (std::string line; std::getline(file, line);) {
    const std::string own = line.substr(line.find(':', line.find(':') + 1) + 1);
    const fs::path hierarchy = parent.substr(0, parent.size() - (own == "/" ? 0 : own.size()));
    if ((own == "/" || parent.ends_with(own)) &&
        (hierarchy == "/sys/fs/cgroup" || hierarchy.parent_path() == "/sys/fs/cgroup"))
      return true;
  }
  return false;
}

// Groups of jails whose owner holds no lock on them; not those that were there `before`.
std::string ownerless_groups(const std::string& before = {}) {
  std::set<std::string> locked;
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string word;
    for (int i = 0; i < 6 && words >> word; ++i) {
    }
    locked.insert(word);  // "00:1f:1234"
  }
  std::string found;
  std::error_code error;
  fs::recursive_directory_iterator at("/sys/fs/cgroup", error);
  for (const fs::recursive_directory_iterator end; at != end; at.increment(error)) {
    if (error) break;
    if (!at->path().filename().string().starts_with("jailrun-")) continue;
    at.disable_recursion_pending();
    struct stat st{};
    if (!is_in_our_group(at->path()) || ::stat(at->path().c_str(), &st) != 0) continue;
    char key[64];
    std::snprintf(key, sizeof key, "%02x:%02x:%llu", major(st.st_dev), minor(st.st_dev),
                  static_cast<unsigned long long>(st.st_ino));
    const std::string line = "group " + at->path().string() + "\n";
    if (!locked.contains(key) && before.find(line) == std::string::npos) found += line;
  }
  return found;
}

std::size_t mounts() {
  std::ifstream file("/proc/self/mountinfo");
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);)
    count += line.find("jailrun") != std::string::npos ? 1 : 0;
  return count;
}

// Others on this host make and end jails as well: what is theirs does not stay.
template <typename Look>
std::string stays(Look look) {
  const std::int64_t begun = monotonic_ns();
  std::string found = look();
  while (!found.empty() && seconds_since(begun) < kPatienceS) {
    ::poll(nullptr, 0, 5);
    found = look();
  }
  std::fputs(found.c_str(), stderr);
  return found;
}

}  // namespace

KillReport kill_at_random(Daemon& daemon, const KillOptions& options) {
  KillReport report;
  Round round;
  std::mt19937 dice(options.seed);
  const auto some_ms = [&](unsigned most) { return static_cast<int>(dice() % most); };
  const std::size_t mounted = mounts();
  const std::string groups = ownerless_groups();
  std::vector<std::unique_ptr<Worker>> workers;
  for (int i = 0; i < options.clients; ++i)
    workers.push_back(std::make_unique<Worker>(daemon, round, dice()));
  for (int n = 1; n <= options.rounds; ++n) {
    // Some while it imports, most while there is much to do.
    if (some_ms(4) != 0) {
      const std::uint64_t before = round.answered;
      for (int i = 0; round.answered == before && i < 60'000; ++i) ::poll(nullptr, 0, 1);
      if (round.answered == before) round.fault("nothing was answered for a minute");
    }
    ::poll(nullptr, 0, some_ms(400));
    round.down = true;
    const std::int64_t killed = monotonic_ns();
    daemon.end(SIGKILL);
    const auto waits = [&] {
      return std::ranges::count_if(workers, [&](const auto& each) {
        return each->waiting_since() != 0 && each->waiting_since() < killed;
      });
    };
    while (waits() != 0 && seconds_since(killed) < kPatienceS) ::poll(nullptr, 0, 1);
    report.hung += static_cast<std::uint64_t>(waits());
    report.slowest_word_s = std::max(report.slowest_word_s, seconds_since(killed));
    report.left += stays([&] { return orphans(options.programs + "/jailrun-spawner"); });
    report.slowest_end_s = std::max(report.slowest_end_s, seconds_since(killed));
    if (report.hung != 0) {  // nor would their threads ever be joined
      std::fprintf(stderr, "%llu clients hang\n", static_cast<unsigned long long>(report.hung));
      std::abort();
    }
    daemon.start();
    round.down = false;
    report.left += stays([&] { return ownerless_groups(groups); });
    if (options.talkative && n % 50 == 0)
      std::fprintf(stderr, "%d rounds, %llu answered, %llu interrupted, %llu wrong\n", n,
                   static_cast<unsigned long long>(round.answered),
                   static_cast<unsigned long long>(round.interrupted),
                   static_cast<unsigned long long>(round.wrong));
  }
  round.stop = true;
  workers.clear();
  report.answered = round.answered;
  report.interrupted = round.interrupted;
  report.wrong = round.wrong;
  report.faults = round.faults;
  report.left +=
      stays([&] { return mounts() > mounted ? std::string("mounts\n") : std::string(); });
  return report;
}

}  // namespace jailrun::test
