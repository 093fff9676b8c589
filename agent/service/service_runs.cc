// The routes of runs and threads, as the record has them; and POST /runs, which asks no model.
#include <charconv>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/record/export.h"
#include "agent/service/cells.h"
#include "agent/service/questions.h"
#include "agent/service/tables.h"

namespace jailrun::service {
namespace {

using namespace jailrun::agent;
using nlohmann::json;

constexpr std::uint64_t kRunBytes = 1 << 20;

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

// 1 to 200, default 50; nothing for what is none.
std::optional<std::size_t> limit_of(const Call& call) {
  const auto found = call.http.query.find("limit");
  if (found == call.http.query.end()) return 50;
  const std::string& text = found->second;
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 1 || number > 200)
    return std::nullopt;
  return number;
}

HttpReply bad_limit() {
  return json_reply({{"detail", Json::array({{{"loc", {"query", "limit"}},
                                              {"msg", "Input should be 1 to 200"},
                                              {"type", "out_of_range"}}})}},
                    422);
}

HttpReply attachment(std::string type, const std::string& name, std::string content) {
  HttpReply reply;
  reply.type = std::move(type);
  reply.headers.emplace_back("Content-Disposition", "attachment; filename=\"" + name + "\"");
  reply.body = std::move(content);
  return reply;
}

Json run_view(const RunRow& row) {
  return {{"run_id", row.run_id},
          {"created_at", time_text(row.created_ms)},
          {"status", row.status},
          {"question", row.question},
          {"answer", text_or_null(row.answer)},
          {"thread_id", text_or_null(row.thread_id)},
          {"dataset_id", text_or_null(row.dataset_id)},
          {"model", text_or_null(row.model)},
          {"exec_time_ms", row.exec_ms},
          {"steps", row.steps}};
}

Json message_view(const ThreadMessage& row, const std::string& thread_id) {
  return {{"id", row.id},
          {"thread_id", thread_id},
          {"created_at", time_text(row.created_ms)},
          {"dataset_id", text_or_null(row.dataset_id)},
          {"role", row.role},
          {"content", row.content},
          {"run_id", text_or_null(row.run_id)},
          {"metadata", Json(row.metadata)}};
}

// The one of its type, or which field is missing.
std::expected<DirectMessage, std::string> direct_of(const Json& body) {
  const auto type = text_in(body, "query_type");
  if (type == "sql" && !text_in(body, "sql").empty())
    return DirectMessage{DirectMode::Sql, text_in(body, "sql")};
  if (type == "python" && !text_in(body, "python_code").empty())
    return DirectMessage{DirectMode::Python, text_in(body, "python_code")};
  if (const auto plan = body.find("plan_json"); type == "plan" && plan != body.end()) {
    if (plan->is_object()) return DirectMessage{DirectMode::Plan, plan->dump()};
    if (plan->is_string()) return DirectMessage{DirectMode::Plan, plan->get<std::string>()};
  }
  if (type == "sql") return std::unexpected("sql is required when query_type is 'sql'");
  if (type == "python")
    return std::unexpected("python_code is required when query_type is 'python'");
  if (type == "plan") return std::unexpected("plan_json is required when query_type is 'plan'");
  return std::unexpected("query_type must be sql, python or plan");
}

// As a question that says the same in /chat.
std::string question_of(const DirectMessage& message) {
  if (message.mode == DirectMode::Plan) return message.text;
  return (message.mode == DirectMode::Sql ? "SQL: " : "PYTHON: ") + message.text;
}

Expected<Json> run_now(const ServiceOptions& options, const Call& call,
                       const DirectMessage& message) {
  TRY(QuestionData data, find_data({options, call.owner}, call.body, nullptr));
  TRY(Record record, open_record(options));
  TRY(const std::string jailrun, find_jailrun());
  const auto jails = jails_for(options, jailrun, true);
  const Cancel cancel = Cancel::on_descriptor(call.http.gone);
  const auto limits = direct_limits();
  TRY(Circumstances around,
      circumstances(direct_options(jails, message.mode), data.inputs, cancel));
  around.dataset_id = data.dataset_id;
  around.dataset_hash = data.dataset_hash;
  const auto question = question_of(message);
  TRY(const std::string id, record.begin({call.owner, "", question, data.dataset_id}));
  const auto answer = [&]() -> Expected<Answered> {
    if (data.tables.empty()) {
      TRY(data.tables, describe(JailClient(jails, data.inputs, cancel), limits.deadline));
    }
    return answer_directly(message, jails, data.inputs, data.tables, cancel, {}, limits);
  };
  auto answered = answer();
  if (answered) answered->asked.question = question;
  TRY_VOID(record.end(
      call.owner, id,
      answered ? capture(*answered, around) : capture(question, answered.error(), around)));
  if (!answered) return std::unexpected(answered.error());
  TRY(const auto capsule, record.capsule(call.owner, id));
  if (!capsule) return std::unexpected(Error{Stage::None, id, 404, "Run not found", ""});
  return Json{{"run_id", id},
              {"status", (*capsule)["status"]},
              {"result", result_view(*capsule)},
              {"details", details_view(*capsule)}};
}

}  // namespace

