// Who gets a jail from jaild, and who is told by name why not.
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <filesystem>
#include <functional>
#include <map>

#include "tests/integration/jaild/daemon.h"

namespace jailrun::test {
namespace {

constexpr uid_t kNobody = 65534;

class Admission : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = new Daemon({"--mode", "0666"}); }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  // In a process of another user: what `work` says.
  static std::string as_nobody(const std::function<std::string()>& work) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return "no pipe";
    Pipe pipe{Fd(ends[0]), Fd(ends[1])};
    const pid_t child = ::fork();
    if (child == 0) {
      ::setgroups(0, nullptr);
      if (::setresgid(kNobody, kNobody, kNobody) != 0 ||
          ::setresuid(kNobody, kNobody, kNobody) != 0)
        ::_exit(1);
      const std::string text = work();
      (void)write_all(pipe.write.get(), text.data(), text.size());
      ::_exit(0);
    }
    pipe.write.reset();
    char text[4096];
    const ssize_t n = ::read(pipe.read.get(), text, sizeof text);
    ::waitpid(child, nullptr, 0);
    return {text, static_cast<std::size_t>(n > 0 ? n : 0)};
  }
  static Daemon* daemon_;
  Client client_ = daemon_->connect();
};
Daemon* Admission::daemon_ = nullptr;

TEST_F(Admission, RefusesByName) {
  const std::map<std::string, LeaseRequest> wrong = {
      {"UnknownPolicy", {.policy = "nope"}},
      {"PolicyNotWarm", {.policy = "exec"}},
      {"NotOverridable", {.overrides = {"network.mode=LOOPBACK"}}},
      {"NotNarrower", {.overrides = {"limits.memory=1000GiB"}}},
      {"BadValue", {.overrides = {"limits.memory=lots"}}},
  };
  const std::string long_one(LeaseRequest::kMaxFirstBytes + 1, '#');
  EXPECT_EQ(refusal(client_, {.first = long_one}), "BadValue");
  for (const auto& [name, request] : wrong) EXPECT_EQ(refusal(client_, request), name);
  EXPECT_EQ(run(client_, "print(1)").out, "1\n");
}

TEST_F(Admission, TakesNoPathForAPolicy) {
  for (const char* path : {"/etc/passwd", "./python", "../policies/python", "", "python.textproto"})
    EXPECT_EQ(refusal(client_, {.policy = path}), "UnknownPolicy") << path;
}

TEST_F(Admission, OneUserCannotTakeAllDescriptorsOrConnections) {
  const auto connect = [&] {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    daemon_->socket().copy(address.sun_path, sizeof address.sun_path - 1);
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    return socket;
  };
  // A message that never comes whole, with as many descriptors as one may have.
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<Fd> clients;
  for (int i = 0; i < 100; ++i) {
    wire::Frame begun{"\x01", {}};
    for (std::size_t n = 0; n < wire::kMaxDescriptors; ++n)
      begun.descriptors.emplace_back(::fcntl(null.get(), F_DUPFD_CLOEXEC, 3));
    clients.push_back(connect());
    (void)wire::send(clients.back().get(), begun, 0);
  }
  EXPECT_EQ(run(client_, "print(1)").out, "1\n");
  const auto held = std::distance(
      std::filesystem::directory_iterator("/proc/" + std::to_string(daemon_->pid()) + "/fd"), {});
  EXPECT_LT(held, 3000);
  clients.clear();
  for (int i = 0; i < 600; ++i) clients.push_back(connect());
  EXPECT_EQ(as_nobody([&] {
              Client client = daemon_->connect();
              return run(client, "print(6 * 7)").out;
            }),
            "42\n");
  char told[512] = {};
  EXPECT_GT(::recv(clients.back().get(), told, sizeof told, 0), 0);
  EXPECT_THAT(std::string(told, sizeof told), testing::HasSubstr("TooManyConnections"));
}

