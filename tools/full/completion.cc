// `jailrun completion bash|zsh|fish`: a script made from the verbs and options as they are parsed,
// so that it cannot fall behind them.
#include <cstdio>
#include <string>
#include <vector>

#include "jail/plan/find_policy.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

// What may stand as an option's argument or as a verb's own.
enum class Kind { Nothing, Word, File, Directory, Policy, Dataset, Shell, Script };

struct OptionWords {
  std::vector<std::string> names;  // with dashes
  std::string help;                // one line
  Kind argument;
};

struct VerbWords {
  std::string name, help;
  std::vector<OptionWords> options;
  std::vector<VerbWords> verbs;
  Kind operand;
};

// The names that arguments have in help say what they are.
Kind kind_of(const std::string& type) {
  if (type == "POLICY") return Kind::Policy;
  if (type == "DATASET") return Kind::Dataset;
  if (type == "DIR") return Kind::Directory;
  if (type == "SHELL") return Kind::Shell;
  if (type.starts_with("SRC") || type == "FILE" || type == "PATH") return Kind::File;
  return Kind::Word;
}

std::string one_line(const std::string& text) {
  std::string line;
  for (const char letter : text.substr(0, text.find(". ")))
    if (letter != '\'' && letter != '`' && letter != '"' && letter != '[' && letter != ']')
      line += letter == '\n' || letter == ':' ? ' ' : letter;
  return line;
}

VerbWords words_of(const CLI::App& app) {
  VerbWords words{app.get_name(), one_line(app.get_description()), {}, {}, Kind::Word};
  if (words.name == "run") words.operand = Kind::Script;
  for (const CLI::Option* option : app.get_options()) {
    const bool takes = option->get_type_size() != 0;
    if (option->get_positional()) {
      words.operand = kind_of(option->get_type_name());
      if (words.operand == Kind::Word) words.operand = kind_of(option->get_name(true, false));
    }
    OptionWords entry{{},
                      one_line(option->get_description()),
                      takes ? kind_of(option->get_type_name()) : Kind::Nothing};
    for (const std::string& name : option->get_snames()) entry.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) entry.names.push_back("--" + name);
    if (!entry.names.empty() && !option->get_group().empty()) words.options.push_back(entry);
  }
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!verb->get_group().empty()) words.verbs.push_back(words_of(*verb));
  return words;
}

