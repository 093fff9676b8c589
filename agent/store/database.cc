#include "agent/store/database.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "jail/sys/fd.h"

namespace jailrun::store {
namespace {

constexpr int kBusyMs = 10'000;

Error fault(sqlite3* database, const std::string& path) {
  const int code = database != nullptr ? sqlite3_errcode(database) : SQLITE_NOMEM;
  const char* why = database != nullptr ? sqlite3_errmsg(database) : "out of memory";
  std::string remedy = "check the directory and its permissions";
  if (code == SQLITE_FULL || code == SQLITE_IOERR) remedy = "make room on its disk, and check it";
  const int error = code == SQLITE_FULL ? ENOSPC : 0;
  if (code == SQLITE_BUSY) remedy = "another process holds the store for too long; try again";
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
    remedy = "move the store away and begin a new one; its blobs are plain files";
  return Error{Stage::None, path, error, "file store " + path + ": " + why, std::move(remedy)};
}

}  // namespace

Expected<void> make_directory(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) return {};
  const auto parent = std::filesystem::path(path).parent_path();
  const std::string above = parent.empty() ? "." : parent.string();
  if (above != path) TRY_VOID(make_directory(above));
  const bool made = ::mkdir(path.c_str(), 0700) == 0;
  const Fd directory(::open(above.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if ((made || errno == EEXIST) && directory.valid() && ::fsync(directory.get()) == 0) return {};
  return std::unexpected(sys_error(Stage::None, path, "cannot make the directory " + path,
                                   "check the permissions above it and the room on its disk"));
}

Statement& Statement::bind(int at, const std::string& text) {
  sqlite3_bind_text(statement_.get(), at, text.data(), static_cast<int>(text.size()),
                    SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::bind(int at, std::int64_t number) {
  sqlite3_bind_int64(statement_.get(), at, number);
  return *this;
}

Statement& Statement::bind(int at, std::optional<std::int64_t> number) {
  if (number) return bind(at, *number);
  sqlite3_bind_null(statement_.get(), at);
  return *this;
}

Expected<bool> Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return std::unexpected(fault(database_, path_));
}

Expected<void> Statement::run() {
  for (;;) {
    TRY(const bool row, step());
    if (!row) return {};
  }
}

std::string Statement::text(int column) const {
  const auto* text = sqlite3_column_text(statement_.get(), column);
  if (text == nullptr) return {};
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return {reinterpret_cast<const char*>(text), static_cast<std::size_t>(size)};
}

std::int64_t Statement::number(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::optional<std::int64_t> Statement::number_or_null(int column) const {
  if (sqlite3_column_type(statement_.get(), column) == SQLITE_NULL) return std::nullopt;
  return number(column);
}

Expected<Database> Database::open(const std::string& path) {
  Database database;
  database.path_ = path;
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  database.database_.reset(raw);
  if (code != SQLITE_OK) return std::unexpected(fault(raw, path));
  sqlite3_busy_timeout(raw, kBusyMs);
  return database;
}

Expected<void> Database::execute(const char* sql) {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return std::unexpected(fault(database_.get(), path_));
}

Expected<Statement> Database::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr) != SQLITE_OK)
    return std::unexpected(fault(database_.get(), path_));
  return Statement(database_.get(), statement, path_);
}

Expected<Transaction> Transaction::begin(Database& database) {
  // IMMEDIATE: a reader that became a writer later could be refused in the middle.
  TRY_VOID(database.execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::Transaction(Transaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

Transaction::~Transaction() {
  if (database_ != nullptr) (void)database_->execute("ROLLBACK");
}

Expected<void> Transaction::commit() {
  TRY_VOID(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace jailrun::store
