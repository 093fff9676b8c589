#include "agent/store/file_store.h"

#include <pwd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <string_view>

#include "agent/store/file_types.h"
#include "agent/store/hex.h"

namespace jailrun::store {
namespace {

// Names of columns as the programs that this store replaces had them.
constexpr const char* kSchema =
    "PRAGMA journal_mode=WAL;"
    "CREATE TABLE IF NOT EXISTS files("
    "  file_id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL, filename TEXT NOT NULL,"
    "  file_path TEXT NOT NULL, file_size INTEGER NOT NULL, file_type TEXT NOT NULL,"
    "  kind TEXT NOT NULL, sha256 TEXT NOT NULL, uploaded_at INTEGER NOT NULL,"
    "  expires_at INTEGER);"
    "CREATE INDEX IF NOT EXISTS files_of_user ON files(user_id, expires_at DESC);"
    "CREATE INDEX IF NOT EXISTS files_by_expiry ON files(expires_at);"
    "CREATE INDEX IF NOT EXISTS files_by_content ON files(sha256);";
constexpr const char* kColumns =
    "SELECT file_id, user_id, filename, file_size, file_type, kind, sha256, uploaded_at,"
    " expires_at FROM files WHERE user_id = ?1 AND (expires_at IS NULL OR expires_at > ?2) ";

Error bad(const std::string& object, const std::string& message, const std::string& remedy) {
  return Error{Stage::None, object, EINVAL, message, remedy};
}

Expected<std::optional<std::int64_t>> number_of(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return std::nullopt;
  const std::string_view whole(text);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), number);
  if (error != std::errc() || end != whole.data() + whole.size() || number > 1'000'000)
    return std::unexpected(bad(variable, std::string(variable) + "=" + text + " is no number",
                               "write a whole number up to 1000000"));
  return number;
}

// What lies in it is the owner's alone, so nobody else may put links or rows there.
Expected<void> check_directory(const std::string& root) {
  struct stat st{};
  if (::stat(root.c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
    return std::unexpected(sys_error(Stage::None, root, "file store: cannot open " + root,
                                     "let JAILRUN_STORE name a directory of yours"));
  if (st.st_uid != ::geteuid() || (st.st_mode & 022) != 0)
    return std::unexpected(Error{Stage::None, root, EPERM,
                                 "file store " + root + " belongs to others, or they may write it",
                                 "let JAILRUN_STORE name a directory of yours, with mode 0700"});
  return {};
}

// How many bytes of `text` at `at` are one character of UTF-8 that can be shown; 0: none is.
std::size_t printable_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(at);
  if (first < 0x80) return first < 0x20 || first == 0x7f ? 0 : 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  unsigned code = first & (0xffu >> (size + 1));
  if (first < 0xc2 || first > 0xf4) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(at + i) & 0x3f);
  }
  constexpr unsigned kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  // C1 controls, line separators, and the marks that turn the direction of what is shown.
  const bool steers =
      code < 0xa0 || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return code < kLeast[size] || code > 0x10ffff || surrogate || steers ? 0 : size;
}

std::string fresh_id() {
  std::array<unsigned char, 16> random;
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    std::abort();  // cannot fail for so few bytes
  return hex(random.data(), random.size());
}

}  // namespace

Expected<void> check_name(const std::string& name) {
  bool good = !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
              name.find('/') == std::string::npos;
  for (std::size_t at = 0; good && at < name.size();) {
    const std::size_t size = printable_at(name, at);
    good = size > 0;
    at += size;
  }
  if (good) return {};
  return std::unexpected(bad("name", "this is no name for a stored file",
                             "give another: printable UTF-8 without '/', at most 255 bytes"));
}

Expected<StoreOptions> StoreOptions::from_environment() {
  StoreOptions options;
  TRY(const std::optional<std::int64_t> hours, number_of("FILE_EXPIRATION_HOURS"));
  if (hours && (*hours == 0 || *hours < -1))
    return std::unexpected(bad("FILE_EXPIRATION_HOURS",
                               "FILE_EXPIRATION_HOURS is " + std::to_string(*hours),
                               "write hours from 1 on, or -1 for never"));
  if (hours) options.keep_s = *hours == -1 ? std::nullopt : std::optional(*hours * 3600);
  TRY(const std::optional<std::int64_t> files, number_of("MAX_FILES_PER_USER"));
  if (files && *files < 1)
    return std::unexpected(bad("MAX_FILES_PER_USER",
                               "MAX_FILES_PER_USER is " + std::to_string(*files),
                               "write a number from 1 on"));
  if (files) options.owner_files = static_cast<std::uint64_t>(*files);
  TRY(const std::optional<std::int64_t> mib, number_of("MAX_FILE_SIZE_MB"));
  if (mib && *mib < 1)
    return std::unexpected(bad("MAX_FILE_SIZE_MB", "MAX_FILE_SIZE_MB is " + std::to_string(*mib),
                               "write a number from 1 on"));
  if (mib) options.file_bytes = static_cast<std::uint64_t>(*mib) << 20;
  return options;
}

