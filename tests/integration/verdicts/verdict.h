// A run with --json, its Result checked against the schema, and the same run as a person would see
// it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/live.h"

namespace jailrun::test {

struct Judged {
  nlohmann::json result;
  Outcome outcome;
};

// `jailrun run --json OPTIONS… -` with `script` on stdin. Expects a Result that fits the schema, an
// exit status equal to its `status`, and nothing left behind.
Judged judged(const std::string& script, const std::vector<std::string>& options = {});

// The same without --json. Expects nothing left behind.
Outcome seen(const std::string& script, const std::vector<std::string>& options = {});

// The names of `result.limits_hit`.
std::vector<std::string> limits_hit(const nlohmann::json& result);

}  // namespace jailrun::test
