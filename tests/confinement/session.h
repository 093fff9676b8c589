// A live session for tests of confinement: JAILRUN_TEST_START is "session"; the daemon is the one
// that tests/support/warm_daemons keeps.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support/live.h"

namespace jailrun::test {

inline bool is_session_start() {
  const char* start = std::getenv("JAILRUN_TEST_START");
  return start != nullptr && std::string(start) == "session";
}

class LiveSession {
 public:
  // Of the policy python with an executable /work, as the other tests have it.
  explicit LiveSession(const std::vector<std::string>& files = {},
                       const std::string& policy = "python-exec") {
    ::setenv("JAILRUN_SOCKET", "/run/jailrun-test/parked", 1);
    std::vector<std::string> words = {jailrun_program(), "session", "new", "--policy", policy};
    for (const std::string& file : files) {
      words.emplace_back("--file");
      words.push_back(file);
    }
    const Outcome made = run_command({.argv = words});
    id_ = made.out.substr(0, made.out.find('\n'));
    error_ = made.err;
  }
  LiveSession(const LiveSession&) = delete;
  LiveSession& operator=(const LiveSession&) = delete;
  ~LiveSession() { run_command({.argv = {jailrun_program(), "session", "rm", id_}}); }

  Outcome exec(const std::string& code) const {
    if (id_.empty()) return {255, "", error_};
    return run_command({.argv = {jailrun_program(), "session", "exec", id_, code}});
  }

 private:
  std::string id_, error_;
};

}  // namespace jailrun::test
