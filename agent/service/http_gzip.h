// Replies as gzip, for clients that take it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agent/service/http_server.h"

namespace jailrun::service {

std::optional<std::string> gzip(std::string_view plain);

// Packs the body of a reply where that is worth it: text, not short, for a client that takes it.
// Files and events go as they are.
void pack(HttpReply& reply, const HttpRequest& request);

}  // namespace jailrun::service
