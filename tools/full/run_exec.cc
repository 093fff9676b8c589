#include "tools/full/run_exec.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "jail/plan/nearest.h"
#include "tools/options.h"

namespace jailrun::full {
namespace {

constexpr const char* kRunText =
    "Run a Python script in a fresh jail and exit as the script did. What the script prints goes "
    "to "
    "stdout and stderr; what it leaves in its working directory /work goes to --out.";
constexpr const char* kExecText =
    "Run a command of the image in a fresh jail and exit as the command did.";

constexpr const char* kRunExamples = R"(Examples:
  jailrun run hello.py                           a script, its output, its exit status
  echo 'print(6 * 7)' | jailrun run -            a script from standard input
  jailrun run -f sales.csv -o results plot.py    reads /data/sales.csv, leaves plots in results/
  jailrun run -f in/2024.csv:sales.csv plot.py   the guest sees /data/sales.csv
  jailrun run -s limits.memory=2GiB -t 5m big.py arg1 --arg2
  jailrun run --json - < script.py | jq .verdict
)";
constexpr const char* kExecExamples = R"(Examples:
  jailrun exec -- /bin/true                      the least that a jail can do
  jailrun exec -f words.txt -- sort /data/words.txt
  jailrun exec -p python -- python3 -c 'import pandas; print(pandas.__version__)'
  jailrun exec -o out -- sh -c 'date > today'    out/today
)";
constexpr const char* kPlaces = R"(
Inside the jail:
  /data   the inputs, read-only          /work   working directory, its files go to --out
  /tmp    scratch, gone with the jail    /run    the script itself
  no network, no file, variable or process of the host; `jailrun explain POLICY` says all of it

Environment:
  JAILRUN_POLICY_DIR   where policies are looked for first (else /etc/jailrun/policies)
  JAILRUN_STATE_DIR    where images live (else /var/lib/jailrun for root,
                       ~/.local/share/jailrun for others)

Files:
  policies/*.textproto           what a guest may do; jail/spec/policy.proto is the manual
  jail/run/result.schema.json    what --json prints
)";

// "Exit status:" of the help, from the one table.
std::string exit_statuses() {
  std::string text = "Exit status (one line on stderr says why):\n";
  for (const ExitStatus& row : kExitStatuses) {
    std::string line = std::string("  ") + row.status;
    line.resize(std::max<std::size_t>(line.size() + 1, 15), ' ');
    line += row.meaning;
    if (*row.verdict != '\0') line += std::string(" [") + row.verdict + "]";
    text += line + "\n";
  }
  return text;
}

// Options end at the first word that is none: that word and all after it are the guest's own.
void refuse(const CLI::App& verb, const char* wanted) {
  const std::vector<std::string> rest = verb.remaining();
  const std::string& name = verb.get_name();
  std::string line = "jailrun " + name + ": ";
  if (rest.empty()) {
    line += "no " + std::string(wanted) + " given; see `jailrun " + name + " --help`";
  } else if (rest.front().size() > 1 && rest.front().front() == '-' && rest.front() != "--") {
    std::vector<std::string> known;
    for (const OptionInfo& option : kOptions) known.push_back(std::string("--") + option.name);
    line += "unknown option '" + rest.front() + "'; " +
            did_you_mean(rest.front(), known, "see `jailrun " + name + " --help`");
  } else {
    line += "jailrun-full does not run anything; call jailrun, which lies beside it";
  }
  std::fprintf(stderr, "%s\n", line.c_str());
}

CLI::App* add_verb(CLI::App& app, int& status, unsigned verb, const char* name, const char* text,
                   const char* wanted) {
  CLI::App* command = app.add_subcommand(name, text);
  for (const OptionInfo& option : kOptions) {
    if ((option.verbs & verb) == 0 || option.id == Option::Help)
      continue;  // CLI11 has its own --help
    std::string names = std::string("--") + option.name;
    if (option.letter() != '\0') names = std::string("-") + option.letter() + "," + names;
    if (option.argument == nullptr) {
      command->add_flag(names, option.help);
      continue;
    }
    CLI::Option* added = command->add_option_function<std::vector<std::string>>(
        names, [](const std::vector<std::string>&) {}, option.help);
    added->type_name(option.argument)->type_size(1)->expected(1);
    if (option.repeatable) added->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    if (!option.repeatable) added->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  command->prefix_command();
  command->callback([command, wanted, &status] {
    refuse(*command, wanted);
    status = kStatusOurs;
  });
  return command;
}

}  // namespace

void add_run(CLI::App& app, int& status) {
  CLI::App* run = add_verb(app, status, kRunVerb, "run", kRunText, "script");
  run->footer(std::string(kRunExamples) + "\n" + exit_statuses() + kPlaces);
}

void add_exec(CLI::App& app, int& status) {
  CLI::App* exec = add_verb(app, status, kExecVerb, "exec", kExecText, "command");
  exec->footer(std::string(kExecExamples) + "\n" + exit_statuses() + kPlaces);
}

}  // namespace jailrun::full
