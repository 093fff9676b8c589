#include "jail/daemon/server.h"

#include <grp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "jail/daemon/encode.h"
#include "jail/launch/plain.h"
#include "jail/plan/find_policy.h"

namespace jailrun {
namespace {

constexpr std::size_t kMostConnections = 1024, kMostPools = 16, kMostListed = 200;
// Of one user, so that none can shut the others out; and descriptors of messages that have not come
// whole, which would otherwise take all that jaild may open.
constexpr std::size_t kMostOfUser = kMostConnections / 2, kMostUnclaimedOfUser = 1024;
constexpr std::int64_t kSecondNs = 1'000'000'000;
// Owners that have not asked for this long may have to make room for another one.
constexpr std::int64_t kEvictableNs = 30 * kSecondNs;
constexpr std::chrono::milliseconds kTick{1000}, kEndTick{10};

Error no_socket(const std::string& path, std::string message) {
  return sys_error(Stage::None, path, std::move(message),
                   "check the directory's owner and mode, or give another --socket");
}

Expected<void> make_directory(const std::string& path) {
  const std::string directory = path.substr(0, path.rfind('/'));
  if (directory.empty()) return {};
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
    return std::unexpected(no_socket(directory, "cannot make " + directory));
  struct stat st{};
  // Whoever could rename the socket could answer in jaild's name.
  const bool found = ::stat(directory.c_str(), &st) == 0;
  // In a sticky directory nobody renames what is another's.
  if ((st.st_mode & S_ISVTX) != 0) st.st_mode &= ~static_cast<mode_t>(S_IWGRP | S_IWOTH);
  if (!found || !only_we_could_change(st)) {
    return std::unexpected(Error{Stage::None, directory, 0,
                                 directory + " can be written by others than the daemon's user",
                                 "chmod go-w it, or give another --socket"});
  }
  return {};
}

Expected<gid_t> group_id(const std::string& name) {
  const struct group* found = ::getgrnam(name.c_str());
  if (found == nullptr) {
    return std::unexpected(Error{Stage::None, name, 0, "no group " + name,
                                 "`groupadd " + name + "`, or give another --group"});
  }
  return found->gr_gid;
}

}  // namespace

Server::Server(ServerOptions options) : options_(std::move(options)) {}

Expected<void> Server::listen() {
  const std::string& path = options_.socket;
  if (path.empty() || path.front() != '/' || path.size() >= sizeof sockaddr_un::sun_path) {
    return std::unexpected(Error{Stage::None, path, 0, "'" + path + "' is no path for a socket",
                                 "give --socket an absolute path of at most 107 bytes"});
  }
  TRY_VOID(make_directory(path));
  const std::string lock = path + ".lock";
  lock_ = Fd(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock_.valid()) return std::unexpected(no_socket(lock, "cannot open " + lock));
  // A child of a jaild that was killed an instant ago shares its lock until it has died as well.
  constexpr int kTries = 100, kPauseMs = 10;
  for (int i = 0; ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
    if (errno != EWOULDBLOCK || i == kTries) {
      return std::unexpected(Error{Stage::None, path, 0, "another jaild has " + path,
                                   "end that one first, or give another --socket"});
    }
    ::poll(nullptr, 0, kPauseMs);
  }
  sweep();
  if (options_.listener < 0) return bind_socket();
  listener_ = Fd(options_.listener);
  ::fcntl(listener_.get(), F_SETFL, O_NONBLOCK);
  return {};
}

Expected<void> Server::bind_socket() {
  const std::string& path = options_.socket;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ::unlink(path.c_str());  // of one that was killed: the lock says that nobody listens
  // Nobody may connect before mode and group are as asked for.
  const mode_t before = ::umask(0777);
  const bool bound =
      ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::umask(before);
  if (!bound) return std::unexpected(no_socket(path, "cannot bind " + path));
  if (!options_.group.empty()) {
    TRY(const gid_t group, group_id(options_.group));
    if (::chown(path.c_str(), static_cast<uid_t>(-1), group) != 0)
      return std::unexpected(no_socket(path, "cannot give " + path + " to " + options_.group));
  }
  if (::chmod(path.c_str(), options_.mode) != 0 || ::listen(listener_.get(), 512) != 0)
    return std::unexpected(no_socket(path, "cannot listen on " + path));
  return {};
}

Expected<void> Server::run() {
  TRY_VOID(listen());
  boost::system::error_code ignored;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) signals_.add(signal, ignored);
  ::signal(SIGPIPE, SIG_IGN);
  listener_watch_ = std::make_shared<Watch>(io_, listener_.get());
  asio::co_spawn(io_, accept_clients(), asio::detached);
  heed_signals();
  asio::co_spawn(io_, tick(), asio::detached);
  warm_up();
  spdlog::info("jaild listens on {}", options_.socket);
  options_.serving();
  io_.run();
  if (options_.listener < 0) ::unlink(options_.socket.c_str());
  return {};
}

