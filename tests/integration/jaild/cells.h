// Cells for tests: executed, and looked at in a line.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "jail/session/session.h"
#include "tests/integration/jaild/daemon.h"

namespace jailrun::test {

// Where there is none, no test can go on.
inline Session make_session(Client& client, LeaseRequest request = {}) {
  request.queue_ns = 60'000'000'000;  // an interpreter takes its time on a busy host
  Expected<Session> session = Session::create(client, std::move(request));
  if (!session) {
    ADD_FAILURE() << session.error().line();
    std::abort();
  }
  return std::move(*session);
}

inline CellAnswer run_cell(Session& session, const std::string& code,
                           const CellOptions& options = {}) {
  Expected<CellAnswer> answer = session.execute(code, options);
  if (!answer) ADD_FAILURE() << answer.error().line() << "\n" << code;
  return answer ? std::move(*answer) : CellAnswer{};
}

// "ok", "error", … as the guest says; "ended: wall_timeout" and the like where its jail has ended.
inline std::string outcome_of(const CellAnswer& answer) {
  if (answer.ended) return "ended: " + std::string(name(answer.ended->result.verdict));
  return text_of(answer.head, "outcome");
}

// The last expression, as text; the cell has to succeed.
inline std::string value_of(Session& session, const std::string& code) {
  const CellAnswer answer = run_cell(session, code);
  EXPECT_EQ(outcome_of(answer), "ok") << code << "\n" << answer.head.dump();
  if (answer.displays.empty()) return {};
  return text_of(answer.displays.back().head["data"], "text/plain");
}

}  // namespace jailrun::test
