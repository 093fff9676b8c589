#include "jail/pool/warm_jail.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "jail/run/account.h"
#include "jail/run/frames.h"

namespace jailrun {
namespace {

// One message with descriptors. False: the other side is dead.
template <typename T, typename Fds>
bool send_order(const Fd& socket, const T& order, const Fds& fds) {
  iovec part{const_cast<T*>(&order), sizeof order};
  alignas(cmsghdr) char buffer[CMSG_SPACE(sizeof(int) * child::kMaxOrderFds)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = buffer;
  header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  return ::sendmsg(socket.get(), &header, MSG_NOSIGNAL) == sizeof order;
}

Fd open_pidfd(pid_t pid) { return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

// Nothing more will be said on it. Never waits.
bool at_end(const Fd& channel) {
  char byte = 0;
  return ::recv(channel.get(), &byte, 1, MSG_DONTWAIT) == 0;
}

Error world_is_dead() {
  return Error{Stage::Spawn, "keeper", 0, "the keeper of the warm jails is dead",
               "ask again: a new one is started"};
}

}  // namespace

void WarmJail::Unmap::operator()(child::Reports* page) const { ::munmap(page, 4096); }

void WarmJail::mark(Stage stage) { marks_[static_cast<std::size_t>(stage)] = monotonic_ns(); }

// The end of a stage of the owner's.
Expected<void> WarmJail::reach(Stage stage) {
  if (fail_at_ == stage) return std::unexpected(injected(stage));
  mark(stage);
  return {};
}

Expected<std::unique_ptr<WarmJail>> WarmJail::begin(World& world, bool hurry, Stage fail_at) {
  const std::optional<std::uint32_t> uid = world.take_uid();
  if (!uid) {
    return std::unexpected(Error{Stage::LeaseUid, "uids", 0,
                                 "all ids of this world are in use by its jails",
                                 "wait for some of them to end"});
  }
  std::unique_ptr<WarmJail> jail(new WarmJail(world, hurry, fail_at));
  jail->begin_ns_ = monotonic_ns();
  jail->host_uid_ = *uid;
  TRY_VOID(jail->reach(Stage::LeaseUid));
  const Plan& plan = world.plan_;
  const CgroupLimits limits{plan.memory_bytes, plan.pids, plan.cpu_millis, plan.may_lack};
  TRY(Cgroup cgroup, Cgroup::create("jailrun-" + std::to_string(*uid - kUidBase), limits,
                                    world.group_->parents(), world.uid_base_));
  jail->cgroup_.emplace(std::move(cgroup));
  TRY_VOID(jail->reach(Stage::MakeCgroup));
  TRY_VOID(jail->make_pipes());
  TRY_VOID(jail->reach(Stage::OpenStreams));
  TRY_VOID(jail->order_slot());
  return jail;
}

Expected<void> WarmJail::make_pipes() {
  const struct {
    Fd &read, &write;
  } pipes[] = {{their_in_, ends_.in},
               {ends_.out, their_out_},
               {ends_.err, their_err_},
               {their_request_, ends_.request},
               {ends_.answer, their_answer_}};
  for (const auto& pipe : pipes) {
    TRY(Pipe made, open_stream(host_uid_));
    pipe.read = std::move(made.read);
    pipe.write = std::move(made.write);
  }
  reports_fd_ = Fd(::memfd_create("jailrun-reports", MFD_CLOEXEC));
  void* page = MAP_FAILED;
  if (reports_fd_.valid() && ::ftruncate(reports_fd_.get(), 4096) == 0)
    page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reports_fd_.get(), 0);
  if (page == MAP_FAILED) {
    return std::unexpected(sys_error(Stage::OpenStreams, "memory", "cannot make a shared page",
                                     "free memory, or raise the limit of open files"));
  }
  reports_.reset(static_cast<child::Reports*>(page));
  return {};
}

Expected<void> WarmJail::order_slot() {
  TRY(Channel channel, open_channel());
  std::vector<int> fds = {reports_fd_.get(), channel.child.get(), cgroup_->v2_fd()};
  for (const Fd& tasks : cgroup_->task_files()) fds.push_back(tasks.get());
  if (!send_order(world_.keeper_, child::SlotOrder{host_uid_ - world_.uid_base_, fail_at_}, fds))
    return std::unexpected(world_is_dead());
  control_ = std::move(channel.owner);
  return {};
}

Posture WarmJail::posture() const {
  Posture posture{init_host_pid_,        host_uid_,      world_.owner_,
                  world_.network_inode_, world_.mounts_, world_.filters_};
  posture.last_descriptor = 5;
  posture.keeper = world_.keepers_;
  return posture;
}

Expected<WarmJail::State> WarmJail::advance() {
  pollfd entry{control_fd(), POLLIN, 0};
  if (::poll(&entry, 1, 0) <= 0) return state_;  // event loops wake for nothing now and then
  if (state_ == State::Building) {
    TRY_VOID(order_child());
    state_ = State::Joining;
  } else if (state_ == State::Joining) {
    if (!said_ready_) TRY_VOID(hear_ready());
    // Init may be slower than the guest: it has given up its rights when its channel ends.
    awaits_init_ = !at_end(init_control_);
    if (awaits_init_) return state_;
    TRY_VOID(admit());
    state_ = State::Parked;
  }
  return state_;
}

// With init ends all that is in its namespace: its own words come first.
Error WarmJail::ended_early() const {
  if (reports_->init.error_stage != 0) return child_error(reports_->init, "init");
  return child_error(reports_->guest, "guest");
}

Expected<void> WarmJail::hear_ready() {
  char byte = 0;
  ssize_t n = 0;
  while ((n = ::recv(control_.get(), &byte, 1, 0)) < 0 && errno == EINTR) {
  }
  if (n != 1) return std::unexpected(ended_early());
  said_ready_ = true;
  return {};
}

// The slot stands; its init gives up its rights while the world is read and the zygote forks.
Expected<void> WarmJail::order_child() {
  if (!receive_mounts(control_, held_)) return std::unexpected(child_error(reports_->init, "init"));
  const std::vector<pid_t> members = cgroup_->members();
  if (members.size() != 1) return std::unexpected(differs("its slot has no single process"));
  init_host_pid_ = members.front();
  init_pidfd_ = open_pidfd(init_host_pid_);
  if (!init_pidfd_.valid()) return std::unexpected(child_error(reports_->init, "init"));

  TRY(Channel channel, open_channel());
  std::vector<int> fds = {init_pidfd_.get(),   cgroup_->v2_fd(),     reports_fd_.get(),
                          channel.child.get(), their_in_.get(),      their_out_.get(),
                          their_err_.get(),    their_request_.get(), their_answer_.get()};
  for (const Fd& tasks : cgroup_->task_files()) fds.push_back(tasks.get());
  if (!send_order(world_.zygote_, child::ChildOrder{fail_at_, hurry_}, fds)) {
    return std::unexpected(
        Error{Stage::Spawn, "zygote", 0, "the zygote is dead", "ask again: a new one is started"});
  }
  init_control_ = std::move(control_);
  control_ = std::move(channel.owner);
  for (Fd* theirs : {&their_in_, &their_out_, &their_err_, &their_request_, &their_answer_})
    theirs->reset();
  reports_fd_.reset();
  return attest_world(posture(), *cgroup_);
}

Expected<void> WarmJail::admit() {
  TRY(const Attested seen, attest_guest(posture(), *cgroup_));
  guest_host_pid_ = seen.guest;
  guest_pid_ = seen.guest_inside;
  init_pid_ = seen.init_inside;
  if (guest_pid_ == 0 || init_pid_ == 0) return std::unexpected(ended_early());
  TRY_VOID(reach(Stage::Attest));
  if (::send(control_.get(), "g", 1, MSG_NOSIGNAL) != 1) return std::unexpected(ended_early());
  control_.reset();
  init_control_.reset();
  return {};
}

// Nobody else has the writing end of a parked guest's answers: it hangs up when the guest dies.
bool WarmJail::waits() const {
  pollfd entry{ends_.answer.get(), 0, 0};
  return ::poll(&entry, 1, 0) == 0;
}

Expected<void> WarmJail::limit(const Late& late) {
  const Plan& plan = world_.plan_;
  return cgroup_->change({late.memory_bytes != 0 ? late.memory_bytes : plan.memory_bytes,
                          late.pids != 0 ? late.pids : plan.pids,
                          late.cpu_millis != 0 ? late.cpu_millis : plan.cpu_millis, plan.may_lack});
}

Expected<void> WarmJail::attach(const std::vector<Input>& inputs) {
  std::vector<child::InputArgs> names;
  for (const Input& input : inputs)
    names.push_back({input.name.c_str(), input.tree.get(), input.content.data(),
                     input.content.size(), input.is_package});
  child::AttachArgs args{};
  args.base.report = &reports_->init;
  args.base.plan = &world_.plan_;
  args.base.inputs = names.data();
  args.base.input_count = names.size();
  args.base.uid = kGuestUid;
  args.init_pidfd = init_pidfd_.get();
  // In our memory on a stack of its own: it only makes system calls, and setns asks for one thread.
  alignas(16) static thread_local char stack[65536];
  const int process = ::clone(
      [](void* pointer) -> int {
        child::attach_main(static_cast<const child::AttachArgs*>(pointer));
      },
      stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &args);
  int status = -1;
  while (process > 0 && ::waitpid(process, &status, 0) < 0 && errno != ECHILD) {
  }
  if (process < 0 || status != 0) return std::unexpected(child_error(reports_->init, "init"));
  return {};
}

void WarmJail::announce_request() {
  const std::uint32_t notice = kRequestComes;
  (void)write_all(ends_.request.get(), reinterpret_cast<const char*>(&notice), sizeof notice);
}

Expected<void> put_first(int fd, std::string_view bytes) {
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  const int error = write_all(fd, bytes.data(), bytes.size());
  ::fcntl(fd, F_SETFL, 0);
  if (error == 0) return {};
  return std::unexpected(Error{Stage::OpenStreams, "request", error,
                               "the jail's request pipe does not take the request",
                               "send it after the lease, or ask for another jail"});
}

Expected<WarmJail::Ends> WarmJail::Ends::copy() const {
  Ends copies;
  const std::pair<Fd&, const Fd&> all[] = {{copies.request, request},
                                           {copies.answer, answer},
                                           {copies.in, in},
                                           {copies.out, out},
                                           {copies.err, err}};
  for (const auto& [copy, end] : all) {
    copy = Fd(::fcntl(end.get(), F_DUPFD_CLOEXEC, 3));
    if (!copy.valid())
      return std::unexpected(sys_error(Stage::OpenStreams, "session", "cannot copy a descriptor",
                                       "raise the limit of open files of jaild"));
  }
  return copies;
}

void WarmJail::signal(int number) {
  const Fd pidfd = open_pidfd(guest_host_pid_);
  // Only what has been in the cgroup after the descriptor was there is ours for certain.
  const std::vector<pid_t> members = cgroup_->members();
  if (pidfd.valid() && std::ranges::find(members, guest_host_pid_) != members.end())
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0);
}

void WarmJail::kill() {
  if (!killed_) mark(Stage::Kill);
  killed_ = true;
  cgroup_->kill();
  // Needs no new descriptor, of which there may be none: with its pid 1 ends a pid namespace.
  if (init_pidfd_.valid()) ::syscall(SYS_pidfd_send_signal, init_pidfd_.get(), SIGKILL, nullptr, 0);
}

bool WarmJail::note(const Ended& ended) {
  if (ended.pid == guest_pid_ && guest_pid_ != 0) {
    // Killed by us, or its own end?
    guest_ended_ = !killed_ || !WIFSIGNALED(ended.status) || WTERMSIG(ended.status) != SIGKILL;
    guest_status_ = ended.status;
    guest_reaped_ = true;
    mark(Stage::Run);
  } else if (ended.pid == init_pid_ && init_pid_ != 0) {
    init_ended_ = true;
  } else {
    return false;
  }
  return gone();
}

Result WarmJail::settle_early(const Plan& plan, Evidence& evidence) {
  evidence.guest_ended = guest_ended_;
  evidence.wait_status = guest_status_;
  evidence.orphans_sigsys = reports_->init.orphans_sigsys;
  Result result = account(plan, *cgroup_, held_, evidence);
  result.timeline = timeline();
  return result;
}

Result WarmJail::settle(const Plan& plan, Evidence& evidence) {
  Result result = settle_early(plan, evidence);
  if (Expected<void> removed = cgroup_->remove(); !removed)
    result.warnings.push_back(removed.error().line());
  mark(Stage::Teardown);
  result.timeline = timeline();
  return result;
}

std::vector<TimelineEntry> WarmJail::timeline() const {
  return make_timeline(begin_ns_, {marks_.data(), reports_->init.end_ns, reports_->guest.end_ns});
}

WarmJail::~WarmJail() {
  if (cgroup_ && !gone()) {
    kill();
    if (init_pidfd_.valid()) {
      pollfd entry{init_pidfd_.get(), POLLIN, 0};
      while (::poll(&entry, 1, 10'000) < 0 && errno == EINTR) {
      }
    }
  }
  cgroup_.reset();
  world_.return_uid(host_uid_);
}

}  // namespace jailrun