// --- clients ------------------------------------------------------------------------------------

Task Server::accept_clients() {
  const std::shared_ptr<Watch> watch = listener_watch_;
  while (!ending_) {
    const bool readable = co_await watch->readable();
    if (!readable || ending_) co_return;
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket.valid()) {
      admit(std::move(socket));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      spdlog::error("no client can be taken: {}", errno_name(errno));
      asio::steady_timer pause(io_, std::chrono::milliseconds(200));
      boost::system::error_code ignored;
      co_await pause.async_wait(await_with(ignored));
    }
  }
}

void Server::admit(Fd socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return;
  ++counters_.connections;
  const Peer peer{credentials.uid, credentials.gid, credentials.pid};
  const auto share = shares_.find(peer.uid);
  const Fd spare(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 3));  // it takes two
  const bool too_many = share != shares_.end() && share->second.connections >= kMostOfUser;
  if (too_many || connections_.size() >= kMostConnections || !spare.valid()) {
    count_refusal("", std::string(refusal::kTooManyConnections));
    daemon::FromDaemon message = encode({0, std::string(refusal::kTooManyConnections),
                                         too_many ? "this user has too many connections to jaild"
                                         : !spare.valid() ? "jaild is out of descriptors"
                                                          : "jaild has too many connections",
                                         "end some of them, or ask again later"},
                                        1);  // what it is about to ask
    wire::Frame frame{wire::framed(message.SerializeAsString()), {}};
    (void)wire::send(socket.get(), frame, MSG_DONTWAIT);
    return;  // closed
  }
  ++shares_[peer.uid].connections;
  spdlog::debug("client pid {} uid {} gid {}", peer.pid, peer.uid, peer.gid);
  const auto connection = std::make_shared<Connection>(*this, std::move(socket), peer);
  connections_.emplace(connection.get(), connection);
  asio::co_spawn(io_, connection->run(connection), asio::detached);
}

void Server::remove(Connection& connection) {
  // Not from under its own feet.
  const auto found = connections_.find(&connection);
  if (found == connections_.end()) return;
  asio::post(io_, [kept = found->second] {});
  connections_.erase(found);
  const auto share = shares_.find(connection.peer().uid);
  if (share != shares_.end() && --share->second.connections == 0) shares_.erase(share);
}

bool Server::hold_unclaimed(std::uint32_t uid, std::size_t before, std::size_t now) {
  std::size_t& held = shares_[uid].unclaimed;
  held = held - before + now;
  return held <= kMostUnclaimedOfUser;
}

// --- policies and pools -------------------------------------------------------------------------

