// Keys: who may use the service from elsewhere than this machine's loopback. Of a key only its
// SHA-256 is kept; a key has 256 random bits, so that nothing slower than that is needed.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun::service {

struct KeyRow {
  std::string id, name, sha256;
  std::int64_t made_s = 0;            // since 1970
  double rate = 0;                    // requests a second; 0: as many as the service gives anybody
  std::vector<std::string> scopes{};  // of kScopes; none: all

  bool may(std::string_view scope) const;
};

// What a key may do: look (GET), use (all else), and run the service itself.
inline constexpr std::string_view kScopes[] = {"read", "use", "admin"};
std::string_view scope_of(std::string_view method, std::string_view path);

class Keys {
 public:
  // `path`: a JSON file, private to its user; none is the same as an empty one. Errors: not
  // readable, not ours, no such JSON.
  static Expected<Keys> read(const std::string& path);

  const std::string& path() const { return path_; }
  bool empty() const { return rows_.empty(); }
  const std::vector<KeyRow>& rows() const { return rows_; }
  // The key that an Authorization header bears; compared in constant time.
  std::optional<KeyRow> find(const std::string& authorization) const;

  // The key itself, which nobody can read again. Written to disk before it is returned.
  Expected<std::string> add(const std::string& name, double rate = 0,
                            std::vector<std::string> scopes = {});
  Expected<bool> remove(const std::string& id);

 private:
  friend class KeyRing;
  explicit Keys(std::string path) : path_(std::move(path)) {}
  Expected<void> write() const;

  std::string path_;
  std::vector<KeyRow> rows_;
};

// The keys of a running service: read again as soon as their file is another one, so that a key
// that is taken back opens nothing any more. From any thread.
class KeyRing {
 public:
  explicit KeyRing(Keys keys);
  // Whether one is asked for. Where there has been one, there is no way back to none: an emptied or
  // broken file lets nobody in.
  bool needed();
  std::optional<KeyRow> find(const std::string& authorization);

 private:
  struct Stamp {
    std::uint64_t inode = 0, bytes = 0;
    std::int64_t changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  static Stamp stamp(const std::string& path);
  void refresh();

  const std::string path_;
  std::mutex mutex_;
  Keys keys_;
  Stamp stamp_;
  bool needed_ = false;
};

}  // namespace jailrun::service