void Service::add_runs() {
  const auto with = [this](auto act) {
    return [this, act](Call& call) {
      auto record = open_record(options_);
      return record ? act(*record, call) : reply_from(record.error());
    };
  };
  const auto exported = [with](auto make, const char* type, const char* suffix) {
    return with([make, type, suffix](Record& record, Call& call) {
      const auto capsule = record.capsule(call.owner, call.parts[0]);
      if (!capsule) return reply_from(capsule.error());
      if (!*capsule) return failure(404, "Run not found");
      const auto files = record.files(call.owner, call.parts[0]);
      if (!files) return reply_from(files.error());
      return attachment(type, "run-" + text_member(**capsule, "run_id") + suffix,
                        make(**capsule, *files));
    });
  };
  routes_.add({"POST",
               "/runs",
               "Run SQL, Python or a query plan over data; Accept: text/csv, or an Arrow stream, "
               "gives the table",
               {{"dataset_id", "string", false, {}, {}, "a registered data set"},
                {"query_type", "string", true, {}, {}, "sql, python or plan"},
                {"sql", "string"},
                {"python_code", "string"},
                {"plan_json", "object"},
                {"files", "array", false, {}, {}, "ids of stored files, instead"},
                {"user_id", "string", false, {}, {}, "whose files; default \"\""}},
               {kRunBytes},
               [this](Call& call) {
                 const auto message = direct_of(call.body);
                 if (!message) return failure(400, message.error());
                 const auto done = run_now(options_, call, *message);
                 return done ? reply_with_table(options_, call, (*done)["result"], *done)
                             : reply_from(done.error());
               }});
  routes_.add({"GET",
               "/runs",
               "Your runs, newest first: ?limit=&thread_id=",
               {},
               {},
               with([](Record& record, Call& call) {
                 const auto limit = limit_of(call);
                 if (!limit) return bad_limit();
                 const auto rows = record.runs(call.owner, *limit, call.http.query["thread_id"]);
                 if (!rows) return reply_from(rows.error());
                 Json all = Json::array();
                 for (const RunRow& row : *rows) all.push_back(run_view(row));
                 return json_reply({{"runs", all}});
               })});
  routes_.add({"GET",
               "/runs/{id}",
               "Its capsule; Accept: text/csv, or an Arrow stream, gives its table",
               {},
               {},
               with([this](Record& record, Call& call) {
                 const auto found = record.capsule(call.owner, call.parts[0]);
                 if (!found) return reply_from(found.error());
                 if (!*found) return failure(404, "Run not found");
                 const Json whole(**found);
                 return reply_with_table(options_, call, whole.value("result_json", Json()), whole);
               })});
  routes_.add(
      {"GET", "/runs/{id}/status", "How it stands", {}, {}, with([](Record& record, Call& call) {
         const auto found = record.status(call.owner, call.parts[0]);
         if (!found) return reply_from(found.error());
         return json_reply({{"run_id", call.parts[0]}, {"status", found->value_or("not_found")}});
       })});
  routes_.add({"GET",
               "/runs/{id}/files/{step}/{name}",
               "A file that a step left",
               {},
               {},
               with([](Record& record, Call& call) {
                 const auto step = std::strtoul(call.parts[1].c_str(), nullptr, 10);
                 auto found = record.file(call.owner, call.parts[0], step, call.parts[2]);
                 if (!found) return reply_from(found.error());
                 if (!*found) return failure(404, "there is no such file");
                 // Whatever it says it is, no browser is to show it as a page of ours.
                 HttpReply reply;
                 reply.type = "application/octet-stream";
                 reply.headers.emplace_back("Content-Disposition", "attachment");
                 reply.body = std::move((*found)->content);
                 return reply;
               })});
  routes_.add({"GET",
               "/runs/{id}/notebook",
               "As Jupyter notebook",
               {},
               {},
               exported(notebook_of, "application/x-ipynb+json", ".ipynb")});
  routes_.add({"GET",
               "/runs/{id}/report",
               "As a page that needs no other file",
               {},
               {},
               exported(report_of, "text/html; charset=utf-8", ".html")});
  routes_.add({"DELETE", "/runs/{id}", "Remove it", {}, {}, with([](Record& record, Call& call) {
                 const auto done = record.remove(call.owner, call.parts[0]);
                 if (!done) return reply_from(done.error());
                 if (!*done) return failure(404, "Run not found");
                 return json_reply({{"run_id", call.parts[0]}, {"deleted", true}});
               })});
  add_threads();
}