std::expected<std::shared_ptr<JailPool>, Refusal> Server::pool_for(const Catalog::Found& policy,
                                                                   const Owner& owner) {
  const PoolKey key{policy->spec.name, policy->plan->pool.share_policy ? Owner{} : owner};
  const auto found = pools_.find(key);
  if (found != pools_.end()) return found->second;
  if (pools_.size() >= kMostPools) {
    const auto unused = std::find_if(pools_.begin(), pools_.end(), [](const auto& each) {
      return each.second->idle_for(kEvictableNs) && each.second->unused();
    });
    if (unused == pools_.end()) {
      return std::unexpected(
          Refusal{0, std::string(refusal::kTooManyOwners),
                  std::to_string(kMostPools) + " owners and policies have interpreters already",
                  "ask again later, or give the policy pool.share: POLICY"});
    }
    unused->second->shut_down();
    // Its jails end by and by, and only then its worlds.
    leaving_.push_back(unused->second);
    pools_.erase(unused);
  }
  auto pool = std::make_shared<JailPool>(io_, policy, counters_, options_.pool);
  pools_.emplace(key, pool);
  return pool;
}

// What a killed jaild left. Its processes died with it, its mounts with them, its ids are free
// again.
void Server::sweep() {
  const std::vector<std::string> swept = sweep_cgroups();
  counters_.swept += swept.size();
  for (const std::string& path : swept) spdlog::warn("swept the leftover cgroup {}", path);
}

void Server::warm_up() {
  for (const std::string& name : options_.warm.empty() ? policy_names() : options_.warm) {
    const auto policy = catalog_.find(name);
    if (!policy) {
      spdlog::error("{}; {}", policy.error().message, policy.error().remedy);
      continue;
    }
    if ((*policy)->plan->pool.max == 0 || (options_.warm.empty() && (*policy)->plan->pool.min == 0))
      continue;
    const auto pool = pool_for(*policy, Owner{::geteuid(), ""});
    if (!pool) continue;
    (*pool)->set_kept(true);
    (*pool)->tick();
  }
}

void Server::reload() {
  for (const Catalog::Change& change : catalog_.refresh()) {
    if (!change.now) {
      spdlog::error("policy {} goes on as it was: {}", change.name, change.fault.line());
      continue;
    }
    ++counters_.reloads;
    spdlog::info("policy {} has changed: read again", change.name);
    for (const auto& [key, pool] : pools_)
      if (key.first == change.name) pool->set_policy(change.now);
  }
}

Task Server::tick() {
  for (;;) {
    timer_.expires_after(ending_ ? kEndTick : kTick);
    boost::system::error_code ignored;
    co_await timer_.async_wait(await_with(ignored));
    options_.alive();
    if (ending_) {
      for (const auto& [key, pool] : pools_) pool->tick();
      for (const auto& pool : leaving_) pool->tick();
      if (ended() || monotonic_ns() > end_by_ns_) {
        io_.stop();
        co_return;
      }
      continue;
    }
    reload();
    sessions_.close_idle(std::chrono::nanoseconds(options_.session_idle).count(), monotonic_ns());
    for (const auto& [key, pool] : pools_) pool->tick();
    for (const auto& pool : leaving_) pool->tick();
    std::erase_if(leaving_, [](const auto& pool) { return pool->empty(); });
    std::erase_if(pools_, [](const auto& each) {
      return each.second->unused() && each.second->empty() && each.second->idle_for(60 * kSecondNs);
    });
    std::erase_if(leases_, [](const auto& each) { return each.second.expired(); });
  }
}

// --- beginning and end --------------------------------------------------------------------------

void Server::heed_signals() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    if (signal == SIGHUP) {
      reload();
    } else {
      spdlog::info("{}: ending", signal_name(signal));
      begin_end();
    }
    heed_signals();
  });
}

void Server::begin_end() {
  if (ending_) {
    io_.stop();
    return;
  }
  ending_ = true;
  end_by_ns_ = monotonic_ns() + 10 * kSecondNs;
  listener_watch_->cancel();
  listener_.reset();
  for (const auto& [key, pool] : pools_) pool->shut_down();
  for (const auto& [id, weak] : leases_)
    if (const auto lease = weak.lock()) lease->cancel("jaild is ending");
  timer_.cancel();  // the tick looks at once
}