TEST_F(Admission, TakesNoNamespaceForAFileAndNoNameTwice) {
  for (const char* kind : {"net", "user", "mnt"}) {
    const Fd space(::open((std::string("/proc/self/ns/") + kind).c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(refusal(client_, {.files = {{"a", space.get()}}}), "BadFile") << kind;
  }
  const Fd file(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(refusal(client_, {.files = {{"a", file.get()}, {"a", file.get()}}}), "BadFile");
}

TEST_F(Admission, LendsToOtherUsersWhereTheSocketLetsThemIn) {
  EXPECT_EQ(as_nobody([&] {
              Client client = daemon_->connect();
              return run(client, "print(6 * 7)").out;
            }),
            "42\n");
}

TEST_F(Admission, BelievesAnOwnerOnlyFromTrustedPeers) {
  EXPECT_EQ(refusal(client_, {.owner = "alice"}), "");
  EXPECT_EQ(as_nobody([&] {
              Client client = daemon_->connect();
              return refusal(client, {.owner = "alice"});
            }),
            "NotPermitted");
}

TEST_F(Admission, ShowsAndKillsOnlyOnesOwnJails) {
  Leased mine = lease(client_);
  send_script(mine, "import time; time.sleep(60)");
  EXPECT_EQ(as_nobody([&] {
              Client client = daemon_->connect();
              const auto refused = client.kill_jail(mine.id);
              return std::to_string(client.ps()->jails.size()) + (*refused ? (*refused)->name : "");
            }),
            "0NoSuchJail");
  Client other = daemon_->connect();
  EXPECT_FALSE(*other.kill_jail(mine.id));
  EXPECT_EQ(finish(client_, mine).ended.result.verdict, Verdict::Cancelled);
}

TEST_F(Admission, ListsWhatIsLeased) {
  const Leased mine = lease(client_, {.owner = "bob"});
  Client other = daemon_->connect();
  bool seen = false;
  const JailList list = other.ps().value();
  for (const JailInfo& jail : list.jails) {
    if (jail.lease != mine.id) continue;
    seen = true;
    EXPECT_EQ(jail.owner, "bob");
    EXPECT_EQ(jail.state, "leased");
    EXPECT_GT(jail.pid, 0);
  }
  EXPECT_TRUE(seen);
}

TEST_F(Admission, AnswersEveryOneOfAFlood) {
  constexpr int kRequests = 250;
  std::map<std::string, int> answers;
  for (int i = 0; i < kRequests; ++i) ASSERT_TRUE(client_.ask({.queue_ns = 20'000'000'000}));
  std::vector<Leased> leased;
  for (int i = 0; i < kRequests;) {
    auto message = client_.receive(true);
    ASSERT_TRUE(message) << message.error().line();
    if (const Refusal* refused = std::get_if<Refusal>(&**message)) {
      ++answers[refused->name];
      ++i;
    } else if (Leased* each = std::get_if<Leased>(&**message)) {
      ++answers["leased"];
      ++i;
      ASSERT_TRUE(client_.cancel(each->id, "seen"));
    }
  }
  EXPECT_GT(answers["QueueFull"], 100);
  EXPECT_GE(answers["leased"], 64);
  EXPECT_EQ(answers["leased"] + answers["QueueFull"], kRequests);
}

TEST_F(Admission, KeepsDeadlines) {
  std::vector<std::uint64_t> asked;
  int late = 0;
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(client_.ask({.queue_ns = 1'000'000}));
  for (int i = 0; i < 40;) {
    auto message = client_.receive(true);
    ASSERT_TRUE(message);
    if (const Refusal* refused = std::get_if<Refusal>(&**message)) {
      EXPECT_EQ(refused->name, "DeadlineExceeded");
      ++late;
      ++i;
    } else if (const Leased* each = std::get_if<Leased>(&**message)) {
      ASSERT_TRUE(client_.cancel(each->id, "seen"));
      ++i;
    }
  }
  EXPECT_GT(late, 0);
}

TEST_F(Admission, DropsClientsThatDoNotKeepToTheProtocol) {
  const std::string garbage[] = {std::string("\xff\xff\xff\x7f", 4), wire::framed("\xff\xff\xff"),
                                 wire::framed(""), std::string(1 << 20, 'x'),
                                 wire::framed("\x12\x03\x12\x01\xff")};  // a policy's name
  for (const std::string& bytes : garbage) {
    Client bad = daemon_->connect();
    (void)!::send(bad.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    EXPECT_FALSE(bad.receive(true));
  }
  // Descriptors that belong to no message.
  Client bad = daemon_->connect();
  wire::Frame frame{std::string("\x02\0\0\0\x08\0", 6), {}};
  frame.descriptors.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(wire::send(bad.fd(), frame, 0));
  EXPECT_FALSE(bad.receive(true));
  EXPECT_EQ(run(client_, "print(1)").out, "1\n");
  // The log is not theirs to fill.
  EXPECT_EQ(daemon_->log().find("protobuf"), std::string::npos) << daemon_->log();
}

TEST_F(Admission, GivesUpOnAClientThatTakesNoAnswer) {
  Client deaf = daemon_->connect();
  bool broken = false;
  for (int i = 0; i < 200'000 && !broken; ++i) {
    const std::string ask = wire::framed(std::string("\x2a\x00", 2));  // StatsQuery
    broken = ::send(deaf.fd(), ask.data(), ask.size(), MSG_NOSIGNAL) < 0;
  }
  EXPECT_TRUE(broken);
  EXPECT_EQ(run(client_, "print(1)").out, "1\n");
}

}  // namespace
}  // namespace jailrun::test
