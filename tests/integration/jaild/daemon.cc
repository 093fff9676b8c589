#include "tests/integration/jaild/daemon.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace jailrun::test {
namespace {

std::string slurp(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

pid_t zygote_below(pid_t keeper) {
  for (const pid_t process : children(keeper)) {
    const std::string command = slurp("/proc/" + std::to_string(process) + "/cmdline");
    if (command.find("zygote") != std::string::npos) return process;
  }
  return 0;
}

}  // namespace

Daemon::Daemon(const std::vector<std::string>& arguments,
               const std::vector<std::string>& environment, const std::string& programs,
               std::function<void()> prepare)
    : arguments_(arguments),
      environment_(environment),
      programs_(programs),
      prepare_(std::move(prepare)) {
  char name[] = "/tmp/jaild-test-XXXXXX";
  dir_ = ::mkdtemp(name);
  ::chmod(dir_.c_str(), 0755);
  socket_ = dir_ + "/jaild.sock";
  start();
}

Daemon::~Daemon() {
  end(SIGTERM);
  std::filesystem::remove_all(dir_);
}

void Daemon::start() {
  std::vector<std::string> argv = {programs_ + "/jaild", "--socket", socket_};
  argv.insert(argv.end(), arguments_.begin(), arguments_.end());
  const std::string log = dir_ + "/log";
  live_ = std::make_unique<Live>(argv, [&] {
    for (const std::string& variable : environment_) ::putenv(const_cast<char*>(variable.c_str()));
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(fd, STDERR_FILENO);
    if (prepare_) prepare_();
  });
  // Readiness is an answer: a lease is asked for by each test, which waits in the queue.
  for (int i = 0; i < 2000; ++i) {
    if (Client::connect(socket_)) return;
    ::poll(nullptr, 0, 5);
  }
  ADD_FAILURE() << "jaild does not serve: " << this->log();
}

void Daemon::end(int signal) {
  if (!live_) return;
  live_->send(signal);
  live_->finish();
  live_.reset();
}

std::string Daemon::log() const { return slurp(dir_ + "/log"); }

Client Daemon::connect() const {
  auto client = Client::connect(socket_);
  EXPECT_TRUE(client) << client.error().line();
  return std::move(*client);
}

pid_t Daemon::zygote() const {
  const pid_t keeper = this->keeper();
  return keeper == 0 ? 0 : zygote_below(keeper);
}

pid_t Daemon::keeper() const {
  for (const pid_t child : children(pid()))
    if (zygote_below(child) != 0) return child;
  return 0;
}

double Daemon::metric(const std::string& name, const std::string& kind) const {
  Client client = connect();
  return test::metric(client, name, kind);
}

double metric(Client& client, const std::string& name, const std::string& kind) {
  const Expected<Metrics> metrics = client.stats();
  EXPECT_TRUE(metrics) << metrics.error().line();
  if (!metrics) return -1;
  for (const Metric& each : *metrics)
    if (each.name == name && (kind.empty() || each.kind == kind)) return each.value;
  return -1;
}

std::vector<int> Daemon::descriptors() const {
  std::vector<int> numbers;
  const std::string directory = "/proc/" + std::to_string(pid()) + "/fd";
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    numbers.push_back(std::stoi(entry.path().filename().string()));
  std::ranges::sort(numbers);
  return numbers;
}

PolicyDir::PolicyDir(const Changes& changes) {
  char name[] = "/tmp/jaild-policies-XXXXXX";
  dir_ = ::mkdtemp(name);
  write(changes);
}

PolicyDir::~PolicyDir() { std::filesystem::remove_all(dir_); }

void PolicyDir::write(const Changes& changes) const {
  std::string text = slurp(JAILRUN_SOURCE_DIR "/policies/python.textproto");
  text.replace(text.find("\"python\""), 8, "\"mine\"");
  for (const auto& [there, wanted] : changes) {
    const std::size_t at = text.find(there);
    ASSERT_NE(at, std::string::npos) << there;
    text.replace(at, there.size(), wanted);
  }
  std::ofstream(dir_ + "/new") << text;
  std::filesystem::rename(dir_ + "/new", file());  // never seen half written
}

Leased lease(Client& client, const LeaseRequest& request) {
  LeaseRequest patient = request;  // an interpreter takes its time on a busy host
  patient.queue_ns = std::max<std::uint64_t>(patient.queue_ns, 60'000'000'000);
  auto reply = client.lease(patient);
  EXPECT_TRUE(reply) << reply.error().line();
  if (const Refusal* refused = std::get_if<Refusal>(&*reply)) {
    ADD_FAILURE() << refused->line();
    return {};
  }
  return std::move(std::get<Leased>(*reply));
}

std::string refusal(Client& client, const LeaseRequest& request) {
  LeaseRequest patient = request;
  if (patient.queue_ns == LeaseRequest{}.queue_ns) patient.queue_ns = 60'000'000'000;
  auto reply = client.lease(patient);
  EXPECT_TRUE(reply) << reply.error().line();
  const Refusal* refused = reply ? std::get_if<Refusal>(&*reply) : nullptr;
  return refused == nullptr ? "" : refused->name;
}

void send_script(Leased& lease, const std::string& script) {
  const std::string frame = encode(Request{{"/run/test.py"}, script});
  EXPECT_EQ(write_all(lease.to_request.get(), frame.data(), frame.size()), 0);
  lease.to_request.reset();
  lease.in.reset();
}

Ran finish(Client& client, Leased& lease) {
  Ran ran;
  std::string answer;
  struct {
    Fd& fd;
    std::string& text;
  } streams[] = {{lease.out, ran.out}, {lease.err, ran.err}, {lease.from_answer, answer}};
  while (lease.out.valid() || lease.err.valid() || lease.from_answer.valid()) {
    pollfd entries[3];
    for (int i = 0; i < 3; ++i) entries[i] = {streams[i].fd.get(), POLLIN, 0};
    if (::poll(entries, 3, 60'000) <= 0) break;
    for (int i = 0; i < 3; ++i) {
      if (entries[i].fd < 0 || entries[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t n = ::read(entries[i].fd, buffer, sizeof buffer);
      if (n > 0) {
        streams[i].text.append(buffer, static_cast<std::size_t>(n));
      } else {
        streams[i].fd.reset();
      }
    }
  }
  ran.answer = parse_answer(answer);
  auto ended = client.wait_ended(lease.id);
  EXPECT_TRUE(ended) << ended.error().line();
  if (ended) ran.ended = std::move(*ended);
  return ran;
}

Ran run(Client& client, const std::string& script, const LeaseRequest& request) {
  Leased leased = lease(client, request);
  if (!leased.to_request.valid()) return {};
  send_script(leased, script);
  return finish(client, leased);
}

}  // namespace jailrun::test
