// The protocol of jaild: what protobuf writes, clients read without it, and the other way round.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "jail/daemon/client.h"
#include "jail/daemon/configured.h"
#include "jail/daemon/decode.h"
#include "jail/daemon/encode.h"
#include "jail/daemon/wire.h"

namespace jailrun {
namespace {

struct Ends {
  Ends() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    one = Fd(fds[0]);
    other = Fd(fds[1]);
  }
  Fd one, other;
};

Fd any_file() { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

template <typename T>
T decoded(daemon::FromDaemon message) {
  const auto out = decode_message(message.SerializeAsString());
  EXPECT_TRUE(out);
  return std::move(const_cast<T&>(std::get<T>(out->message)));
}

TEST(Socket, IsTheOneOfTheConfigurationFileWhereThatNamesOne) {
  EXPECT_EQ(
      wire::socket_in("# comment\n[service]\nsocket = \"/no\"\n [ jaild ] \r\n"
                      "mode=\"0660\"\n\tsocket\t= '/run/own/s' # here\r\n[log]\nsocket='/no'"),
      "/run/own/s");
  for (const char* none : {"", "[jaild]\n#socket = \"/no\"\n", "[jaild]\nsocket", "[jaild\nsocket=",
                           "[jaild]\nsocket = \"\"", "[jaild]\nsocket = \"/a\\tb\"",
                           "[jaild]\nsocket = /no", "[jaild]\nsockets = '/no'"})
    EXPECT_EQ(wire::socket_in(none), "") << none;
  const std::string file = testing::TempDir() + "/jailrun-socket.conf";
  std::ofstream(file) << "[jaild]\nsocket = \"/run/configured\"\n";
  ::unsetenv("JAILRUN_SOCKET");
  ::setenv("JAILRUN_CONFIG", file.c_str(), 1);
  EXPECT_EQ(wire::socket_path(), "/run/configured");
  ::setenv("JAILRUN_SOCKET", "/run/chosen", 1);
  EXPECT_EQ(wire::socket_path(), "/run/chosen");
  ::unsetenv("JAILRUN_SOCKET");
  ::unsetenv("JAILRUN_CONFIG");
  std::remove(file.c_str());
}

TEST(Frames, ComeWholeHoweverTheyAreCut) {
  Ends ends;
  wire::Reader reader;
  const std::string bytes = wire::framed("one") + wire::framed("") + wire::framed("three");
  std::vector<std::string> seen;
  for (const char byte : bytes) {
    ASSERT_EQ(::send(ends.one.get(), &byte, 1, 0), 1);
    ASSERT_EQ(*reader.receive(ends.other.get(), 0), wire::Reader::Got::Data);
    while (const auto frame = reader.next().value()) seen.emplace_back(*frame);
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"one", "", "three"}));
  EXPECT_TRUE(reader.empty());
}

TEST(Frames, LongerThanAnyMayBeEndTheConnection) {
  Ends ends;
  wire::Reader reader;
  const std::uint32_t size = wire::kMaxFrameBytes + 1;
  ASSERT_EQ(::send(ends.one.get(), &size, sizeof size, 0), ssize_t{sizeof size});
  ASSERT_TRUE(reader.receive(ends.other.get(), 0));
  EXPECT_FALSE(reader.next());
}

TEST(Frames, BringTheirDescriptorsInOrder) {
  Ends ends;
  wire::Reader reader;
  for (int i = 1; i <= 2; ++i) {
    wire::Frame frame{wire::framed("x"), {}};
    for (int k = 0; k < i; ++k) frame.descriptors.push_back(any_file());
    ASSERT_TRUE(*wire::send(ends.one.get(), frame, 0));
  }
  std::size_t frames = 0;
  while (frames < 2) {
    ASSERT_TRUE(reader.receive(ends.other.get(), 0));
    while (reader.next().value()) EXPECT_EQ(reader.take(++frames)->size(), frames);
  }
  EXPECT_EQ(reader.unclaimed(), 0u);
  EXPECT_FALSE(reader.take(1));
}

TEST(Frames, WithMoreDescriptorsThanAllowedAreRefused) {
  Ends ends;
  wire::Reader reader;
  for (int i = 0; i < 2; ++i) {
    wire::Frame frame{wire::framed("x"), {}};
    for (std::size_t k = 0; k < wire::kMaxDescriptors; ++k) frame.descriptors.push_back(any_file());
    ASSERT_TRUE(*wire::send(ends.one.get(), frame, 0));
  }
  EXPECT_TRUE(reader.receive(ends.other.get(), 0));
  EXPECT_FALSE(reader.receive(ends.other.get(), 0));
}

