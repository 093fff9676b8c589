// The store of files between executions: who owns which, for how long, and where its content lies.
//
//     ROOT/files.db          SQLite (WAL): one row a file
//     ROOT/blobs/<sha256>    contents, each once
//     ROOT/blobs/incoming-…  what is being written
//
// A row is committed after its blob is whole and on the disk; a blob goes after the commit that
// removed its last row. So a process that dies anywhere leaves at worst a blob or an incoming file
// that nobody knows, which sweep() removes. Any number of processes may use one store; a FileStore
// itself is for one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/store/blobs.h"
#include "agent/store/database.h"

namespace jailrun::store {

struct StoredFile {
  std::string id;  // 128 random bits, in hexadecimal
  std::string owner;
  std::string name;        // one path component, printable UTF-8
  std::string type;        // "csv", "image", …; "binary" where the name says nothing
  std::string media_type;  // "text/csv"
  std::string kind;        // "upload" or "generated"
  std::string sha256;
  std::uint64_t bytes = 0;
  std::int64_t uploaded_s = 0;            // since 1970
  std::optional<std::int64_t> expires_s;  // empty: never
};

struct StoreOptions {
  std::uint64_t file_bytes = 50ull << 20;          // the largest file
  std::uint64_t owner_files = 20;                  // of one owner; one more drops the oldest
  std::optional<std::int64_t> keep_s = 48 * 3600;  // empty: files never expire
  std::function<std::int64_t()> now = nullptr;     // seconds since 1970; default: the clock

  // FILE_EXPIRATION_HOURS (-1: never), MAX_FILES_PER_USER, MAX_FILE_SIZE_MB, where they are set.
  static Expected<StoreOptions> from_environment();
};

struct Swept {
  std::uint64_t expired = 0;  // files
  std::uint64_t blobs = 0;    // contents and incoming files that were nobody's any more
};

struct Opened {
  StoredFile file;
  Fd content;
};

class FileStore {
 public:
  // Makes what is missing, private to the caller. Refuses a directory that is another user's or
  // that others may write.
  static Expected<FileStore> open(const std::string& root, StoreOptions options = {});
  // $JAILRUN_STORE; else /var/lib/jailrun/files for root, the XDG state directory for others.
  static Expected<std::string> default_root();

  // Reads `source` to its end. Errors: a name that is none, too large (nothing is kept then).
  Expected<StoredFile> put(const std::string& owner, const std::string& name, int source,
                           const std::string& kind = "upload");

  // The owner's, newest first; expired ones are not there any more, swept or not.
  Expected<std::vector<StoredFile>> list(const std::string& owner);
  // Another owner's file is as unknown as one that is not there: an Error with errno ENOENT.
  Expected<StoredFile> info(const std::string& owner, const std::string& id);
  Expected<Opened> get(const std::string& owner, const std::string& id);
  // Of all owners together, what has not expired.
  struct Totals {
    std::uint64_t files = 0, bytes = 0;
  };
  Expected<Totals> totals();
  // False: the owner has no such file.
  Expected<bool> remove(const std::string& owner, const std::string& id);
  Expected<std::uint64_t> remove_all(const std::string& owner);

  // Removes what has expired, contents that no file has, and what dead writers left.
  Expected<Swept> sweep();

 private:
  FileStore(Database database, Blobs blobs, StoreOptions options)
      : database_(std::move(database)), blobs_(std::move(blobs)), options_(std::move(options)) {}
  Expected<std::vector<StoredFile>> select(const char* where, const std::string& owner,
                                           const std::string& id);
  Expected<void> insert(const StoredFile& file);
  // Deletes rows and gives their digests. Of `sql` the parameters are given, in order.
  Expected<std::vector<std::string>> delete_rows(Statement statement);
  Expected<void> drop_blobs(const std::vector<std::string>& digests);
  Expected<bool> has_row(const std::string& sha256);
  std::int64_t now() const;

  Database database_;
  Blobs blobs_;
  StoreOptions options_;
};

// What a name may be: one component of a path, printable UTF-8, at most 255 bytes.
Expected<void> check_name(const std::string& name);

}  // namespace jailrun::store
