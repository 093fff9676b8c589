// The part of JSON Schema that tools use: type, properties, required, additionalProperties, items,
// enum, minimum, maximum, minItems, maxItems, maxLength.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace jailrun::agent {

// The first place where `value` does not fit, as a sentence for whoever wrote it; empty: it fits.
// Keywords that are not known are passed over.
std::string schema_fault(const nlohmann::json& schema, const nlohmann::json& value,
                         const std::string& what = "the arguments");

}  // namespace jailrun::agent
