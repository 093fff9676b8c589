#include "agent/record/record.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/record/writer.h"
#include "agent/store/hex.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
using store::Statement;
using store::Transaction;
namespace fs = std::filesystem;

constexpr std::size_t kHistoryCode = 4 << 10, kTitle = 120;

// Deleted rows are overwritten (secure_delete): who deletes a run wants it gone.
constexpr const char* kSettings =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
    "PRAGMA foreign_keys=ON;";
constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS run_capsules("
    "  run_id TEXT PRIMARY KEY, owner TEXT NOT NULL, thread_id TEXT NOT NULL,"
    "  created_at INTEGER NOT NULL, status TEXT NOT NULL, writer TEXT NOT NULL,"
    "  question TEXT NOT NULL, answer TEXT NOT NULL, dataset_id TEXT NOT NULL,"
    "  model TEXT NOT NULL, query_mode TEXT NOT NULL, exec_time_ms INTEGER NOT NULL,"
    "  steps INTEGER NOT NULL, capsule TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS runs_of_owner ON run_capsules(owner, created_at);"
    "CREATE INDEX IF NOT EXISTS runs_of_dataset ON run_capsules(dataset_id);"
    "CREATE INDEX IF NOT EXISTS runs_of_thread ON run_capsules(owner, thread_id);"
    "CREATE TABLE IF NOT EXISTS run_files("
    "  run_id TEXT NOT NULL REFERENCES run_capsules ON DELETE CASCADE, step INTEGER NOT NULL,"
    "  name TEXT NOT NULL, media_type TEXT NOT NULL, content TEXT NOT NULL,"
    "  PRIMARY KEY(run_id, step, name));"
    "CREATE TABLE IF NOT EXISTS threads("
    "  owner TEXT NOT NULL, thread_id TEXT NOT NULL, created_at INTEGER NOT NULL,"
    "  updated_at INTEGER NOT NULL, title TEXT NOT NULL, dataset_id TEXT NOT NULL,"
    "  data TEXT NOT NULL, PRIMARY KEY(owner, thread_id));"
    "CREATE TABLE IF NOT EXISTS thread_messages("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, thread_id TEXT NOT NULL,"
    "  created_at INTEGER NOT NULL, dataset_id TEXT NOT NULL, role TEXT NOT NULL,"
    "  content TEXT NOT NULL, run_id TEXT NOT NULL, metadata_json TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS messages_of_thread ON thread_messages(owner, thread_id, id);"
    "CREATE INDEX IF NOT EXISTS messages_of_run ON thread_messages(run_id);";

Error refuse(const std::string& path, std::string message) {
  return Error{Stage::None, path, 0, std::move(message),
               "let CAPSULE_DB_PATH name a file of yours, or ask with --no-record"};
}

// Made here, so that nobody else can read it from its first byte on; SQLite gives its other files
// the same mode.
Expected<void> prepare(const std::string& path) {
  if (const auto dir = fs::path(path).parent_path(); !dir.empty())
    TRY_VOID(store::make_directory(dir.string()));
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600));
  struct stat status{};
  if (!file.valid() || ::fstat(file.get(), &status) != 0)
    return std::unexpected(
        refuse(path, "cannot write the record " + path + " (" + errno_name(errno) + ")"));
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0)
    return std::unexpected(
        refuse(path, "the record " + path + " is no file of yours alone: its mode must be 0600"));
  return {};
}

std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return clip(text, kTitle);
}

// What was computed, for a model that is asked about it again.
json code_of(const json& capsule) {
  json codes = json::array();
  for (const json& step : list_member(capsule, "steps"))
    if (text_member(step, "verdict") == "ok") {
      const auto sql = text_member(step, "sql");
      codes.push_back(clip(sql.empty() ? text_member(step, "code") : sql, kHistoryCode));
    }
  return codes;
}

}  // namespace

std::string new_record_id() {
  unsigned char bytes[8] = {};
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) bytes[0] = 1;
  return store::hex(bytes, sizeof bytes);
}

bool is_plain_id(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == ':' ||
           c == '-';
  });
}

Expected<std::string> Record::default_path() {
  if (const char* path = std::getenv("CAPSULE_DB_PATH"); path != nullptr && *path != '\0')
    return std::string(path);
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data == '/')
    return std::string(data) + "/jailrun/record.db";
  if (::geteuid() == 0) return "/var/lib/jailrun/record.db";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/')
    return std::string(home) + "/.local/share/jailrun/record.db";
  return std::unexpected(refuse("HOME", "there is no home directory for the record of runs"));
}

Expected<Record> Record::open(const std::string& path, Redactor redactor) {
  TRY_VOID(prepare(path));
  TRY(store::Database database, store::Database::open(path));
  TRY_VOID(database.execute(kSettings));
  TRY_VOID(database.execute(kSchema));
  return Record(std::move(database), std::move(redactor));
}

