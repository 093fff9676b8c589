// A jail does not outlive its owner, whenever and however that dies.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include "jail/confine/ids.h"
#include "tests/confinement/jailed.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

// True if nobody holds the byte-range lock of `uid` in the lock file of leases.
bool lease_is_free(std::uint32_t uid) {
  const Fd file(::open("/run/jailrun/uids", O_RDWR | O_CLOEXEC));
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = uid - kUidBase;
  lock.l_len = 1;
  return ::fcntl(file.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

std::uint32_t uid_of(pid_t pid) {
  return static_cast<std::uint32_t>(std::stoul(status_field(pid, "Uid")));
}

TEST(Owner, KilledTakesGuestAndInitWithItAndFreesTheUid) {
  const auto before = take_census();
  {
    const auto jail = waiting_jail({"stay-with-children"});
    ASSERT_NE(jail, nullptr);
    std::vector<Fd> processes;
    processes.push_back(open_pidfd(jail->init()));
    processes.push_back(open_pidfd(jail->guest()));
    for (const pid_t child : children(jail->guest())) processes.push_back(open_pidfd(child));
    ASSERT_EQ(processes.size(), 5u);
    const std::uint32_t uid = uid_of(jail->guest());
    EXPECT_FALSE(lease_is_free(uid)) << "the twin: a live jail holds its uid";
    jail->send(SIGKILL);
    for (const Fd& process : processes)
      EXPECT_TRUE(ends_within(process, 1000)) << "it lives on without its owner";
    EXPECT_EQ(jail->finish().status, 128 + SIGKILL);
    EXPECT_TRUE(lease_is_free(uid));
  }
  // The next jail takes the same uid and with it the dead one's cgroup.
  EXPECT_EQ(jailrun({"exec", "--", "/bin/true"}).status, 0);
  EXPECT_EQ(left_for_good(before), "");
}

// In flight for `uid`: more than a process with a thousand files may have.
void send_descriptors_as(std::uint32_t uid, int socket) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit many{4096, 4096};
    if (::setrlimit(RLIMIT_NOFILE, &many) != 0 || ::setresuid(uid, uid, uid) != 0) ::_exit(1);
    std::array<int, 250> fds{};
    fds.fill(socket);
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)];
    char byte = 0;
    iovec part{&byte, 1};
    const msghdr message{.msg_name = nullptr,
                         .msg_namelen = 0,
                         .msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof control,
                         .msg_flags = 0};
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    *rights = {.cmsg_len = CMSG_LEN(sizeof fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof fds);
    for (int i = 0; i < 6; ++i)
      if (::sendmsg(socket, &message, MSG_NOSIGNAL) != 1) ::_exit(2);
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
}

bool one_waits(const std::vector<pid_t>& processes) {
  const std::string nanosleep = std::to_string(SYS_nanosleep) + " ";
  return std::ranges::any_of(
      processes, [&](pid_t pid) { return proc_file(pid, "syscall").starts_with(nanosleep); });
}

// A guest that sends descriptors in a cycle leaves them in flight when it ends, counted for its
// uid, until the kernel's collector of sockets has run; the next jail has the same uid.
TEST(Owner, OfAUidWithDescriptorsInFlightWaitsUntilTheyHaveLanded) {
  std::array<Fd, 2> ends;
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  ends = {Fd(pair[0]), Fd(pair[1])};
  for (std::uint32_t uid = kUidBase; uid < kUidBase + 4; ++uid)
    ASSERT_NO_FATAL_FAILURE(send_descriptors_as(uid, pair[0]));
  Live jail({JAILRUN_BIN_DIR "/jailrun", "exec", "--", "/bin/true"}, [] {
    const rlimit usual{1024, 4096};
    ::setrlimit(RLIMIT_NOFILE, &usual);
  });
  bool waits = false;
  for (int i = 0; i < 500 && !waits; ++i) {
    waits = one_waits(children(jail.pid()));
    ::poll(nullptr, 0, 1);
  }
  EXPECT_TRUE(waits);
  ends = {};
  const Outcome outcome = jail.finish();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
}

