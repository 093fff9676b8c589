// SQLite as the rest of the project speaks: descriptors that close, errors that are values.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "jail/sys/error.h"

namespace jailrun::store {

// Makes a directory and what is missing above it, each for its owner alone and on the disk before
// the next: a power cut must not take a directory away below what was said to be stored. Where it
// is there already nothing is done. Error: errno's.
Expected<void> make_directory(const std::string& path);

// One statement, to be stepped through. Columns count from 0, parameters from 1.
class Statement {
 public:
  Statement& bind(int at, const std::string& text);
  Statement& bind(int at, std::int64_t number);
  Statement& bind(int at, std::optional<std::int64_t> number);  // empty: NULL

  // True: a row is there to be read.
  Expected<bool> step();
  // To the end.
  Expected<void> run();

  std::string text(int column) const;
  std::int64_t number(int column) const;
  std::optional<std::int64_t> number_or_null(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  Statement(sqlite3* database, sqlite3_stmt* statement, std::string path)
      : database_(database), statement_(statement), path_(std::move(path)) {}

  sqlite3* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::string path_;
};

class Database {
 public:
  // Makes the file where it is missing. Waits for other writers up to ten seconds, after which
  // calls fail.
  static Expected<Database> open(const std::string& path);

  Expected<void> execute(const char* sql);
  Expected<Statement> prepare(const char* sql);
  // Rows that the latest statement changed.
  std::int64_t changes() const { return sqlite3_changes64(database_.get()); }

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  Database() = default;

  std::unique_ptr<sqlite3, Close> database_;
  std::string path_;
};

// The only writer from its begin() to its end, which rolls back unless it was committed.
class Transaction {
 public:
  static Expected<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();

  // On return what was done is on the disk.
  Expected<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace jailrun::store