TEST(Client, ReadsAResultAsItWasSent) {
  Result result;
  result.verdict = Verdict::DiskLimit;
  result.reason = "full";
  result.evidence = {{"a", true}, {"b", std::uint64_t{7}}, {"c", std::string("x")}, {"d", nullptr}};
  result.status = 153;
  result.signal = 9;
  result.wall_ns = 12345678901234;
  result.pids_peak = 3;
  result.limits = {{"cpus", 0.5, "cgroup"}};
  result.limits_hit = {"disk"};
  result.warnings = {"w"};
  result.timeline = {{Stage::Attest, 55, -1}};
  const auto ended = decoded<LeaseEnded>(encode(result, 42, 99));
  EXPECT_EQ(ended.id, 42u);
  EXPECT_EQ(ended.work_device, 99u);
  const Result& seen = ended.result;
  EXPECT_EQ(seen.verdict, result.verdict);
  EXPECT_EQ(seen.reason, result.reason);
  EXPECT_EQ(seen.evidence, result.evidence);
  EXPECT_EQ(seen.status, 153);
  EXPECT_EQ(seen.exit_code, std::nullopt);
  EXPECT_EQ(seen.signal, 9);
  EXPECT_EQ(seen.wall_ns, result.wall_ns);
  EXPECT_EQ(seen.cpu_ns, std::nullopt);
  EXPECT_EQ(seen.pids_peak, 3u);
  ASSERT_EQ(seen.limits.size(), 1u);
  EXPECT_EQ(seen.limits[0].value, 0.5);
  EXPECT_EQ(seen.limits_hit, result.limits_hit);
  EXPECT_EQ(seen.warnings, result.warnings);
  ASSERT_EQ(seen.timeline.size(), 1u);
  EXPECT_EQ(seen.timeline[0].stage, Stage::Attest);
  EXPECT_EQ(seen.timeline[0].ns, -1);
}

TEST(Client, ReadsEveryFieldOfLeasedAndRefused) {
  daemon::FromDaemon message;
  auto& leased = *message.mutable_leased();
  leased.set_request(1);
  leased.set_lease(2);
  leased.set_start("parked");
  leased.set_queued_ns(3);
  leased.set_wall_ns(4);
  leased.set_output_bytes(5);
  leased.set_collect_files(6);
  leased.set_collect_bytes(7);
  leased.add_warnings("w");
  const auto seen = decoded<Leased>(message);
  EXPECT_EQ(std::tie(seen.request, seen.id, seen.queued_ns, seen.wall_ns, seen.output_bytes),
            std::make_tuple(1u, 2u, 3u, 4u, 5u));
  EXPECT_EQ(seen.collect_files, 6u);
  EXPECT_EQ(seen.collect_bytes, 7u);
  EXPECT_EQ(seen.start, "parked");
  EXPECT_EQ(seen.warnings.size(), 1u);
  const auto refused = decoded<Refusal>(encode(Refusal{0, "QueueFull", "m", "r"}, 8));
  EXPECT_EQ(refused.request, 8u);
  EXPECT_EQ(refused.line(), "m (QueueFull); r");
}

TEST(Client, TakesNothingFromBytesThatAreNoMessage) {
  EXPECT_FALSE(decode_message(""));
  EXPECT_FALSE(decode_message("\xff\xff\xff\xff\xff"));
  std::string cut = encode(Refusal{0, "QueueFull", "m", "r"}, 8).SerializeAsString();
  cut.resize(cut.size() - 1);
  EXPECT_FALSE(decode_message(cut));
}

// What a client sends, as the daemon's parser reads it.
TEST(Client, AsksInWordsThatProtobufUnderstands) {
  const std::string path = "/tmp/jailrun-wire-" + std::to_string(::getpid()) + ".sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  auto client = Client::connect(path);
  ::unlink(path.c_str());
  ASSERT_TRUE(client);
  const Fd server(::accept(listener.get(), nullptr, nullptr));
  const Fd file = any_file();
  LeaseRequest request{"python", {"limits.wall=1s"}, "me", {{"a.csv", file.get()}}, 77, true};
  request.packages = {"humanize"};
  ASSERT_TRUE(client->ask(request));
  ASSERT_TRUE(client->output_exceeded(5, "stderr"));
  wire::Reader reader;
  std::vector<daemon::ToDaemon> seen;
  while (seen.size() < 2) {
    ASSERT_TRUE(reader.receive(server.get(), 0));
    while (const auto frame = reader.next().value())
      ASSERT_TRUE(
          seen.emplace_back().ParseFromArray(frame->data(), static_cast<int>(frame->size())));
  }
  EXPECT_EQ(seen[0].descriptors(), 1u);
  EXPECT_EQ(reader.take(1)->size(), 1u);
  const daemon::Lease& lease = seen[0].lease();
  EXPECT_EQ(lease.request(), 1u);
  EXPECT_EQ(lease.policy(), "python");
  EXPECT_EQ(lease.overrides(0), "limits.wall=1s");
  EXPECT_EQ(lease.owner(), "me");
  EXPECT_EQ(lease.files(0), "a.csv");
  EXPECT_EQ(lease.packages(0), "humanize");
  EXPECT_EQ(lease.queue_ns(), 77u);
  EXPECT_TRUE(lease.wants_files());
  EXPECT_EQ(seen[1].kill().lease(), 5u);
  EXPECT_EQ(seen[1].kill().output_exceeded(), "stderr");
}

}  // namespace
}  // namespace jailrun
