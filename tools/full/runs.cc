// `jailrun runs ls|show|export|rm|threads`: the record of questions and what came of them.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/record/export.h"
#include "jail/sys/units.h"
#include "tools/full/question.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using namespace jailrun::agent;
using nlohmann::json;

constexpr int kOurFailure = 125;

struct Asked {
  std::vector<std::string> ids;
  std::string id, thread, format = "json", out;
  std::size_t limit = 20;
  bool json = false, all = false;
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

Expected<Record> open_record() {
  TRY(const std::string path, Record::default_path());
  return Record::open(path, Redactor::from_environment());
}

Error no_run(const std::string& id) {
  return Error{Stage::None, id, 0, "there is no run " + id, "`jailrun runs ls` lists them"};
}

std::string one_line(const std::string& text, std::size_t most) {
  std::string line = printable(text).substr(0, text.find('\n'));
  return line.size() > most ? printable(line.substr(0, most)) + "…" : line;
}

json row_json(const RunRow& row) {
  return {{"run_id", row.run_id},         {"created_at", time_text(row.created_ms)},
          {"status", row.status},         {"question", row.question},
          {"answer", row.answer},         {"thread_id", row.thread_id},
          {"dataset_id", row.dataset_id}, {"model", row.model},
          {"exec_time_ms", row.exec_ms},  {"steps", row.steps}};
}

Expected<int> list(const Asked& asked) {
  TRY(Record record, open_record());
  TRY(const auto rows, record.runs(Recording::owner(), asked.limit, asked.thread));
  json all = json::array();
  for (const RunRow& row : rows) {
    if (asked.json)
      all.push_back(row_json(row));
    else
      print(row.run_id + "  " + time_text(row.created_ms).substr(0, 19) + "  " + row.status +
            std::string(row.status.size() < 12 ? 12 - row.status.size() : 1, ' ') +
            one_line(row.question, 60) + "\n");
  }
  if (asked.json) print(dump_json(all) + "\n");
  if (!asked.json && rows.empty()) std::fprintf(stderr, "jailrun: nothing is recorded yet\n");
  return 0;
}

Expected<int> threads(const Asked& asked) {
  TRY(Record record, open_record());
  TRY(const auto rows, record.threads(Recording::owner(), asked.limit));
  json all = json::array();
  for (const ThreadRow& row : rows) {
    if (asked.json)
      all.push_back({{"thread_id", row.thread_id},
                     {"title", row.title},
                     {"created_at", time_text(row.created_ms)},
                     {"updated_at", time_text(row.updated_ms)},
                     {"messages", row.messages}});
    else
      print(row.thread_id + "  " + time_text(row.updated_ms).substr(0, 19) + "  " +
            std::to_string(row.messages) + " messages  " + one_line(row.title, 60) + "\n");
  }
  if (asked.json) print(dump_json(all) + "\n");
  return 0;
}

std::string step_text(const json& step) {
  const auto sql = text_member(step, "sql");
  std::string out = "--- step " + std::to_string(count_member(step, "number")) + ": " +
                    text_member(step, "verdict") + ", " +
                    format_duration(count_member(step, "wall_ns")) + " ---\n" +
                    (sql.empty() ? text_member(step, "code") : sql) + "\n";
  for (const char* name : {"stdout", "stderr"})
    if (const auto text = text_member(step, name); !text.empty())
      out += "--- " + std::string(name) + " ---\n" + text;
  for (const json& file : list_member(step, "files"))
    out += "file " + text_member(file, "name") + ", " + format_bytes(count_member(file, "bytes")) +
           "\n";
  return out;
}

std::string capsule_text(const json& capsule) {
  std::string out = "run " + text_member(capsule, "run_id") + ", " +
                    text_member(capsule, "created_at") + ", " + text_member(capsule, "status") +
                    "\nquestion: " + text_member(capsule, "question") + "\n";
  for (const json& file : list_member(capsule, "data"))
    out +=
        "data: " + text_member(file, "origin") + ", SHA-256 " + text_member(file, "sha256") + "\n";
  for (const json& step : list_member(capsule, "steps")) out += step_text(step);
  if (const auto answer = text_member(capsule, "answer"); !answer.empty())
    out += "--- answer ---\n" + answer + "\n";
  if (const json* error = member(capsule, "error_json"); error != nullptr && error->is_object())
    out += "error: " + text_member(*error, "message") + "\n";
  return printable(out);
}

Expected<json> find(Record& record, const std::string& id) {
  TRY(auto found, record.capsule(Recording::owner(), id));
  if (!found) return std::unexpected(no_run(id));
  return std::move(*found);
}

Expected<int> show(const Asked& asked) {
  TRY(Record record, open_record());
  TRY(const json capsule, find(record, asked.id));
  print(asked.json ? dump_json(capsule) + "\n" : capsule_text(capsule));
  return 0;
}

Expected<int> export_run(const Asked& asked) {
  TRY(Record record, open_record());
  TRY(json capsule, find(record, asked.id));
  TRY(const auto files, record.files(Recording::owner(), asked.id));
  std::string text;
  if (asked.format == "notebook") {
    text = notebook_of(capsule, files);
  } else if (asked.format == "html") {
    text = report_of(capsule, files);
  } else {
    for (const auto& file : files)
      capsule["files"].push_back({{"step", file.step},
                                  {"name", file.name},
                                  {"media_type", file.media_type},
                                  {"content", base64_of(file.content)}});
    text = dump_json(capsule) + "\n";
  }
  if (asked.out.empty()) {
    print(text);
    return 0;
  }
  const Fd file(::open(asked.out.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  const int failed = file.valid() ? write_all(file.get(), text.data(), text.size()) : errno;
  if (failed == 0) return 0;
  return std::unexpected(Error{Stage::None, asked.out, failed, "cannot write " + asked.out,
                               "name a file that is not there yet, where you can write"});
}

Expected<int> remove(const Asked& asked) {
  TRY(Record record, open_record());
  if (asked.all) {
    TRY(const std::size_t count, record.remove_all(Recording::owner()));
    std::fprintf(stderr, "jailrun: %zu runs removed\n", count);
    return 0;
  }
  if (asked.ids.empty() && asked.thread.empty())
    return std::unexpected(
        Error{Stage::None, "rm", 0, "no run was named", "name runs, --thread NAME or --all"});
  if (!asked.thread.empty()) {
    TRY(const bool there, record.remove_thread(Recording::owner(), asked.thread));
    if (!there)
      return std::unexpected(Error{Stage::None, asked.thread, 0,
                                   "there is no thread " + asked.thread,
                                   "`jailrun runs threads` lists them"});
  }
  for (const auto& id : asked.ids) {
    TRY(const bool there, record.remove(Recording::owner(), id));
    if (!there) return std::unexpected(no_run(id));
  }
  return 0;
}

int finish(const Expected<int>& done) {
  if (done) return *done;
  std::fprintf(stderr, "jailrun: %s\n", printable(done.error().line()).c_str());
  return kOurFailure;
}

}  // namespace

void add_runs(CLI::App& app, int& status) {
  const auto asked = std::make_shared<Asked>();
  CLI::App* verb = app.add_subcommand("runs", "what was asked, run and answered, as recorded");
  verb->require_subcommand(1);
  const auto add = [&](const char* name, const char* about, Expected<int> (*act)(const Asked&)) {
    CLI::App* made = verb->add_subcommand(name, about);
    made->callback([asked, act, &status] { status = finish(act(*asked)); });
    return made;
  };
  const auto with_json = [&](CLI::App* made) {
    made->add_flag("--json", asked->json, "as JSON");
    return made;
  };
  CLI::App* ls = with_json(add("ls", "the latest runs, newest first", list));
  ls->add_option("--limit", asked->limit, "how many at most (default 20)")
      ->check(CLI::Range(1, 100000));
  ls->add_option("--thread", asked->thread, "of this thread alone")->type_name("NAME");
  with_json(add("show", "one run: code, output, answer", show))
      ->add_option("ID", asked->id, "as `runs ls` shows it")
      ->required();
  CLI::App* exported = add("export", "one run, to keep or to replay elsewhere", export_run);
  exported->add_option("ID", asked->id, "as `runs ls` shows it")->required();
  exported->add_option("--format", asked->format, "json (with its files), notebook or html")
      ->check(CLI::IsMember({"json", "notebook", "html"}));
  exported->add_option("--out", asked->out, "a new file (default: stdout)")->type_name("FILE");
  CLI::App* rm = add("rm", "remove runs; nothing of them stays", remove);
  rm->add_option("ID", asked->ids, "as `runs ls` shows them");
  rm->add_option("--thread", asked->thread, "a thread with its runs")->type_name("NAME");
  rm->add_flag("--all", asked->all, "everything that you have recorded");
  CLI::App* all = with_json(add("threads", "conversations, newest first", threads));
  all->add_option("--limit", asked->limit, "how many at most (default 20)");
}

}  // namespace jailrun::full
