// From bytes of jaild to values. Not for others to include.
#pragma once

#include <string_view>
#include <vector>

#include "jail/daemon/client.h"

namespace jailrun {

struct Decoded {
  Message message;
  std::uint32_t descriptors = 0;
};

// Nothing: not a message that this client knows (it throws nothing).
std::optional<Decoded> decode_message(std::string_view bytes);

}  // namespace jailrun
