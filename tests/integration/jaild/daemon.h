// A jaild for tests: with a socket and a log of its own.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "jail/daemon/client.h"
#include "jail/run/frames.h"
#include "tests/support/live.h"

namespace jailrun::test {

class Daemon {
 public:
  // `environment`: NAME=VALUE. `programs`: where jaild lies. `prepare` runs in its process before
  // it is executed. Returns when it serves.
  explicit Daemon(const std::vector<std::string>& arguments = {},
                  const std::vector<std::string>& environment = {},
                  const std::string& programs = JAILRUN_BIN_DIR,
                  std::function<void()> prepare = {});
  ~Daemon();

  const std::string& socket() const { return socket_; }
  pid_t pid() const { return live_->pid(); }
  std::string log() const;
  // A signal, and its end.
  void end(int signal);
  // Starts it again after its end.
  void start();
  Client connect() const;
  // Its jails' interpreter, as the host sees it; 0 where there is none.
  pid_t zygote() const;
  pid_t keeper() const;  // the zygote's parent
  double metric(const std::string& name, const std::string& kind = {}) const;
  // The numbers of its open descriptors.
  std::vector<int> descriptors() const;

 private:
  std::vector<std::string> arguments_, environment_;
  std::string programs_;
  std::function<void()> prepare_;
  std::string dir_, socket_;
  std::unique_ptr<Live> live_;
};

// Polls, at most a minute, for something that another process does.
template <typename Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    ::poll(nullptr, 0, 10);
  }
  return false;
}

// A directory with a policy "mine": python's, with other values here and there.
class PolicyDir {
 public:
  using Changes =
      std::vector<std::pair<std::string, std::string>>;  // what stands there, what shall

  explicit PolicyDir(const Changes& changes = {});
  PolicyDir(const PolicyDir&) = delete;
  PolicyDir& operator=(const PolicyDir&) = delete;
  ~PolicyDir();
  void write(const Changes& changes) const;
  std::string file() const { return dir_ + "/mine.textproto"; }
  // For the environment of a daemon.
  std::string variable() const { return "JAILRUN_POLICY_DIR=" + dir_; }

 private:
  std::string dir_;
};

// A number of `jailrun stats`, asked for over a connection that is there already.
double metric(Client& client, const std::string& name, const std::string& kind = {});
// A lease; the test fails where it is refused.
Leased lease(Client& client, const LeaseRequest& request = {});
// The name of the refusal; empty where there was none.
std::string refusal(Client& client, const LeaseRequest& request);

struct Ran {
  std::string out, err;
  std::optional<AnswerFrame> answer;
  LeaseEnded ended;
};
// Writes the script, reads what it says until its end.
void send_script(Leased& lease, const std::string& script);
Ran finish(Client& client, Leased& lease);
Ran run(Client& client, const std::string& script, const LeaseRequest& request = {});

}  // namespace jailrun::test
