// jailrun-full: every verb of `jailrun` but run and exec, and what there is to say about those two.
//
// It may link what it likes; the thin binary, which must start in microseconds, exec's it.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "jail/plan/nearest.h"
#include "tools/full/explain_trace.h"
#include "tools/full/files.h"
#include "tools/full/help.h"
#include "tools/full/run_exec.h"
#include "tools/full/verbs.h"
#include "tools/options.h"

namespace jailrun::full {
namespace {

void add_verbs(CLI::App& app, int& status) {
  add_run(app, status);
  add_exec(app, status);
#ifdef JAILRUN_VERB_ASK
  add_ask(app, status);
#endif
#ifdef JAILRUN_VERB_CHAT
  add_chat(app, status);
#endif
#ifdef JAILRUN_VERB_RUNS
  add_runs(app, status);
#endif
#ifdef JAILRUN_VERB_EXPLAIN
  add_explain(app, status);
#endif
#ifdef JAILRUN_VERB_FILES
  add_files(app, status);
#endif
#ifdef JAILRUN_VERB_ROOTFS
  add_rootfs(app, status);
#endif
#ifdef JAILRUN_VERB_PACKAGES
  add_packages(app, status);
#endif
#ifdef JAILRUN_VERB_DATASETS
  add_datasets(app, status);
#endif
#ifdef JAILRUN_VERB_PLAN
  add_plan(app, status);
#endif
#ifdef JAILRUN_VERB_COMPILE
  add_compile(app, status);
#endif
#ifdef JAILRUN_VERB_SESSION
  add_session(app, status);
#endif
#ifdef JAILRUN_VERB_DAEMON
  add_daemon(app, status);
#endif
#ifdef JAILRUN_VERB_TOP
  add_top(app, status);
#endif
#ifdef JAILRUN_VERB_CONFIG
  add_config(app, status);
#endif
  add_doctor(app, status);
  add_completion(app, status);
}

std::vector<std::string> verbs_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!verb->get_group().empty()) names.push_back(verb->get_name());
  return names;
}

bool known_verb(const CLI::App& app, const std::string& name) {
  const auto same = [&](const CLI::App* verb) { return verb->get_name() == name; };
  return !app.get_subcommands(same).empty();
}

// The verb (of a verb) whose arguments were being read.
const CLI::App& innermost(const CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return parsed.empty() ? app : innermost(*parsed.back());
}

std::string path_of(const CLI::App& app) {
  if (app.get_parent() == nullptr) return app.get_name();
  return path_of(*app.get_parent()) + " " + app.get_name();
}

// One line: the fault, and what to do.
std::string bad_usage(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& verb = innermost(app);
  const std::string path = path_of(verb);
  const std::string see = "see `" + path + " --help`";
  const std::vector<std::string> extra = app.remaining(true), nested = verbs_of(verb);
  if (!nested.empty() && verb.get_parent() != nullptr && (extra.empty() || extra[0][0] != '-')) {
    std::string list;
    for (const std::string& name : nested) list += (list.empty() ? "" : ", ") + name;
    if (extra.empty()) return path + ": no verb given; one of: " + list;
    return path + ": unknown verb '" + extra[0] + "'; " +
           did_you_mean(extra[0], nested, "one of: " + list);
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !extra.empty()) {
    const std::string& word = extra.front();
    if (word[0] != '-') return path + ": one argument too many: '" + word + "'; " + see;
    std::vector<std::string> known;
    for (const CLI::Option* option : verb.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    return path + ": unknown option '" + word + "'; " + did_you_mean(word, known, see);
  }
  std::string what = error.what();
  for (char& letter : what)
    if (letter == '\n') letter = ' ';
  return path + ": " + what + "; " + see;
}

int fail(const std::string& line) {
  std::fprintf(stderr, "%s\n", line.c_str());
  return kStatusOurs;
}

// `status`, or 125 where stdout did not take everything (a full disk, a closed descriptor).
int flushed(int status) {
  std::cout.flush();
  if (!std::cout.fail() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  return fail("jailrun: standard output cannot be written; is it closed, or its disk full?");
}

int main(int argc, char** argv) {
  CLI::App app(
      "Runs code that nobody has read in fresh Linux jails: no network, no file of the host, hard "
      "limits, "
      "and an exact account of how it ended.",
      "jailrun");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", std::string("jailrun ") + JAILRUN_VERSION);
  app.footer(
      "`jailrun VERB --help` tells more. Exit status 125: our own failure, never the guest's.");
  int status = 0;
  add_verbs(app, status);
  app.require_subcommand(0, 1);

  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) return fail("jailrun: no verb given; see `jailrun --help`");
  if (words.front() == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  }
  const std::vector<std::string> verbs = verbs_of(app);
  const std::string first = words.front();
  if (first.empty() || (first.front() != '-' && !known_verb(app, first)))
    return fail("jailrun: unknown verb '" + first + "'; " +
                did_you_mean(first, verbs, "`jailrun --help` lists them"));
  try {
    app.parse(
        std::vector<std::string>{words.rbegin(), words.rend()});  // CLI11 wants the last word first
  } catch (const CLI::Success& help_or_version) {
    app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    return fail(bad_usage(app, error));
  }
  return flushed(status);
}

}  // namespace
}  // namespace jailrun::full

int main(int argc, char** argv) {
#ifdef JAILRUN_VERB_FILES
  if (const auto failed = jailrun::full::run_with_stored_files(argc, argv)) return *failed;
#endif
#ifdef JAILRUN_VERB_EXPLAIN
  if (const auto status = jailrun::full::explain_trace(argc, argv)) return *status;
#endif
  return jailrun::full::main(argc, argv);
}
