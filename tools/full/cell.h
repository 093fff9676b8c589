// What a person at a terminal sees of a cell: run, its output as it comes, its answer.
#pragma once

#include <string>
#include <string_view>

#include "jail/session/session.h"

namespace jailrun::full {

inline constexpr int kOurFailure = 125, kGuestFailure = 1, kInterrupted = 130, kTimedOut = 124;

struct CellArguments {
  std::string timeout;  // a shorter wall limit, as 5s; empty: the policy's
  bool transactional = false;
  bool json = false;  // say nothing: print_json() will
};

// Until it has ended; Ctrl-C interrupts it.
Expected<CellAnswer> run_cell(Session& session, const std::string& code,
                              const CellArguments& arguments);
// Prints an answer as an interactive Python would. The exit status that it stands for.
int tell(const CellAnswer& answer);
void print_json(const CellAnswer& answer);

// One line on stderr, and the exit status of our own failures.
int fail(const std::string& line);

}  // namespace jailrun::full
