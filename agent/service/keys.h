// Keys: who may use the service from elsewhere than this machine's loopback. Of a key only its
// SHA-256 is kept; a key has 256 random bits, so that nothing slower than that is needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun::service {

struct KeyRow {
  std::string id, name, sha256;
  std::int64_t made_s = 0;  // since 1970
};

class Keys {
 public:
  // `path`: a JSON file, private to its user; none is the same as an empty one. Errors: not
  // readable, not ours, no such JSON.
  static Expected<Keys> read(const std::string& path);

  bool empty() const { return rows_.empty(); }
  const std::vector<KeyRow>& rows() const { return rows_; }
  // The id of the key that an Authorization header bears; compared in constant time.
  std::optional<std::string> find(const std::string& authorization) const;

  // The key itself, which nobody can read again. Written to disk before it is returned.
  Expected<std::string> add(const std::string& name);
  Expected<bool> remove(const std::string& id);

 private:
  explicit Keys(std::string path) : path_(std::move(path)) {}
  Expected<void> write() const;

  std::string path_;
  std::vector<KeyRow> rows_;
};

}  // namespace jailrun::service