std::string join(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

std::vector<std::string> names_of(const std::vector<VerbWords>& verbs) {
  std::vector<std::string> names;
  for (const VerbWords& verb : verbs) names.push_back(verb.name);
  return names;
}

// --- bash ---

std::string bash_reply(Kind kind) {
  switch (kind) {
    case Kind::Policy:
      return "COMPREPLY=($(compgen -W \"$(jailrun completion policies 2>/dev/null)\" -- \"$cur\"))";
    case Kind::Dataset:
      return "COMPREPLY=($(compgen -W \"$(jailrun datasets ids 2>/dev/null)\" -- \"$cur\"))";
    case Kind::Directory:
      return "COMPREPLY=($(compgen -d -- \"$cur\"))";
    case Kind::Shell:
      return "COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$cur\"))";
    case Kind::File:
    case Kind::Script:
      return "COMPREPLY=($(compgen -f -- \"$cur\"))";
    case Kind::Word:
      return "COMPREPLY=()";
    case Kind::Nothing:
      break;
  }
  return "";
}

std::string bash_verb(const VerbWords& verb) {
  std::string arguments, options;
  for (const OptionWords& option : verb.options) {
    options += (options.empty() ? "" : " ") + join(option.names, " ");
    if (option.argument != Kind::Nothing)
      arguments += "        " + join(option.names, "|") + ") " + bash_reply(option.argument) +
                   "; return ;;\n";
  }
  std::string text = "    " + verb.name + ")\n";
  if (!arguments.empty()) text += "      case $prev in\n" + arguments + "      esac\n";
  text +=
      "      if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W '" + options + "' -- \"$cur\"))\n";
  text += "      else ";
  text += verb.verbs.empty()
              ? bash_reply(verb.operand)
              : "COMPREPLY=($(compgen -W '" + join(names_of(verb.verbs), " ") + "' -- \"$cur\"))";
  return text + "; fi ;;\n";
}

std::string bash(const VerbWords& top) {
  std::string text =
      "# bash completion of jailrun; load with: source <(jailrun completion bash)\n"
      "_jailrun() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W '" +
      join(names_of(top.verbs), " ") +
      " --help --version' -- \"$cur\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n";
  for (const VerbWords& verb : top.verbs) text += bash_verb(verb);
  return text + "  esac\n}\ncomplete -o filenames -F _jailrun jailrun\n";
}

// --- zsh ---

std::string zsh_action(Kind kind) {
  switch (kind) {
    case Kind::Policy:
      return ":policy:{compadd -- ${(f)\"$(jailrun completion policies 2>/dev/null)\"}}";
    case Kind::Dataset:
      return ":data set:{compadd -- ${(f)\"$(jailrun datasets ids 2>/dev/null)\"}}";
    case Kind::Directory:
      return ":directory:_directories";
    case Kind::Shell:
      return ":shell:(bash zsh fish)";
    case Kind::File:
    case Kind::Script:
      return ":file:_files";
    case Kind::Word:
      return ":value: ";
    case Kind::Nothing:
      break;
  }
  return "";
}

std::string zsh_verb(const VerbWords& verb) {
  std::string text = "    " + verb.name + ")\n      _arguments -S";
  for (const OptionWords& option : verb.options)
    for (const std::string& name : option.names)
      text +=
          " \\\n        '*" + name + "[" + option.help + "]" + zsh_action(option.argument) + "'";
  text += verb.verbs.empty() ? " \\\n        '*:" + zsh_action(verb.operand) + "'"
                             : " \\\n        '1:verb:(" + join(names_of(verb.verbs), " ") + ")'";
  return text + " ;;\n";
}

std::string zsh(const VerbWords& top) {
  std::string text =
      "#compdef jailrun\n"
      "# zsh completion of jailrun; load with: source <(jailrun completion zsh)\n"
      "_jailrun() {\n"
      "  if ((CURRENT == 2)); then\n"
      "    local -a verbs=(\n";
  for (const VerbWords& verb : top.verbs) text += "      '" + verb.name + ":" + verb.help + "'\n";
  text +=
      "    )\n"
      "    _describe verb verbs\n"
      "    return\n"
      "  fi\n"
      "  local verb=$words[2]\n"
      "  shift words; ((CURRENT--))\n"
      "  case $verb in\n";
  for (const VerbWords& verb : top.verbs) text += zsh_verb(verb);
  return text + "  esac\n}\ncompdef _jailrun jailrun\n";
}

// --- fish ---

std::string fish_arguments(Kind kind) {
  switch (kind) {
    case Kind::Policy:
      return " -x -a '(jailrun completion policies 2>/dev/null)'";
    case Kind::Dataset:
      return " -x -a '(jailrun datasets ids 2>/dev/null)'";
    case Kind::Directory:
      return " -x -a '(__fish_complete_directories)'";
    case Kind::Shell:
      return " -x -a 'bash zsh fish'";
    case Kind::File:
    case Kind::Script:
      return " -r -F";
    case Kind::Word:
      return " -x";
    case Kind::Nothing:
      break;
  }
  return "";
}

std::string fish_verb(const VerbWords& verb) {
  const std::string begin =
      "complete -c jailrun -n '__fish_seen_subcommand_from " + verb.name + "'";
  std::string text;
  for (const OptionWords& option : verb.options) {
    text += begin;
    for (const std::string& name : option.names)
      text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    text += fish_arguments(option.argument) + " -d '" + option.help + "'\n";
  }
  for (const VerbWords& nested : verb.verbs)
    text += begin + " -f -a " + nested.name + " -d '" + nested.help + "'\n";
  if (verb.verbs.empty() && verb.operand != Kind::Word)
    text += begin + fish_arguments(verb.operand) + "\n";
  return text;
}

std::string fish(const VerbWords& top) {
  std::string text = "# fish completion of jailrun; load with: jailrun completion fish | source\n";
  for (const VerbWords& verb : top.verbs)
    text += "complete -c jailrun -n __fish_use_subcommand -f -a " + verb.name + " -d '" +
            verb.help + "'\n";
  for (const VerbWords& verb : top.verbs) text += fish_verb(verb);
  return text;
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace

void add_completion(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand(
      "completion",
      "Print a completion script for a shell. Bash: source <(jailrun completion bash)");
  command->require_subcommand(1);
  const auto shell = [&](const char* name, const char* text,
                         std::string (*make)(const VerbWords&)) {
    command->add_subcommand(name, text)->callback([&app, &status, make] {
      print(make(words_of(app)));
      status = 0;
    });
  };
  shell("bash", "source <(jailrun completion bash)", bash);
  shell("zsh", "source <(jailrun completion zsh)", zsh);
  shell("fish", "jailrun completion fish | source", fish);
  // For the scripts themselves.
  command->add_subcommand("policies", "")->group("")->callback([&status] {
    for (const std::string& name : policy_names()) print(name + "\n");
    status = 0;
  });
}

}  // namespace jailrun::full
