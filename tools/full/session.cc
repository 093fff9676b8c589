// `jailrun session new|exec|save|rollback|ls|reset|rm` and `jailrun repl`: an interpreter that
// stays.
#include <fcntl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <string>

#include "jail/confine/inputs.h"
#include "jail/session/session.h"
#include "jail/sys/units.h"
#include "tools/full/line_editor.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

constexpr int kOurFailure = 125, kGuestFailure = 1, kInterrupted = 130, kTimedOut = 124;

// What a guest says must not steer a terminal: control characters but tab and newline go, those of
// C1 (U+0080 to U+009F, or the bytes 80 to 9F by themselves) as well. Characters may come in parts.
class Plain {
 public:
  std::string operator()(std::string_view text) {
    std::string out;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x80 && byte < 0xc0) {
        const bool c1 = byte < 0xa0 && (rest_ == 0 || first_ == 0xc2);
        if (rest_ > 0) --rest_;
        if (!c1 && first_ == 0xc2) out += '\xc2';
        if (!c1) out += c;
        first_ = 0;
        continue;
      }
      rest_ = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
      first_ = byte;
      const bool control = byte < 0x20 || byte == 0x7f;
      if (byte != 0xc2 && (!control || c == '\n' || c == '\t')) out += c;
    }
    return out;
  }

 private:
  unsigned char first_ = 0;
  int rest_ = 0;
};

std::string printable_text(const std::string& text) { return Plain()(text); }

int fail(const std::string& line) {
  std::fprintf(stderr, "jailrun: %s\n", printable_text(line).c_str());
  return kOurFailure;
}

void write_raw(int fd, std::string_view bytes) {
  static Plain plain[2];
  const std::string text =
      ::isatty(fd) != 0 ? plain[fd == STDERR_FILENO ? 1 : 0](bytes) : std::string(bytes);
  (void)write_all(fd, text.data(), text.size());
}

struct Asked {
  std::string id, code, policy = "python";
  std::vector<std::string> sets, files;
  std::string timeout, file, out;
  std::uint32_t savepoint = 0;
  bool json = false, transactional = false;
};

// SIGINT as a descriptor while something is executed.
class Interrupts {
 public:
  Interrupts() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGINT);
    ::sigprocmask(SIG_BLOCK, &set, &before_);
    fd_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~Interrupts() {
    signalfd_siginfo info{};
    while (::read(fd_.get(), &info, sizeof info) > 0) {
    }
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  int fd() const { return fd_.get(); }

 private:
  sigset_t before_{};
  Fd fd_;
};

std::string shown(const SessionFrame& frame) {
  const auto data = frame.head.find("data");
  if (data == frame.head.end() || !data->is_object()) return {};
  std::string text = text_of(*data, "text/plain");
  if (!text.empty()) return text;
  const auto bodies = frame.head.find("bodies");
  if (bodies == frame.head.end() || !bodies->is_array()) return {};
  std::string names;
  for (const Json& each : *bodies)
    if (each.is_array() && each.size() == 2 && each[0].is_string())
      names += "<" + each[0].get<std::string>() + ", " + format_bytes(frame.body.size()) + ">";
  return names;
}

void tell_files(const CellAnswer& answer) {
  const auto files = answer.head.find("files");
  if (files == answer.head.end() || !files->is_array()) return;
  for (const Json& each : *files) {
    if (!each.is_object()) continue;
    std::string name = printable_text(text_of(each, "name"));
    std::ranges::replace(name, '\n', '?');
    std::fprintf(stderr, "jailrun: file %s, %s\n", name.c_str(),
                 format_bytes(number_of(each, "bytes")).c_str());
  }
}

// Prints an answer as an interactive Python would. The exit status that it stands for.
int tell(const CellAnswer& answer) {
  if (answer.ended) {
    const Result& result = answer.ended->result;
    std::fprintf(stderr, "jailrun: the session has ended: %s: %s\n",
                 std::string(name(result.verdict)).c_str(), result.reason.c_str());
    return result.status == 0 ? kGuestFailure : result.status;
  }
  if (answer.out_truncated || answer.err_truncated)
    std::fprintf(stderr, "jailrun: output cut at the policy's limit\n");
  if (answer.displays_dropped > 0)
    std::fprintf(stderr, "jailrun: %zu displays left out: too many, or too large\n",
                 answer.displays_dropped);
  const std::string outcome = text_of(answer.head, "outcome");
  if (const auto error = answer.head.find("error");
      error != answer.head.end() && error->is_object()) {
    std::string text = text_of(*error, "traceback");
    if (text.empty()) text = text_of(*error, "type") + ": " + text_of(*error, "message") + "\n";
    if (text.back() != '\n') text += '\n';
    if (const std::string advice = text_of(*error, "advice"); !advice.empty())
      text += "hint: " + advice + "\n";
    write_raw(STDERR_FILENO, text);
  }
  if (answer.head.contains("rolled_back"))
    std::fprintf(stderr, "jailrun: rolled back to what was there before\n");
  tell_files(answer);
  if (outcome == "exit") return static_cast<int>(number_of(answer.head, "status") & 0xff);
  if (outcome == "interrupted" && answer.wall_hit) {
    std::fprintf(stderr, "jailrun: interrupted at its wall limit of %s; its state is kept\n",
                 format_duration(answer.wall_ns).c_str());
    return kTimedOut;
  }
  if (outcome == "interrupted") return kInterrupted;
  return outcome == "ok" ? 0 : kGuestFailure;
}

