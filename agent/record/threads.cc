// The part of Record that is about threads.
#include "agent/base/variable.h"
#include "agent/llm/json.h"
#include "agent/record/record.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
using store::Statement;
using store::Transaction;

ThreadRow read_thread(const Statement& row) {
  ThreadRow out{row.text(0),
                row.text(1),
                row.text(2),
                row.number(3),
                row.number(4),
                static_cast<std::size_t>(row.number(5)),
                parse_json(row.text(6))};
  return out;
}

constexpr const char* kThreads =
    "SELECT thread_id, title, dataset_id, created_at, updated_at, (SELECT count(*) FROM"
    " thread_messages m WHERE m.owner = t.owner AND m.thread_id = t.thread_id), data"
    " FROM threads t WHERE owner = ?1 ";

}  // namespace

std::size_t history_window() {
  return number_from_environment("THREAD_HISTORY_WINDOW", 12, 2, 200);
}

Expected<std::optional<ThreadRow>> Record::find_thread(const std::string& owner,
                                                       const std::string& id) {
  TRY(Statement found, database_.prepare((std::string(kThreads) + "AND thread_id = ?2").c_str()));
  found.bind(1, owner).bind(2, id);
  TRY(const bool there, found.step());
  if (!there) return std::nullopt;
  return read_thread(found);
}

Expected<ThreadRow> Record::thread(const std::string& owner, const std::string& id) {
  const auto wanted = id.empty() ? new_record_id() : id;
  TRY(Statement insert,
      database_.prepare("INSERT OR IGNORE INTO threads VALUES(?1, ?2, ?3, ?3, '', '', '[]')"));
  insert.bind(1, owner).bind(2, wanted).bind(3, now_ms());
  TRY_VOID(insert.run());
  TRY(auto made, find_thread(owner, wanted));
  if (made) return *made;
  return std::unexpected(Error{
      Stage::None, wanted, 0, "the thread " + wanted + " was deleted at this moment", "ask again"});
}

Expected<void> Record::set_data(const std::string& owner, const std::string& thread_id,
                                const json& data, const std::string& dataset_id) {
  TRY(Statement update, database_.prepare("UPDATE threads SET data = ?3, dataset_id = ?4"
                                          " WHERE owner = ?1 AND thread_id = ?2"));
  update.bind(1, owner).bind(2, thread_id).bind(3, dump_json(redactor_.value(data)));
  update.bind(4, dataset_id);
  return update.run();
}

Expected<std::vector<ThreadRow>> Record::threads(const std::string& owner, std::size_t limit) {
  TRY(Statement found,
      database_.prepare(
          (std::string(kThreads) + "ORDER BY updated_at DESC, rowid DESC LIMIT ?2").c_str()));
  found.bind(1, owner).bind(2, static_cast<std::int64_t>(limit));
  std::vector<ThreadRow> rows;
  while (true) {
    TRY(const bool more, found.step());
    if (!more) return rows;
    rows.push_back(read_thread(found));
  }
}

Expected<std::vector<ThreadMessage>> Record::messages(const std::string& owner,
                                                      const std::string& thread_id,
                                                      std::size_t limit) {
  TRY(Statement found,
      database_.prepare("SELECT id, created_at, role, content, run_id, dataset_id, metadata_json"
                        " FROM thread_messages WHERE owner = ?1 AND thread_id = ?2"
                        " ORDER BY id DESC LIMIT ?3"));
  found.bind(1, owner).bind(2, thread_id).bind(3, static_cast<std::int64_t>(limit));
  std::vector<ThreadMessage> out;
  while (true) {
    TRY(const bool more, found.step());
    if (!more) break;
    out.push_back({found.number(0), found.number(1), found.text(2), found.text(3), found.text(4),
                   found.text(5), parse_json(found.text(6))});
  }
  std::ranges::reverse(out);
  return out;
}

Expected<std::vector<Message>> Record::history(const std::string& owner,
                                               const std::string& thread_id) {
  TRY(const auto all, messages(owner, thread_id, history_window()));
  std::vector<Message> past;
  for (const auto& message : all) {
    const bool question = message.role == "user";
    if (past.empty() && !question) continue;
    past.push_back({question ? Role::User : Role::Assistant, message.content});
    for (const json& code : list_member(message.metadata, "code"))
      if (code.is_string())
        past.back().text += "\n\n(It was computed by:\n" + code.get<std::string>() + "\n)";
  }
  return past;
}

Expected<void> Record::unsay(const std::string& owner, const std::string& run_id) {
  TRY_VOID(erase("DELETE FROM thread_messages WHERE owner = ?1 AND run_id = ?2", owner, run_id));
  return {};
}

Expected<bool> Record::remove_thread(const std::string& owner, const std::string& thread_id) {
  std::size_t count = 0;
  {
    TRY(Transaction all, Transaction::begin(database_));
    for (const char* sql : {"DELETE FROM thread_messages WHERE owner = ?1 AND thread_id = ?2",
                            "DELETE FROM run_capsules WHERE owner = ?1 AND thread_id = ?2"})
      TRY_VOID(erase(sql, owner, thread_id));
    TRY(count, erase("DELETE FROM threads WHERE owner = ?1 AND thread_id = ?2", owner, thread_id));
    TRY_VOID(all.commit());
  }
  TRY_VOID(database_.execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  return count > 0;
}

}  // namespace jailrun::agent