// A process that hangs in the kernel cannot be killed; here it hangs in its exit, as its tracer
// wants it. Its uid, which no owner holds any more, is nobody else's while it lives.
TEST(Owner, GoneLeavesAHungProcessItsUidAndTheNextJailRuns) {
  ASSERT_EQ(jailrun({"exec", "--", "/bin/true"}).status, 0);
  const auto before = take_census();
  auto jail = waiting_jail();
  ASSERT_NE(jail, nullptr);
  const pid_t guest = jail->guest();
  Fd init = open_pidfd(jail->init());
  const std::uint32_t uid = uid_of(guest);
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, guest, nullptr, PTRACE_O_TRACEEXIT), 0);
  jail->send(SIGKILL);
  jail->finish();
  ASSERT_EQ(::waitpid(guest, nullptr, __WALL), guest) << "it hangs now";
  EXPECT_TRUE(lease_is_free(uid)) << "the owner's end has freed it";

  const auto next = waiting_jail();
  ASSERT_NE(next, nullptr) << "one hung process keeps all other jails from running";
  EXPECT_NE(uid_of(next->guest()), uid);
  next->write("\n");
  const Outcome outcome = next->finish();
  EXPECT_EQ(outcome.status, 0) << outcome.err;

  ASSERT_EQ(::ptrace(PTRACE_CONT, guest, nullptr, nullptr), 0);
  while (::waitpid(guest, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  EXPECT_TRUE(ends_within(init, 20'000));
  init.reset();
  EXPECT_EQ(jailrun({"exec", "--", "/bin/true"}).status, 0);
  EXPECT_EQ(left_for_good(before), "");
}

// From the first microseconds to a guest that has run for a while: whatever was done by then ends
// with the owner.
TEST(Owner, KilledAtAnyMomentLeavesNothing) {
  ASSERT_EQ(jailrun({"exec", "--", "/bin/true"}).status, 0);
  const Scratch scratch;
  const std::string secret =
      scratch.file("private.csv", "1,2\n", 0600);  // needs the id-mapping helper process
  const auto before = take_census();
  for (int step = 0; step < 120; ++step) {
    Live jail({jailrun_program(), "exec", "--file", secret, "--", "/bin/sleep", "30"});
    const timespec moment{0, step * step * 2'000L};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, nullptr);
    jail.send(SIGKILL);
  }
  // These lease the lowest uids again, each sweeping what carries its number: a killed jail that
  // was still dying when the next one began has made that one take a higher number.
  for (std::vector<std::unique_ptr<Live>> jails; jails.size() < 8;) {
    jails.push_back(waiting_jail());
    ASSERT_NE(jails.back(), nullptr);
    if (jails.size() < 8) continue;
    for (const auto& jail : jails) {
      jail->write("\n");
      EXPECT_EQ(jail->finish().status, 0);
    }
  }
  EXPECT_EQ(left_for_good(before), "");
}

TEST(Owner, TerminatedOrInterruptedEndsTheJailAndSaysSo) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    const auto before = take_census();
    const auto jail = waiting_jail({"stay-with-children"});
    ASSERT_NE(jail, nullptr);
    Fd guest = open_pidfd(jail->guest());
    jail->send(signal);
    EXPECT_TRUE(ends_within(guest, 2000));
    guest.reset();
    const Outcome outcome = jail->finish();
    EXPECT_EQ(outcome.status, 130);
    EXPECT_THAT(outcome.err, testing::HasSubstr("cancelled"));
    EXPECT_EQ(left_for_good(before), "");
  }
}

// A process that has left its parent, session and signals behind is still the jail's.
TEST(Owner, NothingStaysOnceTheGuestsFirstProcessHasEnded) {
  const auto before = take_census();
  const Outcome twin = probe_unjailed({"sees-others"});
  EXPECT_EQ(twin.status, 0);
  EXPECT_EQ(probe_jailed({"daemonize"}).status, 0);
  EXPECT_EQ(left_for_good(before), "");
}

}  // namespace
}  // namespace jailrun::test