Expected<CellAnswer> run_cell(Session& session, const std::string& code, const Asked& asked) {
  const Interrupts interrupts;
  CellOptions options;
  options.transactional = asked.transactional;
  options.cancel = interrupts.fd();
  if (!asked.timeout.empty()) {
    const std::optional<std::uint64_t> wall = parse_duration_ns(asked.timeout);
    if (!wall || *wall == 0) {
      return std::unexpected(Error{Stage::None, "--timeout", 0,
                                   "--timeout " + asked.timeout + " is no duration",
                                   "write 5s, 500ms or 2m"});
    }
    options.wall_ns = *wall;
  }
  if (!asked.json) {
    options.out = [](std::string_view bytes) { write_raw(STDOUT_FILENO, bytes); };
    options.err = [](std::string_view bytes) { write_raw(STDERR_FILENO, bytes); };
    options.display = [](const SessionFrame& frame) {
      write_raw(STDOUT_FILENO, shown(frame) + "\n");
    };
  }
  return session.execute(code, options);
}

void print_json(const CellAnswer& answer) {
  Json all = answer.head;
  all["stdout"] = answer.out;
  all["stderr"] = answer.err;
  all["displays"] = Json::array();
  for (const SessionFrame& frame : answer.displays) {
    Json one = frame.head;
    one["body_bytes"] = frame.body.size();
    all["displays"].push_back(one);
  }
  if (answer.ended) {
    all["outcome"] = "ended";
    all["verdict"] = std::string(name(answer.ended->result.verdict));
    all["reason"] = answer.ended->result.reason;
  }
  std::printf("%s\n", all.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
}

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
  std::vector<OpenedInput> inputs;
  for (const std::string& file : asked.files) {
    TRY(OpenedInput opened, open_source(source_of(file)));
    request.files.push_back({opened.name, opened.file.get()});
    inputs.push_back(std::move(opened));
  }
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
    const Expected<CellAnswer> answer = run_cell(session, *code, asked);
    if (!answer) return fail(answer.error().line());
    if (asked.json) print_json(*answer);
    return asked.json ? (answer->ok() ? 0 : kGuestFailure) : tell(*answer);
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
    const Expected<CellAnswer> answer = run_cell(*session, *cell, asked);
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
  fresh->add_option("--file", asked->files, "PATH or PATH:NAME: shown below /data, not copied");
  fresh->callback([asked, &status] { status = new_session(*asked); });

  CLI::App* exec = add_id(session->add_subcommand("exec", "Execute a cell in it"));
  exec->add_option("CODE", asked->code, "Python; - reads it from stdin")->required();
  exec->add_option("-t,--timeout", asked->timeout, "a shorter wall limit for this cell, as 5s");
  exec->add_flag("--transactional", asked->transactional,
                 "keep the effects only if the cell succeeds");
  exec->add_flag("--json", asked->json, "the whole answer as JSON");
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
  ls->add_flag("--json", asked->json, "as JSON");
  ls->callback([asked, &status] { status = list(asked->json); });
  add_id(session->add_subcommand("reset", "Begin it anew, under the same id"))
      ->callback([asked, &status] { status = reset(*asked); });
  add_id(session->add_subcommand("rm", "End it"))->callback([asked, &status] {
    status = remove(*asked);
  });

  CLI::App* prompt = app.add_subcommand("repl", "A prompt of Python in a jail");
  prompt->add_option("SESSION", asked->id, "go on in this one; default: a new one, ended with it");
  prompt->add_option("--policy", asked->policy, "an installed policy")->capture_default_str();
  prompt->add_option("--set", asked->sets, "PATH=VALUE: narrow a field of the policy");
  prompt->add_option("--file", asked->files, "PATH or PATH:NAME: shown below /data, not copied");
  prompt->add_flag("--transactional", asked->transactional,
                   "keep the effects of a cell only if it succeeds");
  prompt->callback([asked, &status] { status = repl(*asked); });
}

}  // namespace jailrun::full
