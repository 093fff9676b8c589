// `jailrun session new|exec|save|rollback|ls|reset|rm` and `jailrun repl`: an interpreter that
// stays.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <string>

#include "jail/confine/inputs.h"
#include "jail/session/session.h"
#include "jail/sys/units.h"
#include "tools/full/cell.h"
#include "tools/full/files.h"
#include "tools/full/line_editor.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

struct Asked {
  CellArguments cell;
  std::string id, code, policy = "python";
  std::vector<std::string> sets, files, packages;
  std::string file, out;
  std::uint32_t savepoint = 0;
};

// --- the verbs ----------------------------------------------------------------------------------

template <typename Do>
int with_session(const Asked& asked, Do act) {
  Expected<Client> client = Client::connect();
  if (!client) return fail(client.error().line());
  Expected<Session> session = Session::attach(*client, asked.id);
  if (!session) return fail(session.error().line());
  return act(*session);
}

// A file as PATH or PATH:NAME.
InputSource source_of(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  std::error_code error;
  if (colon == std::string::npos || std::filesystem::exists(text, error)) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

Expected<Session> create(Client& client, const Asked& asked) {
  LeaseRequest request;
  request.policy = asked.policy;
  request.overrides = asked.sets;
  request.packages = asked.packages;
  std::vector<OpenedInput> inputs;
  StoredInputs stored;
  for (const std::string& file : asked.files) {
    TRY(std::optional<OpenedInput> opened, stored.open(file));
    if (!opened) {
      TRY(opened, open_source(source_of(file)));
    }
    inputs.push_back(std::move(*opened));
  }
  TRY(std::optional<OpenedInput> ids, stored.manifest());
  if (ids) inputs.push_back(std::move(*ids));
  for (const OpenedInput& input : inputs) request.files.push_back({input.name, input.file.get()});
  return Session::create(client, request);
}

int new_session(const Asked& asked) {
  Expected<Client> client = Client::connect();
  if (!client) return fail(client.error().line());
  const Expected<Session> session = create(*client, asked);
  if (!session) return fail(session.error().line());
  std::printf("%s\n", session->id().c_str());
  return 0;
}

int put(const Asked& asked) {
  return with_session(asked, [&](Session& session) {
    const InputSource source = source_of(asked.file);
    const Expected<OpenedInput> opened = open_source(source);
    if (!opened) return fail(opened.error().line());
    std::string content;
    char buffer[65536];
    ssize_t n = 0;
    while (content.size() <= Session::kMostPut &&
           (n = ::read(opened->file.get(), buffer, sizeof buffer)) > 0)
      content.append(buffer, static_cast<std::size_t>(n));
    if (n < 0) return fail("cannot read " + source.path + ": " + errno_name(errno));
    const Expected<void> done = session.put(opened->name, content);
    return done ? 0 : fail(done.error().line());
  });
}

int get(const Asked& asked) {
  return with_session(asked, [&](Session& session) {
    const Expected<std::string> content = session.get(asked.file);
    if (!content) return fail(content.error().line());
    Fd file;
    if (!asked.out.empty()) {
      file = Fd(::open(asked.out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
      if (!file.valid()) return fail("cannot write " + asked.out + ": " + errno_name(errno));
    }
    const int error =
        write_all(file.valid() ? file.get() : STDOUT_FILENO, content->data(), content->size());
    return error == 0 ? 0 : fail("cannot write the file: " + errno_name(error));
  });
}

Expected<std::string> code_of(const Asked& asked) {
  if (asked.code != "-") return asked.code;
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

int execute(const Asked& asked) {
  return with_session(asked, [&](Session& session) {
    const Expected<std::string> code = code_of(asked);
    const Expected<CellAnswer> answer = run_cell(session, *code, asked.cell);
    if (!answer) return fail(answer.error().line());
    if (asked.cell.json) print_json(*answer);
    return asked.cell.json ? (answer->ok() ? 0 : kGuestFailure) : tell(*answer);
  });
}

int save(const Asked& asked) {
  return with_session(asked, [&](Session& session) {
    const Expected<std::uint32_t> saved = session.savepoint();
    if (!saved) return fail(saved.error().line());
    std::printf("%u\n", *saved);
    return 0;
  });
}

int roll_back(const Asked& asked) {
  return with_session(asked, [&](Session& session) {
    const Expected<void> done = session.rollback(asked.savepoint);
    return done ? 0 : fail(done.error().line());
  });
}

int branch(const Asked& asked, bool from_savepoint) {
  return with_session(asked, [&](Session& session) {
    const auto state = from_savepoint ? std::optional(asked.savepoint) : std::nullopt;
    const Expected<Session> made = session.branch(state);
    if (!made) return fail(made.error().line());
    std::printf("%s\n", made->id().c_str());
    return 0;
  });
}

int drop(const Asked& asked) {
  return with_session(asked, [&](Session& session) {
    const Expected<void> done = session.drop(asked.savepoint);
    return done ? 0 : fail(done.error().line());
  });
}

int reset(const Asked& asked) {
  return with_session(asked, [&](Session& session) {
    const Expected<void> done = session.reset();
    return done ? 0 : fail(done.error().line());
  });
}

int remove(const Asked& asked) {
  Expected<Client> client = Client::connect();
  if (!client) return fail(client.error().line());
  const auto done = client->close_session(asked.id);
  if (!done) return fail(done.error().line());
  return *done ? fail((*done)->line()) : 0;
}

int list(bool json) {
  Expected<Client> client = Client::connect();
  if (!client) return fail(client.error().line());
  const auto all = client->sessions();
  if (!all) return fail(all.error().line());
  Json rows = Json::array();
  for (const SessionInfo& each : *all) {
    if (json) {
      rows.push_back({{"session", each.session},
                      {"policy", each.policy},
                      {"uid", each.uid},
                      {"owner", each.owner},
                      {"label", each.label},
                      {"state", each.state},
                      {"age_ns", each.age_ns},
                      {"idle_ns", each.idle_ns},
                      {"memory_peak_bytes", each.memory_bytes},
                      {"branch_of", each.origin.empty() ? Json() : Json(each.origin)}});
    } else {
      std::printf("%s  %-12s %-10s uid %-6u %10s old %10s idle %10s\n", each.session.c_str(),
                  each.policy.c_str(), each.state.c_str(), each.uid,
                  format_duration(each.age_ns).c_str(), format_duration(each.idle_ns).c_str(),
                  format_bytes(each.memory_bytes).c_str());
    }
  }
  if (json) std::printf("%s\n", rows.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
  return 0;
}

// A prompt, until the end of input. A session of its own, unless one is named.
int repl(const Asked& asked) {
  Expected<Client> client = Client::connect();
  if (!client) return fail(client.error().line());
  Expected<Session> session =
      asked.id.empty() ? create(*client, asked) : Session::attach(*client, asked.id);
  if (!session) return fail(session.error().line());
  LineEditor editor;
  if (editor.interactive())
    std::printf("Python in a jail of policy %s; Ctrl-D ends it\n", asked.policy.c_str());
  int status = 0;
  while (const std::optional<std::string> cell = editor.read_cell()) {
    if (cell->empty()) continue;
    const Expected<CellAnswer> answer = run_cell(*session, *cell, asked.cell);
    if (!answer) return fail(answer.error().line());
    status = tell(*answer);
    if (answer->ended || text_of(answer->head, "outcome") == "exit") break;
  }
  if (asked.id.empty()) (void)session->close();
  return status;
}

}  // namespace

void add_session(CLI::App& app, int& status) {
  const auto asked = std::make_shared<Asked>();
  CLI::App* session =
      app.add_subcommand("session", "An interpreter in a jail that stays between executions");
  session->require_subcommand(1);
  const auto add_id = [asked](CLI::App* verb) {
    verb->add_option("SESSION", asked->id, "as `session new` printed it")->required();
    return verb;
  };
  CLI::App* fresh = session->add_subcommand("new", "Begin one; prints its id");
  fresh->add_option("--policy", asked->policy, "an installed policy")->capture_default_str();
  fresh->add_option("--set", asked->sets, "PATH=VALUE: narrow a field of the policy");
  fresh->add_option("--file", asked->files,
                    "PATH, PATH:NAME or store:ID: shown below /data, not copied");
  fresh->add_option("--package", asked->packages, "an approved package: put on Python's path");
  fresh->callback([asked, &status] { status = new_session(*asked); });

  CLI::App* exec = add_id(session->add_subcommand("exec", "Execute a cell in it"));
  exec->add_option("CODE", asked->code, "Python; - reads it from stdin")->required();
  exec->add_option("-t,--timeout", asked->cell.timeout,
                   "a shorter wall limit for this cell, as 5s");
  exec->add_flag("--transactional", asked->cell.transactional,
                 "keep the effects only if the cell succeeds");
  exec->add_flag("--json", asked->cell.json, "the whole answer as JSON");
  exec->callback([asked, &status] { status = execute(*asked); });

  CLI::App* in = add_id(session->add_subcommand("put", "Copy a file into its /work"));
  in->add_option("FILE", asked->file, "PATH or PATH:NAME, of at most 32 MiB")->required();
  in->callback([asked, &status] { status = put(*asked); });
  CLI::App* from = add_id(session->add_subcommand("get", "Copy a file out of its /work"));
  from->add_option("NAME", asked->file, "below /work, of at most 200 MiB")->required();
  from->add_option("-o,--output", asked->out, "where to; default: stdout");
  from->callback([asked, &status] { status = get(*asked); });

  add_id(session->add_subcommand("save", "Mark its state; prints the number of the savepoint"))
      ->callback([asked, &status] { status = save(*asked); });
  CLI::App* back = add_id(session->add_subcommand("rollback", "Return to a saved state"));
  back->add_option("SAVEPOINT", asked->savepoint, "its number")->required();
  back->callback([asked, &status] { status = roll_back(*asked); });
  CLI::App* away = add_id(session->add_subcommand("drop", "Forget a saved state"));
  away->add_option("SAVEPOINT", asked->savepoint, "its number")->required();
  away->callback([asked, &status] { status = drop(*asked); });
  CLI::App* second =
      add_id(session->add_subcommand("branch", "Begin a second one from its state; prints the id"));
  CLI::Option* from_state =
      second->add_option("SAVEPOINT", asked->savepoint, "from this saved state; default: from now");
  second->callback([asked, from_state, &status] { status = branch(*asked, !from_state->empty()); });
  CLI::App* ls = session->add_subcommand("ls", "Your sessions; all of them for root");
  ls->add_flag("--json", asked->cell.json, "as JSON");
  ls->callback([asked, &status] { status = list(asked->cell.json); });
  add_id(session->add_subcommand("reset", "Begin it anew, under the same id"))
      ->callback([asked, &status] { status = reset(*asked); });
  add_id(session->add_subcommand("rm", "End it"))->callback([asked, &status] {
    status = remove(*asked);
  });

  CLI::App* prompt = app.add_subcommand("repl", "A prompt of Python in a jail");
  prompt->add_option("SESSION", asked->id, "go on in this one; default: a new one, ended with it");
  prompt->add_option("--policy", asked->policy, "an installed policy")->capture_default_str();
  prompt->add_option("--set", asked->sets, "PATH=VALUE: narrow a field of the policy");
  prompt->add_option("--file", asked->files,
                     "PATH, PATH:NAME or store:ID: shown below /data, not copied");
  prompt->add_option("--package", asked->packages, "an approved package: put on Python's path");
  prompt->add_flag("--transactional", asked->cell.transactional,
                   "keep the effects of a cell only if it succeeds");
  prompt->callback([asked, &status] { status = repl(*asked); });
}

}  // namespace jailrun::full