Expected<std::string> FileStore::default_root() {
  const auto given = [](const char* variable) -> std::string {
    const char* value = std::getenv(variable);
    return value != nullptr ? value : "";
  };
  if (std::string own = given("JAILRUN_STORE"); !own.empty()) {
    if (own.front() == '/') return own;
    return std::unexpected(bad("JAILRUN_STORE", "JAILRUN_STORE is not an absolute path: " + own,
                               "let it begin with '/'"));
  }
  if (::geteuid() == 0) return std::string("/var/lib/jailrun/files");
  if (const std::string state = given("XDG_STATE_HOME"); state.starts_with('/'))
    return state + "/jailrun/files";
  std::string home = given("HOME");
  if (!home.starts_with('/')) {
    const passwd* user = ::getpwuid(::geteuid());
    home = user != nullptr ? user->pw_dir : "";
  }
  if (home.starts_with('/')) return home + "/.local/state/jailrun/files";
  return std::unexpected(bad("JAILRUN_STORE", "nothing says where the file store is",
                             "set JAILRUN_STORE to a directory of yours"));
}

Expected<FileStore> FileStore::open(const std::string& root, StoreOptions options) {
  TRY_VOID(make_directory(root));
  TRY_VOID(check_directory(root));
  // Two that turn a new database to WAL at once get SQLITE_BUSY without any wait.
  const Fd turn(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  while (::flock(turn.get(), LOCK_EX) != 0 && errno == EINTR) {
  }
  const std::string path = root + "/files.db";
  // SQLite takes the mode of what stands beside a database from it. Only where there is none yet:
  // closing a descriptor of the file would drop the locks that this process has on it elsewhere.
  const Fd fresh(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fresh.valid() && errno != EEXIST)
    return std::unexpected(sys_error(Stage::None, path, "file store: cannot make " + path,
                                     "check its permissions and the room on its disk"));
  TRY(Database database, Database::open(path));
  TRY_VOID(database.execute(kSchema));
  // A commit is on the disk before its blobs may go.
  TRY_VOID(database.execute("PRAGMA synchronous=FULL"));
  TRY(Blobs blobs, Blobs::open(root));
  return FileStore(std::move(database), std::move(blobs), std::move(options));
}

std::int64_t FileStore::now() const {
  return options_.now ? options_.now() : static_cast<std::int64_t>(::time(nullptr));
}

Expected<StoredFile> FileStore::put(const std::string& owner, const std::string& name, int source,
                                    const std::string& kind) {
  TRY_VOID(check_name(owner));
  TRY_VOID(check_name(name));
  TRY(Incoming incoming, blobs_.receive(source, options_.file_bytes));
  StoredFile file;
  file.id = fresh_id();
  file.owner = owner;
  file.name = name;
  file.kind = kind;
  const FileType type = type_of(name);
  file.type = type.type;
  file.media_type = type.media;
  file.sha256 = incoming.sha256();
  file.bytes = incoming.bytes();

  TRY(Transaction transaction, Transaction::begin(database_));
  file.uploaded_s = now();
  if (options_.keep_s) file.expires_s = file.uploaded_s + *options_.keep_s;
  TRY_VOID(blobs_.keep(incoming));
  TRY_VOID(insert(file));
  // Beyond the quota the oldest go, expired ones before all.
  TRY(Statement excess,
      database_.prepare("DELETE FROM files WHERE user_id = ?1 AND (expires_at <= ?2 OR rowid IN"
                        " (SELECT rowid FROM files WHERE user_id = ?1 AND (expires_at IS NULL"
                        " OR expires_at > ?2) ORDER BY uploaded_at DESC, rowid DESC"
                        " LIMIT -1 OFFSET ?3)) RETURNING sha256"));
  excess.bind(1, owner).bind(2, file.uploaded_s);
  excess.bind(3, static_cast<std::int64_t>(options_.owner_files));
  TRY(const std::vector<std::string> digests, delete_rows(std::move(excess)));
  TRY_VOID(transaction.commit());
  TRY_VOID(drop_blobs(digests));
  return file;
}

Expected<void> FileStore::insert(const StoredFile& file) {
  TRY(Statement insert, database_.prepare("INSERT INTO files(file_id, user_id, filename, file_path,"
                                          " file_size, file_type, kind, sha256, uploaded_at,"
                                          " expires_at) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"));
  insert.bind(1, file.id).bind(2, file.owner).bind(3, file.name).bind(4, "blobs/" + file.sha256);
  insert.bind(5, static_cast<std::int64_t>(file.bytes)).bind(6, file.type).bind(7, file.kind);
  insert.bind(8, file.sha256).bind(9, file.uploaded_s).bind(10, file.expires_s);
  return insert.run();
}

Expected<std::vector<StoredFile>> FileStore::select(const char* where, const std::string& owner,
                                                    const std::string& id) {
  TRY(Statement rows, database_.prepare((std::string(kColumns) + where).c_str()));
  rows.bind(1, owner).bind(2, now());
  if (!id.empty()) rows.bind(3, id);
  std::vector<StoredFile> files;
  for (;;) {
    TRY(const bool row, rows.step());
    if (!row) return files;
    StoredFile file;
    file.id = rows.text(0);
    file.owner = rows.text(1);
    file.name = rows.text(2);
    file.bytes = static_cast<std::uint64_t>(rows.number(3));
    file.type = rows.text(4);
    file.media_type = type_of(file.name).media;
    file.kind = rows.text(5);
    file.sha256 = rows.text(6);
    file.uploaded_s = rows.number(7);
    file.expires_s = rows.number_or_null(8);
    files.push_back(std::move(file));
  }
}

Expected<std::vector<StoredFile>> FileStore::list(const std::string& owner) {
  return select("ORDER BY uploaded_at DESC, rowid DESC", owner, "");
}

Expected<FileStore::Totals> FileStore::totals() {
  TRY(Statement row, database_.prepare("SELECT COUNT(*), COALESCE(SUM(file_size), 0) FROM files "
                                       "WHERE expires_at IS NULL OR expires_at > ?1"));
  TRY(const bool there, row.bind(1, now()).step());
  if (!there) return Totals{};
  return Totals{static_cast<std::uint64_t>(row.number(0)),
                static_cast<std::uint64_t>(row.number(1))};
}

Expected<StoredFile> FileStore::info(const std::string& owner, const std::string& id) {
  Expected<std::vector<StoredFile>> found = std::vector<StoredFile>();
  if (!id.empty()) found = select("AND file_id = ?3", owner, id);
  if (!found) return std::unexpected(found.error());
  if (!found->empty()) return std::move(found->front());
  return std::unexpected(Error{Stage::None, id, ENOENT, "no stored file " + id,
                               "`jailrun files ls` shows those that there are"});
}

Expected<Opened> FileStore::get(const std::string& owner, const std::string& id) {
  for (int again = 0;; ++again) {
    TRY(StoredFile file, info(owner, id));
    Expected<Fd> content = blobs_.get(file.sha256, file.bytes);
    if (content) return Opened{std::move(file), std::move(*content)};
    // Removed since: then the second look does not find it.
    if (again > 0) return std::unexpected(content.error());
  }
}

Expected<std::vector<std::string>> FileStore::delete_rows(Statement statement) {
  std::vector<std::string> digests;
  for (;;) {
    TRY(const bool row, statement.step());
    if (!row) return digests;
    digests.push_back(statement.text(0));
  }
}

Expected<bool> FileStore::has_row(const std::string& sha256) {
  TRY(Statement row, database_.prepare("SELECT 1 FROM files WHERE sha256 = ?1"));
  return row.bind(1, sha256).step();
}

// In a transaction after the one that deleted: a blob must not go before its row's end is on the
// disk, nor while somebody else gives it a row.
Expected<void> FileStore::drop_blobs(const std::vector<std::string>& digests) {
  if (digests.empty()) return {};
  TRY(Transaction transaction, Transaction::begin(database_));
  for (const std::string& digest : digests) {
    TRY(const bool used, has_row(digest));
    if (!used) TRY_VOID(blobs_.remove(digest));
  }
  return {};  // nothing was changed that is to be committed
}

Expected<bool> FileStore::remove(const std::string& owner, const std::string& id) {
  TRY(Statement gone, database_.prepare("DELETE FROM files WHERE user_id = ?1 AND file_id = ?2"
                                        " AND (expires_at IS NULL OR expires_at > ?3)"
                                        " RETURNING sha256"));
  gone.bind(1, owner).bind(2, id).bind(3, now());
  TRY(const std::vector<std::string> digests, delete_rows(std::move(gone)));
  TRY_VOID(drop_blobs(digests));
  return !digests.empty();
}

Expected<std::uint64_t> FileStore::remove_all(const std::string& owner) {
  TRY(Statement gone, database_.prepare("DELETE FROM files WHERE user_id = ?1 RETURNING sha256"));
  gone.bind(1, owner);
  TRY(const std::vector<std::string> digests, delete_rows(std::move(gone)));
  TRY_VOID(drop_blobs(digests));
  return digests.size();
}

Expected<Swept> FileStore::sweep() {
  Swept swept;
  TRY(Statement gone,
      database_.prepare("DELETE FROM files WHERE expires_at <= ?1 RETURNING sha256"));
  gone.bind(1, now());
  TRY(const std::vector<std::string> digests, delete_rows(std::move(gone)));
  swept.expired = digests.size();
  TRY(Transaction transaction, Transaction::begin(database_));
  TRY(swept.blobs, blobs_.sweep([this](const std::string& digest) { return has_row(digest); }));
  return swept;
}

}  // namespace jailrun::store