void Service::add_threads() {
  const auto with = [this](auto act) {
    return [this, act](Call& call) {
      auto record = open_record(options_);
      return record ? act(*record, call) : reply_from(record.error());
    };
  };
  routes_.add({"GET",
               "/threads",
               "Your conversations, newest first",
               {},
               {},
               with([](Record& record, Call& call) {
                 const auto limit = limit_of(call);
                 if (!limit) return bad_limit();
                 const auto rows = record.threads(call.owner, *limit);
                 if (!rows) return reply_from(rows.error());
                 Json all = Json::array();
                 for (const ThreadRow& row : *rows)
                   all.push_back({{"thread_id", row.thread_id},
                                  {"title", row.title},
                                  {"created_at", time_text(row.created_ms)},
                                  {"updated_at", time_text(row.updated_ms)},
                                  {"messages", row.messages},
                                  {"dataset_id", text_or_null(row.dataset_id)}});
                 return json_reply({{"threads", all}});
               })});
  routes_.add({"GET",
               "/threads/{id}/messages",
               "What was said in it: ?limit=",
               {},
               {},
               with([](Record& record, Call& call) {
                 const auto limit = limit_of(call);
                 if (!limit) return bad_limit();
                 const auto rows = record.messages(call.owner, call.parts[0], *limit);
                 if (!rows) return reply_from(rows.error());
                 Json all = Json::array();
                 for (const ThreadMessage& row : *rows)
                   all.push_back(message_view(row, call.parts[0]));
                 return json_reply({{"thread_id", call.parts[0]}, {"messages", all}});
               })});
  routes_.add({"DELETE",
               "/threads/{id}",
               "Remove it with its runs",
               {},
               {},
               with([](Record& record, Call& call) {
                 const auto done = record.remove_thread(call.owner, call.parts[0]);
                 if (!done) return reply_from(done.error());
                 if (!*done) return failure(404, "there is no thread " + call.parts[0]);
                 return json_reply({{"thread_id", call.parts[0]}, {"deleted", true}});
               })});
}

}  // namespace jailrun::service
