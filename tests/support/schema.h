// A strict reader of the part of JSON Schema that result.schema.json uses.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace jailrun::test {

// Where and why `document` does not fit `schema`, a line each; empty: it fits. A keyword that this
// validator does not know is a fault too, so that nothing is passed over in silence.
std::vector<std::string> schema_faults(const nlohmann::json& schema,
                                       const nlohmann::json& document);

// jail/run/result.schema.json of this source tree.
nlohmann::json result_schema();

}  // namespace jailrun::test
