// --set PATH=VALUE: sets one field of a policy by reflection on policy.proto.
#pragma once

#include <google/protobuf/message.h>

#include <optional>
#include <string>

#include "jail/spec/parse.h"

namespace jailrun {

struct Applied {
  std::string path;  // of the field that was set, as faults name it
};

// Sets the field, or says what is wrong with the option.
std::expected<Applied, Fault> apply_override(const std::string& option,
                                             google::protobuf::Message& message);

}  // namespace jailrun
