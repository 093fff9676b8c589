// Stored files of a user as a jail takes them: open descriptors with the names that they shall
// have.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "agent/service/http_server.h"
#include "agent/store/file_store.h"
#include "jail/daemon/client.h"

namespace jailrun::service {

struct Inputs {
  std::vector<Fd> open;  // what `files` points to
  std::vector<LeaseRequest::File> files;
};

// By their own names; two of one name bear their ids as well. 404 for an id that is not the
// owner's.
std::expected<Inputs, HttpReply> open_files(store::FileStore& store, const std::string& owner,
                                            const std::vector<std::string>& ids);

}  // namespace jailrun::service
