// An uploaded file: the body of a request as it is, or the one file of a form (multipart/form-data,
// RFC 7578). The body lies in a file already, and no part of it is held in memory.
#pragma once

#include <expected>
#include <map>
#include <string>

#include "agent/service/http_server.h"
#include "jail/sys/fd.h"

namespace jailrun::service {

// What a form may have besides its file.
inline constexpr std::uint64_t kFormBytes = 64 << 10;

struct Upload {
  Fd file;           // at its beginning
  std::string name;  // without directories
  std::map<std::string, std::string> fields;

  std::string field(const std::string& name) const;  // "" where there is none
};

// Fields are those of the query and of the form, which wins; `name` is the field filename, else
// what the form says its file is called. 400 where there is no file or no name, 413 for fields of
// more than kFormBytes, 503 without room.
std::expected<Upload, HttpReply> take_upload(const HttpRequest& request);

}  // namespace jailrun::service