bool Server::ended() const {
  return std::all_of(pools_.begin(), pools_.end(),
                     [](const auto& each) { return each.second->empty(); }) &&
         std::all_of(leaving_.begin(), leaving_.end(),
                     [](const auto& pool) { return pool->empty(); });
}

// --- accounts -----------------------------------------------------------------------------------

void Server::add(const std::shared_ptr<JailLease>& lease) { leases_[lease->terms().id] = lease; }

std::shared_ptr<JailLease> Server::find(std::uint64_t lease) const {
  const auto found = leases_.find(lease);
  return found == leases_.end() ? nullptr : found->second.lock();
}

void Server::note_end(std::uint64_t lease, const Result& result) {
  ++counters_.of(result.policy).verdicts[std::string(name(result.verdict))];
  leases_.erase(lease);
}

void Server::count_refusal(const std::string& policy, const std::string& name) {
  // Only of policies that exist: a client must not grow this table.
  const auto known = counters_.policies.find(policy);
  ++(known == counters_.policies.end() ? counters_.refusals : known->second.refusals)[name];
}

void Server::list(const Peer& peer, daemon::Ps& into) const {
  const std::int64_t now = monotonic_ns();
  std::map<const PooledJail*, std::shared_ptr<JailLease>> leased;
  for (const auto& [id, weak] : leases_)
    if (auto lease = weak.lock(); lease && lease->live()) leased.emplace(&lease->jail(), lease);
  for (const auto& [key, pool] : pools_) {
    for (const auto& world : pool->worlds()) {
      for (const auto& jail : world->jails()) {
        const auto lease = leased.find(jail.get());
        const bool mine = lease != leased.end() && lease->second->terms().owner.uid == peer.uid;
        if (peer.uid != 0 && !mine) continue;
        if (static_cast<std::size_t>(into.jails_size()) >= kMostListed) {
          into.set_more(into.more() + 1);
          continue;
        }
        daemon::JailEntry& entry = *into.add_jails();
        entry.set_policy(key.first);
        entry.set_state(std::string(name(jail->state)));
        entry.set_pid(jail->jail->guest_host_pid());
        entry.set_host_uid(jail->jail->host_uid());
        entry.set_age_ns(static_cast<std::uint64_t>(now - jail->begun_ns));
        if (lease == leased.end()) continue;
        entry.set_lease(lease->second->terms().id);
        entry.set_uid(lease->second->terms().owner.uid);
        entry.set_owner(lease->second->terms().owner.name);
        entry.set_leased_ns(static_cast<std::uint64_t>(now - lease->second->started_ns()));
        entry.set_memory_bytes(jail->jail->cgroup().evidence().memory_peak_bytes.value_or(0));
      }
    }
  }
}

std::vector<MetricRow> Server::metrics(const Peer& peer) const {
  std::vector<MetricRow> rows;
  const auto add = [&](const char* name, double value) {
    rows.push_back({name, {}, {}, value, {}});
  };
  add("jaild_connections", static_cast<double>(connections_.size()));
  add("jaild_leases", static_cast<double>(leases_.size()));
  add("jaild_sessions", static_cast<double>(sessions_.size()));
  const HostMemory memory = host_memory();
  add("jaild_memory_available_bytes", static_cast<double>(memory.available));
  add("jaild_memory_total_bytes", static_cast<double>(memory.total));
  report(counters_, rows);
  for (const auto& [key, pool] : pools_) {
    // Who else uses jaild, and how much, is for root to know.
    const Owner& owner = key.second;
    if (peer.uid != 0 && owner != Owner{} && owner.uid != peer.uid) continue;
    std::vector<MetricRow> own;
    pool->report(own);
    for (MetricRow& row : own) {
      if (owner != Owner{::geteuid(), ""} && owner != Owner{})
        row.kind = std::to_string(owner.uid) + ":" + owner.name;
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace jailrun
