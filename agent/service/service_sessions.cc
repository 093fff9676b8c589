// The routes that execute code.
#include "agent/service/cells.h"
#include "agent/service/inputs.h"
#include "agent/service/service.h"
#include "agent/service/views.h"

namespace jailrun::service {
namespace {

constexpr double kMostTimeout = 300;
constexpr std::uint64_t kCodeBytes = 2u << 20, kFileBytes = 32u << 20;

const Field kCode{"code", "string", true, {}, {}, "Python"};
const Field kTimeout{"timeout", "number", false, 0.1, kMostTimeout, "seconds; default 30"};
const Field kTransactional{
    "transactional", "boolean", false, {}, {}, "keep the effects only if the code succeeds"};
const Field kPolicy{"policy", "string", false, {}, {}, "an installed policy"};
const Field kPackages{"packages", "array", false, {}, {}, "names of approved packages"};

}  // namespace

// Sessions are named by whoever asks, and begin with the first request.
HttpReply Service::execute(Call& call) {
  if (flag_in(call.body, "enable_networking"))
    return failure(403, "networking is disabled on this service");
  const std::string id = text_in(call.body, "session_id");
  if (id.empty() || id.size() > 128) return failure(400, "session_id must have 1 to 128 bytes");
  LeaseRequest request;
  request.policy = options_.execute_policy;
  request.overrides = options_.limits.execute_overrides;
  auto held = sessions_.hold(call.owner, id);
  if (!held && held.error().errno_value == 404) {
    sessions_.remove(call.owner, id);  // one that has ended
    const auto made = create(call.owner, id, std::move(request), kMostTimeout);
    if (!made && made.error().errno_value != 409) return reply_from(made.error());
    held = sessions_.hold(call.owner, id);
  }
  if (!held) return reply_from(held.error());
  const ServiceLimits& limits = options_.limits;
  const double timeout_s =
      std::min(number_in(call.body, "timeout", limits.execute_s), limits.execute_most_s);
  call.body["timeout"] = timeout_s;
  auto done = execute_in(*held, call.body, call.http);
  if (!done) return reply_from(done.error());
  for (std::string* stream : {&done->answer.out, &done->answer.err})
    if (stream->size() > limits.execute_output) stream->resize(limits.execute_output);
  return json_reply(execute_view(id, done->answer, done->seconds, timeout_s));
}

void Service::add_execute() {
  Field seconds = kTimeout;
  seconds.minimum = 1;
  routes_.add({"POST",
               "/execute",
               "Execute code in the session of this name, made where there is none",
               {{"session_id", "string", true},
                kCode,
                seconds,
                {"enable_networking", "boolean", false, {}, {}, "always refused"}},
               {kCodeBytes},
               [this](Call& call) { return execute(call); }});
  routes_.add({"GET", "/sessions", "Names of your sessions", {}, {}, [this](Call& call) {
                 Json names = Json::array();
                 for (const auto& row : sessions_.list(call.owner)) names.push_back(row.name);
                 return json_reply({{"active_sessions", names}, {"count", names.size()}});
               }});
  routes_.add(
      {"POST", "/sessions/{id}/reset", "Forget all that it knows", {}, {1024}, [this](Call& call) {
         sessions_.remove(call.owner, call.parts[0]);
         return json_reply({{"message", "Session " + call.parts[0] + " reset"}});
       }});
  routes_.add({"DELETE", "/sessions/{id}", "End it", {}, {}, [this](Call& call) {
                 if (!sessions_.remove(call.owner, call.parts[0]))
                   return failure(404, "there is no session " + call.parts[0]);
                 return json_reply({{"message", "Session " + call.parts[0] + " deleted"}});
               }});
}

// One jail for one piece of code.
HttpReply Service::run(Call& call) {
  LeaseRequest request;
  request.policy = text_in(call.body, "policy", options_.policy);
  request.packages = texts_in(call.body, "packages");
  const double timeout_s = number_in(call.body, "timeout", kDefaultTimeout);
  const auto id =
      create(call.owner, "", std::move(request), timeout_s, SessionBook::Life::OneRequest);
  if (!id) return reply_from(id.error());
  HttpReply reply;
  {
    auto held = sessions_.hold(call.owner, *id);
    if (!held) return reply_from(held.error());
    const auto done = execute_in(*held, call.body, call.http);
    reply = done ? json_reply(cell_view(done->answer, done->seconds)) : reply_from(done.error());
  }
  reply.after = [this, owner = call.owner, id = *id] { sessions_.remove(owner, id); };
  return reply;
}

HttpReply Service::begin_session(Call& call) {
  LeaseRequest request;
  request.policy = text_in(call.body, "policy", options_.policy);
  request.packages = texts_in(call.body, "packages");
  const std::vector<std::string> ids = texts_in(call.body, "files");
  Inputs inputs;  // open until the jail has them
  if (!ids.empty()) {
    auto files = store();
    if (!files) return reply_from(files.error());
    auto opened = open_files(*files, call.owner + ":" + text_in(call.body, "user_id"), ids);
    if (!opened) return std::move(opened.error());
    inputs = std::move(*opened);
    request.files = inputs.files;
  }
  const std::string policy = request.policy;
  const auto id = create(call.owner, "", std::move(request), kMostTimeout);
  return id ? json_reply({{"id", *id}, {"policy", policy}}, 201) : reply_from(id.error());
}

HttpReply Service::run_cell(Call& call) {
  auto held = sessions_.hold(call.owner, call.parts[0]);
  if (!held) return reply_from(held.error());
  const auto done = execute_in(*held, call.body, call.http);
  return done ? json_reply(cell_view(done->answer, done->seconds)) : reply_from(done.error());
}

HttpReply Service::stream_cell(Call& call) {
  // Whether there is one is worth a status; held it is by the thread that uses it.
  if (const auto held = sessions_.hold(call.owner, call.parts[0]); !held)
    return reply_from(held.error());
  HttpReply reply;
  reply.events = [this, owner = call.owner, id = call.parts[0], body = call.body,
                  &http = call.http](const SendEvent& send) {
    auto held = sessions_.hold(owner, id);
    if (!held) {
      send("error", reply_from(held.error()).body);
      return;
    }
    CellOptions options;
    const auto chunk = [&send](const char* event) {
      return [&send, event](std::string_view bytes) {
        send(event, Json{{"text", bytes}}.dump(-1, ' ', false, Json::error_handler_t::replace));
      };
    };
    options.out = chunk("stdout");
    options.err = chunk("stderr");
    options.display = [&send](const SessionFrame& frame) {
      send("display", display_view(frame).dump(-1, ' ', false, Json::error_handler_t::replace));
    };
    const auto done = execute_in(*held, body, http, options);
    const HttpReply last =
        done ? json_reply(cell_view(done->answer, done->seconds)) : reply_from(done.error());
    send(done ? "answer" : "error", last.body);
  };
  return reply;
}

void Service::add_sessions() {
  routes_.add({"POST",
               "/v1/run",
               "Run code in a jail of its own",
               {kCode, kTimeout, kPolicy, kPackages},
               {kCodeBytes},
               [this](Call& call) { return run(call); }});
  routes_.add({"POST",
               "/v1/sessions",
               "Begin a session",
               {kPolicy,
                kPackages,
                {"files", "array", false, {}, {}, "ids of stored files, which it finds in /data"},
                {"user_id", "string", false, {}, {}, "whose files they are"}},
               {64 << 10},
               [this](Call& call) { return begin_session(call); }});
  routes_.add({"GET", "/v1/sessions", "Your sessions", {}, {}, [this](Call& call) {
                 Json all = Json::array();
                 for (const auto& row : sessions_.list(call.owner))
                   all.push_back(
                       {{"id", row.name}, {"policy", row.policy}, {"idle_s", row.idle_s}});
                 return json_reply({{"sessions", all}});
               }});
  routes_.add({"DELETE", "/v1/sessions/{id}", "End it", {}, {}, [this](Call& call) {
                 if (!sessions_.remove(call.owner, call.parts[0]))
                   return failure(404, "there is no session " + call.parts[0]);
                 return json_reply({{"id", call.parts[0]}});
               }});
  routes_.add({"POST",
               "/v1/sessions/{id}/execute",
               "Execute a cell in it",
               {kCode, kTimeout, kTransactional},
               {kCodeBytes},
               [this](Call& call) { return run_cell(call); }});
  routes_.add({"POST",
               "/v1/sessions/{id}/execute/stream",
               "The same as server-sent events: stdout, stderr, display, answer",
               {kCode, kTimeout, kTransactional},
               {kCodeBytes},
               [this](Call& call) { return stream_cell(call); }});
  routes_.add({"POST",
               "/v1/sessions/{id}/interrupt",
               "Interrupt what it executes",
               {},
               {1024},
               [this](Call& call) {
                 if (!sessions_.interrupt(call.owner, call.parts[0]))
                   return failure(404, "there is no session " + call.parts[0]);
                 return json_reply({{"id", call.parts[0]}});
               }});
  // What the session itself refuses is a conflict with its state.
  const auto with = [this](Call& call, auto act) {
    auto held = sessions_.hold(call.owner, call.parts[0]);
    if (!held) return reply_from(held.error());
    return act(*held);
  };
  const auto conflict = [](const Error& error) { return failure(409, error.message); };
  const Field state{"savepoint", "integer", true, 0, 4294967295.0, "its number"};
  Field from = state;
  from.required = false;
  from.about = "from this saved state; default: from now";
  routes_.add({"POST",
               "/v1/sessions/{id}/savepoints",
               "Mark its state",
               {},
               {1024},
               [with, conflict](Call& call) {
                 return with(call, [&](SessionBook::Held& held) {
                   const auto saved = held.session().savepoint();
                   return saved ? json_reply({{"savepoint", *saved}}, 201)
                                : conflict(saved.error());
                 });
               }});
  routes_.add({"POST",
               "/v1/sessions/{id}/rollback",
               "Return to a saved state",
               {state},
               {4096},
               [with, conflict](Call& call) {
                 return with(call, [&](SessionBook::Held& held) {
                   const auto number =
                       static_cast<std::uint32_t>(call.body["savepoint"].get<double>());
                   const auto done = held.session().rollback(number);
                   return done ? json_reply({{"savepoint", number}}) : conflict(done.error());
                 });
               }});
  routes_.add({"POST",
               "/v1/sessions/{id}/branch",
               "A second session from its state",
               {from},
               {4096},
               [this, with](Call& call) {
                 return with(call, [&](SessionBook::Held& held) {
                   std::optional<std::uint32_t> number;
                   if (call.body.contains("savepoint"))
                     number = static_cast<std::uint32_t>(call.body["savepoint"].get<double>());
                   const auto id = sessions_.branch(call.owner, held, number);
                   return id ? json_reply({{"id", *id}}, 201) : reply_from(id.error());
                 });
               }});
  routes_.add({"PUT",
               "/v1/sessions/{id}/files/{name}",
               "A file into its /work",
               {},
               {kFileBytes},
               [with, conflict](Call& call) {
                 return with(call, [&](SessionBook::Held& held) {
                   const auto done = held.session().put(call.parts[1], call.http.body);
                   return done ? json_reply({{"name", call.parts[1]}}) : conflict(done.error());
                 });
               }});
  routes_.add({"GET",
               "/v1/sessions/{id}/tables/{name}",
               "A variable that is a table, all of it, as Arrow IPC stream",
               {},
               {},
               [with](Call& call) {
                 return with(call, [&](SessionBook::Held& held) {
                   auto content = held.session().arrow(call.parts[1]);
                   if (!content) return failure(404, content.error().message);
                   HttpReply reply;
                   reply.type = "application/vnd.apache.arrow.stream";
                   reply.body = std::move(*content);
                   return reply;
                 });
               }});
  routes_.add(
      {"GET", "/v1/sessions/{id}/files/{name}", "A file of its /work", {}, {}, [with](Call& call) {
         return with(call, [&](SessionBook::Held& held) {
           auto content = held.session().get(call.parts[1]);
           if (!content) return failure(404, content.error().message);
           HttpReply reply;
           reply.type = "application/octet-stream";
           reply.headers.emplace_back("Content-Disposition", "attachment");
           reply.body = std::move(*content);
           return reply;
         });
       }});
}

}  // namespace jailrun::service
