// A jaild for tests: with a socket and a log of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jail/daemon/client.h"
#include "jail/run/frames.h"
#include "tests/support/live.h"

namespace jailrun::test {

class Daemon {
 public:
  // `environment`: NAME=VALUE. Returns when it serves.
  explicit Daemon(const std::vector<std::string>& arguments = {},
                  const std::vector<std::string>& environment = {});
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
  double metric(const std::string& name, const std::string& kind = {}) const;

 private:
  std::vector<std::string> arguments_, environment_;
  std::string dir_, socket_;
  std::unique_ptr<Live> live_;
};

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
