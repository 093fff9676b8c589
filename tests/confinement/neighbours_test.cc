// Nothing of a guest reaches the host's processes and sockets, or another jail. The host looks at
// its own side.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>

#include "jail/confine/ids.h"
#include "tests/confinement/jailed.h"

namespace jailrun::test {
namespace {

// True if somebody has connected; takes him off the queue.
bool somebody_came(const Fd& listener) {
  const Fd guest(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  return guest.valid();
}

Fd listen_on(const sockaddr* address, socklen_t length) {
  Fd listener(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::bind(listener.get(), address, length) != 0 || ::listen(listener.get(), 8) != 0)
    listener.reset();
  return listener;
}

TEST(Neighbours, AServerOnTheHostsLoopbackIsNotReached) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const Fd listener = listen_on(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  socklen_t length = sizeof address;
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const std::string port = std::to_string(ntohs(address.sin_port));

  EXPECT_EQ(probe_unjailed({"connect-tcp", "127.0.0.1", port}).status, 0);
  EXPECT_TRUE(somebody_came(listener));
  EXPECT_EQ(probe_jailed({"connect-tcp", "127.0.0.1", port}).status, EAFNOSUPPORT);
  EXPECT_FALSE(somebody_came(listener));
}

// With sockets allowed and lo up in the jail: it is another lo.
TEST(Neighbours, AServerOnTheHostsLoopbackIsNotReachedFromALoopbackJailEither) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const Fd listener = listen_on(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  socklen_t length = sizeof address;
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const Outcome inside =
      probe_jailed({"connect-tcp", "127.0.0.1", std::to_string(ntohs(address.sin_port))},
                   {"--policy", "python-loopback", "--set", "files.exec=true"});
  EXPECT_EQ(inside.status, ECONNREFUSED) << inside.err;
  EXPECT_FALSE(somebody_came(listener));
}

TEST(Neighbours, AnAbstractSocketOfTheHostIsNotReached) {
  const std::string name = "jailrun-" + canary();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path + 1, name.c_str(), sizeof address.sun_path - 2);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const Fd listener = listen_on(reinterpret_cast<const sockaddr*>(&address), length);
  ASSERT_TRUE(listener.valid());

  EXPECT_EQ(probe_unjailed({"connect-abstract", name}).status, 0);
  EXPECT_TRUE(somebody_came(listener));
  EXPECT_THAT(probe_jailed({"connect-abstract", name}).status, testing::AnyOf(ECONNREFUSED, EPERM));
  EXPECT_FALSE(somebody_came(listener));
}

TEST(Neighbours, TwoJailsDoNotMeetOnAnAbstractSocket) {
  const std::string name = "jailrun-" + canary();
  EXPECT_EQ(probe_jailed({"meet-itself", name}).status, 0) << "within one jail such sockets work";
  {
    const auto twin = waiting_program({"listen-abstract", name});
    ASSERT_NE(twin, nullptr);
    EXPECT_EQ(probe_unjailed({"connect-abstract", name}).status, 0);
    twin->write("\n");
    EXPECT_EQ(twin->finish().status, 0) << "unjailed they meet";
  }
  const auto listener = waiting_jail({"listen-abstract", name});
  ASSERT_NE(listener, nullptr);
  EXPECT_THAT(probe_jailed({"connect-abstract", name}).status, testing::AnyOf(ECONNREFUSED, EPERM));
  listener->write("\n");
  EXPECT_EQ(listener->finish().status, ETIMEDOUT) << "nobody came";
}

TEST(Neighbours, TwoJailsAtOnceHaveNothingInCommon) {
  const auto first = waiting_jail(), second = waiting_jail();
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_NE(status_field(first->guest(), "Uid"), status_field(second->guest(), "Uid"));
  for (const char* name : {"ns/user", "ns/pid", "ns/mnt", "ns/ipc", "ns/uts", "ns/cgroup"}) {
    EXPECT_NE(proc_link(first->guest(), name), proc_link(second->guest(), name)) << name;
  }
  const auto leaf = [](const Live& jail) { return proc_file(jail.guest(), "cgroup"); };
  EXPECT_NE(leaf(*first), leaf(*second));
}

TEST(Neighbours, SharedMemoryOfTheHostIsNotThere) {
  const key_t key = 0x6a720000 + (::getpid() & 0xffff);
  const int id = ::shmget(key, 4096, IPC_CREAT | 0666);
  ASSERT_GE(id, 0);
  EXPECT_EQ(probe_unjailed({"shared-memory", std::to_string(key)}).status, 0);
  EXPECT_THAT(probe_jailed({"shared-memory", std::to_string(key)}).status,
              testing::AnyOf(ENOENT, ENOSYS));
  ::shmctl(id, IPC_RMID, nullptr);
}

// A process of the host with the very uid that the guest has there: all that a signal needs, but
// for the namespace.
TEST(Neighbours, KillingEverythingKillsNothingOutside) {
  const auto bystander = waiting_program({"wait"}, [] {
    if (::setresgid(kUidBase, kUidBase, kUidBase) != 0 ||
        ::setresuid(kUidBase, kUidBase, kUidBase) != 0)
      ::_exit(255);
  });
  ASSERT_NE(bystander, nullptr);
  const Fd alive = open_pidfd(bystander->pid());
  const auto jail = waiting_jail();
  ASSERT_NE(jail, nullptr);

  EXPECT_THAT(probe_jailed({"kill-all", "9"}).status, testing::AnyOf(0, ESRCH));
  EXPECT_FALSE(ends_within(alive, 200)) << "a jail killed a process of the host";
  EXPECT_FALSE(ends_within(open_pidfd(jail->guest()), 0)) << "a jail killed another jail's guest";

  // The twin: with that uid and outside, it does. In a pid namespace of its own, so that nobody
  // else dies.
  const Outcome twin = probe_unjailed({"kill", std::to_string(bystander->pid()), "9"}, [] {
    if (::setresuid(kUidBase, kUidBase, kUidBase) != 0) ::_exit(255);
  });
  EXPECT_EQ(twin.status, 0);
  EXPECT_TRUE(ends_within(alive, 5000));
}

TEST(Neighbours, KillingPid1FromInsideDoesNotEndTheJail) {
  for (const int signal : {SIGKILL, SIGTERM, SIGSTOP, SIGSEGV, SIGSYS}) {
    const Outcome outcome =
        jailrun({"exec", "--", "/bin/sh", "-c", "kill -" + std::to_string(signal) + " 1; exit 9"});
    EXPECT_EQ(outcome.status, 9) << "signal " << signal << " " << outcome.err;
  }
}

}  // namespace
}  // namespace jailrun::test