Expected<std::string> Record::begin(const RunHead& head) {
  auto id = new_record_id();
  TRY(Statement insert,
      database_.prepare("INSERT INTO run_capsules VALUES(?1, ?2, ?3, ?4, 'running', ?5, ?6, '',"
                        " ?7, ?8, ?9, 0, 0, '{}')"));
  insert.bind(1, id).bind(2, head.owner).bind(3, head.thread_id).bind(4, now_ms());
  insert.bind(5, this_writer()).bind(6, redactor_.text(head.question)).bind(7, head.dataset_id);
  insert.bind(8, head.model).bind(9, head.query_mode);
  TRY_VOID(insert.run());
  return id;
}

Expected<void> Record::insert_files(const std::string& run_id, const std::vector<KeptFile>& files) {
  for (const auto& file : files) {
    TRY(Statement insert,
        database_.prepare("INSERT OR REPLACE INTO run_files VALUES(?1, ?2, ?3, ?4, ?5)"));
    insert.bind(1, run_id).bind(2, static_cast<std::int64_t>(file.step)).bind(3, file.name);
    insert.bind(4, file.media_type).bind(5, file.content);
    TRY_VOID(insert.run());
  }
  return {};
}

Expected<void> Record::insert_message(const RunHead& head, const std::string& run_id,
                                      const std::string& role, const std::string& content,
                                      const json& metadata) {
  TRY(Statement insert,
      database_.prepare("INSERT INTO thread_messages(owner, thread_id, created_at, dataset_id,"
                        " role, content, run_id, metadata_json)"
                        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
  insert.bind(1, head.owner).bind(2, head.thread_id).bind(3, now_ms()).bind(4, head.dataset_id);
  insert.bind(5, role).bind(6, content).bind(7, run_id).bind(8, dump_json(metadata));
  return insert.run();
}

Expected<void> Record::end(const std::string& owner, const std::string& run_id, Captured captured) {
  // What holds a key is not kept: a file that is another than its digest says would be worse.
  for (json& step : captured.capsule["steps"])
    for (json& file : step["files"])
      for (auto kept = captured.files.begin(); kept != captured.files.end(); ++kept)
        if (kept->step == step["number"] && kept->name == text_member(file, "name") &&
            redactor_.finds(kept->content)) {
          file["kept"] = false;
          captured.files.erase(kept);
          break;
        }
  const json capsule = redactor_.value(std::move(captured.capsule));
  const auto answer = text_member(capsule, "answer");
  TRY(Transaction all, Transaction::begin(database_));
  RunHead head{owner, "", ""};
  {
    TRY(Statement found, database_.prepare("SELECT thread_id, question, dataset_id FROM"
                                           " run_capsules WHERE owner = ?1 AND run_id = ?2"));
    found.bind(1, owner).bind(2, run_id);
    TRY(const bool there, found.step());
    if (!there) return {};  // deleted meanwhile: it stays so
    head.thread_id = found.text(0);
    head.question = found.text(1);
    head.dataset_id = found.text(2);
  }
  TRY(Statement update,
      database_.prepare("UPDATE run_capsules SET status = ?2, answer = ?3, model = ?4,"
                        " query_mode = ?5, exec_time_ms = ?6, steps = ?7, capsule = ?8, writer = ''"
                        " WHERE run_id = ?1"));
  update.bind(1, run_id).bind(2, text_member(capsule, "status")).bind(3, one_line(answer));
  update.bind(4, text_member(capsule, "model")).bind(5, text_member(capsule, "query_mode"));
  update.bind(6, static_cast<std::int64_t>(count_member(capsule, "exec_time_ms")));
  update.bind(7, static_cast<std::int64_t>(list_member(capsule, "steps").size()));
  update.bind(8, dump_json(capsule));
  TRY_VOID(update.run());
  TRY_VOID(insert_files(run_id, captured.files));
  if (!head.thread_id.empty() && !answer.empty()) {
    TRY_VOID(insert_message(head, run_id, "user", head.question, json::object()));
    const json metadata = {{"status", capsule["status"]}, {"code", code_of(capsule)}};
    TRY_VOID(insert_message(head, run_id, "assistant", answer, metadata));
    TRY(Statement touch,
        database_.prepare("UPDATE threads SET updated_at = ?3, title = CASE title WHEN '' THEN ?4"
                          " ELSE title END WHERE owner = ?1 AND thread_id = ?2"));
    touch.bind(1, owner).bind(2, head.thread_id).bind(3, now_ms()).bind(4, one_line(head.question));
    TRY_VOID(touch.run());
  }
  return all.commit();
}

Expected<std::vector<RunRow>> Record::runs(const std::string& owner, std::size_t limit,
                                           const std::string& thread_id) {
  TRY(Statement found,
      database_.prepare("SELECT run_id, thread_id, status, question, answer, dataset_id, model,"
                        " created_at, exec_time_ms, steps, writer FROM run_capsules"
                        " WHERE owner = ?1 AND (?2 = '' OR thread_id = ?2)"
                        " ORDER BY created_at DESC, rowid DESC LIMIT ?3"));
  found.bind(1, owner).bind(2, thread_id).bind(3, static_cast<std::int64_t>(limit));
  std::vector<RunRow> rows;
  while (true) {
    TRY(const bool more, found.step());
    if (!more) return rows;
    RunRow row{found.text(0),   found.text(1),
               found.text(2),   found.text(3),
               found.text(4),   found.text(5),
               found.text(6),   found.number(7),
               found.number(8), static_cast<std::size_t>(found.number(9))};
    if (row.status == "running" && !writer_lives(found.text(10))) row.status = "interrupted";
    rows.push_back(std::move(row));
  }
}

Expected<std::optional<std::string>> Record::status(const std::string& owner,
                                                    const std::string& run_id) {
  TRY(Statement found, database_.prepare("SELECT status, writer FROM run_capsules"
                                         " WHERE owner = ?1 AND run_id = ?2"));
  found.bind(1, owner).bind(2, run_id);
  TRY(const bool there, found.step());
  if (!there) return std::nullopt;
  if (found.text(0) == "running" && !writer_lives(found.text(1))) return "interrupted";
  return found.text(0);
}

Expected<std::optional<json>> Record::capsule(const std::string& owner, const std::string& run_id) {
  TRY(const auto now, status(owner, run_id));
  if (!now) return std::nullopt;
  TRY(Statement found,
      database_.prepare("SELECT capsule, thread_id, created_at, question FROM run_capsules"
                        " WHERE owner = ?1 AND run_id = ?2"));
  found.bind(1, owner).bind(2, run_id);
  TRY(const bool there, found.step());
  if (!there) return std::nullopt;
  json capsule = parse_json(found.text(0));
  if (!capsule.is_object()) capsule = json::object();
  if (!capsule.contains("question")) capsule["question"] = found.text(3);
  capsule["run_id"] = run_id;
  capsule["thread_id"] = found.text(1).empty() ? json() : json(found.text(1));
  capsule["created_at"] = time_text(found.number(2));
  capsule["status"] = *now;
  return capsule;
}

Expected<std::vector<KeptFile>> Record::files(const std::string& owner, const std::string& run_id) {
  TRY(Statement found,
      database_.prepare("SELECT step, name, media_type, content FROM run_files NATURAL JOIN"
                        " run_capsules WHERE owner = ?1 AND run_id = ?2 ORDER BY step, name"));
  found.bind(1, owner).bind(2, run_id);
  std::vector<KeptFile> out;
  while (true) {
    TRY(const bool more, found.step());
    if (!more) return out;
    out.push_back(
        {static_cast<std::size_t>(found.number(0)), found.text(1), found.text(2), found.text(3)});
  }
}

Expected<std::optional<KeptFile>> Record::file(const std::string& owner, const std::string& run_id,
                                               std::size_t step, const std::string& name) {
  TRY(Statement found,
      database_.prepare("SELECT media_type, content FROM run_files NATURAL JOIN run_capsules"
                        " WHERE owner = ?1 AND run_id = ?2 AND step = ?3 AND name = ?4"));
  found.bind(1, owner).bind(2, run_id).bind(3, static_cast<std::int64_t>(step)).bind(4, name);
  TRY(const bool there, found.step());
  if (!there) return std::nullopt;
  return KeptFile{step, name, found.text(0), found.text(1)};
}

Expected<std::size_t> Record::erase(const char* sql, const std::string& owner,
                                    const std::string& id) {
  std::size_t count = 0;
  {
    TRY(Statement statement, database_.prepare(sql));
    statement.bind(1, owner).bind(2, id);
    TRY_VOID(statement.run());
    count = static_cast<std::size_t>(database_.changes());
  }
  return count;
}

Expected<bool> Record::remove(const std::string& owner, const std::string& run_id) {
  std::size_t count = 0;
  {
    TRY(Transaction all, Transaction::begin(database_));
    TRY_VOID(erase("DELETE FROM thread_messages WHERE owner = ?1 AND run_id = ?2", owner, run_id));
    TRY(count, erase("DELETE FROM run_capsules WHERE owner = ?1 AND run_id = ?2", owner, run_id));
    TRY_VOID(all.commit());
  }
  // The log would hold it until somebody writes over it.
  TRY_VOID(database_.execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  return count > 0;
}

Expected<std::size_t> Record::remove_all(const std::string& owner) {
  std::size_t count = 0;
  {
    TRY(Transaction all, Transaction::begin(database_));
    for (const char* sql : {"DELETE FROM thread_messages WHERE owner = ?1 AND ?2 = ''",
                            "DELETE FROM threads WHERE owner = ?1 AND ?2 = ''"})
      TRY_VOID(erase(sql, owner, ""));
    TRY(count, erase("DELETE FROM run_capsules WHERE owner = ?1 AND ?2 = ''", owner, ""));
    TRY_VOID(all.commit());
  }
  TRY_VOID(database_.execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  return count;
}

}  // namespace jailrun::agent
