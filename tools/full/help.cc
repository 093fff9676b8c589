#include "tools/full/help.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace jailrun::full {
namespace {

constexpr std::size_t kWidth = 88;

struct VerbGroup {
  const char* heading;
  std::vector<const char*> verbs;
};

const std::vector<VerbGroup>& groups() {
  static const std::vector<VerbGroup> all = {
      {"run code in a fresh jail", {"run", "exec"}},
      {"let a model (or no model) write the code", {"ask"}},
      {"data by name, and queries as data", {"datasets", "plan"}},
      {"look before and after", {"explain", "doctor"}},
      {"an interpreter that stays, in a jail of jaild", {"session", "repl"}},
      {"files that stay between executions", {"files"}},
      {"jails that jaild has ready", {"ps", "top", "stats", "kill"}},
      {"set up", {"rootfs", "config", "completion"}},
  };
  return all;
}

std::string first_sentence(const std::string& text) {
  const std::size_t end = text.find(". ");
  std::string sentence = text.substr(0, end);
  if (!sentence.empty() && sentence.back() == '.') sentence.pop_back();
  if (!sentence.empty()) sentence[0] = static_cast<char>(std::toupper(sentence[0]));
  return sentence;
}

std::string verb_line(const CLI::App& app, const std::string& verb) {
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() != verb) continue;
    std::string line = "  " + verb;
    line.resize(std::max<std::size_t>(line.size() + 1, 15), ' ');
    return line + wrap(first_sentence(command->get_description()), kWidth - 15, 15) + "\n";
  }
  return "";
}

}  // namespace

std::string wrap(const std::string& text, std::size_t width, std::size_t indent) {
  std::string out, line;
  std::size_t at = 0;
  const auto flush = [&] {
    if (!out.empty()) out += "\n" + std::string(indent, ' ');
    out += line;
    line.clear();
  };
  while (at < text.size()) {
    const std::size_t end = std::min(text.find_first_of(" \n", at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!line.empty() && line.size() + 1 + word.size() > width) flush();
    line += (line.empty() ? "" : " ") + word;
    if (end < text.size() && text[end] == '\n') flush();
    at = end + 1;
  }
  if (!line.empty()) flush();
  return out;
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string,
                                     CLI::AppFormatMode mode) const {
  if (app->get_parent() != nullptr) {
    // CLI11 hands over the verb and its parents' names, or nothing; people type `jailrun VERB`.
    std::string full = app->get_name();
    for (const CLI::App* up = app->get_parent(); up != nullptr; up = up->get_parent())
      full = up->get_name() + " " + full;
    return Formatter::make_help(app, full, mode);
  }
  std::string text =
      "Usage: jailrun VERB [OPTION]... [ARGUMENT]...\n"
      "       jailrun --help | --version\n\n" +
      make_description(app);
  for (const VerbGroup& group : groups()) {
    text += std::string(group.heading) + "\n";
    for (const char* verb : group.verbs) text += verb_line(*app, verb);
    text += "\n";
  }
  return text + make_footer(app);
}

std::string HelpFormatter::make_usage(const CLI::App* app, std::string name) const {
  // Not seen by CLI11: they stop reading options at the first word that belongs to the guest.
  if (app->get_name() == "run") name += " [OPTION]... SCRIPT.py|- [ARGUMENT]...";
  if (app->get_name() == "exec") name += " [OPTION]... -- COMMAND [ARGUMENT]...";
  if (app->get_prefix_command()) return "Usage: " + name + "\n";
  return Formatter::make_usage(app, name);
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  return wrap(app->get_description(), kWidth, 0) + "\n\n";
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  std::string line = "  " + make_option_name(option, is_positional) + make_option_opts(option);
  const std::size_t column = get_column_width();
  if (line.size() + 1 > column) line += "\n" + std::string(column, ' ');
  line.resize(std::max(line.size(), column), ' ');
  return line + wrap(make_option_desc(option), kWidth - column, column) + "\n";
}

}  // namespace jailrun::full
