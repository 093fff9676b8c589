// Contents, each once, in a file named by its SHA-256. What a blob is called for is the database's
// business.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "jail/sys/fd.h"

namespace jailrun::store {

// A content that has been read and lies on the disk under a temporary name, gone with this object
// unless Blobs::keep() has given it its own. Its lock tells a sweep that somebody still writes it.
class Incoming {
 public:
  Incoming(int directory, std::string name, Fd file)
      : directory_(directory), name_(std::move(name)), file_(std::move(file)) {}
  Incoming(Incoming&& other) noexcept;
  Incoming& operator=(Incoming&&) = delete;
  Incoming(const Incoming&) = delete;
  Incoming& operator=(const Incoming&) = delete;
  ~Incoming();

  const std::string& sha256() const { return sha256_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  friend class Blobs;
  int directory_;     // of Blobs, which outlives this
  std::string name_;  // empty: kept
  Fd file_;
  std::string sha256_;
  std::uint64_t bytes_ = 0;
};

class Blobs {
 public:
  // Below `root`, a directory that is there.
  static Expected<Blobs> open(const std::string& root);

  // Reads `source` to its end, never whole into memory. More than `most` bytes are an Error with
  // errno EFBIG, after nothing was kept. The bytes are on the disk when it returns.
  // A file without a name (O_TMPFILE) on the disk of the blobs, at its beginning, is not copied but
  // becomes the blob: nobody else may be able to write to it.
  Expected<Incoming> receive(int source, std::uint64_t most) const;

  // The following three only between begin and commit of a Transaction: the database's lock is the
  // blobs' too. keep(): durable when it returns.
  Expected<void> keep(Incoming& incoming) const;
  Expected<void> remove(const std::string& sha256) const;
  // Every blob that `wanted` denies, and what dead writers left; how many files went.
  Expected<std::uint64_t> sweep(
      const std::function<Expected<bool>(const std::string& sha256)>& wanted) const;

  // For reading. Errors: missing, or not of the size that it should have.
  Expected<Fd> get(const std::string& sha256, std::uint64_t bytes) const;

 private:
  Blobs() = default;
  Expected<Incoming> create() const;
  // Nothing where it is no such file.
  std::optional<Incoming> adopt(int source, const struct stat& st) const;
  Error fault(const std::string& what, const std::string& name) const;

  std::string path_;
  Fd directory_;
};

}  // namespace jailrun::store
