#include "tools/full/explain_trace.h"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>

#include "jail/netlink/loopback.h"
#include "jail/spec/explain.h"
#include "jail/spec/syscalls.h"
#include "jail/trace/proposal.h"
#include "jail/trace/tracer.h"
#include "tools/full/help.h"
#include "tools/full/policy_args.h"
#include "tools/options.h"
#include "tools/thin/run_verb.h"

namespace jailrun::full {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kColumns = 100, kColumn = 28;

constexpr const char* kExamples = R"(A trace:
  jailrun explain --trace plot.py                    what policy python refuses a script
  jailrun explain --trace -p ./mine.textproto -- sh -c 'date > today'
  jailrun explain --trace --json plot.py | jq .refused
The guest runs once, in a cold jail of just that policy, and is refused what it always is: the trace
looks on from outside (ptrace) and changes nothing. Its output goes to stderr, the table to stdout;
the exit status is that of `jailrun run`. Rules are proposed, never written: paste those that you
mean to have. For calls that are dangerous or refused on purpose the reason stands instead. A traced
guest is slower, which counts against limits.wall.
)";

std::string times(std::uint64_t count) {
  return std::to_string(count) + (count == 1 ? " time" : " times");
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size() + 1), ' ');
  return text;
}

// "  3 times   EPERM       TEXT", TEXT wrapped.
std::string row(std::uint64_t count, const std::string& answer, const std::string& text) {
  const std::string begin = padded("  " + padded(times(count), 12) + answer, kColumn);
  return begin + wrap(text, kColumns - kColumn, kColumn) + "\n";
}

std::string indented(const std::string& text, std::size_t indent) {
  return std::string(indent, ' ') + wrap(text, kColumns - indent, indent) + "\n";
}

class TraceReport : public Onlooker {
 public:
  TraceReport(ReadPolicy policy, const CommandLine& line)
      : name_(policy.spec.name),
        json_(line.json),
        adviser_(std::move(policy.source), std::move(policy.groups), line.sets, policy.spec),
        tracer_(adviser_.policy(), adviser_.groups()) {}

  Expected<void> at_gate(pid_t guest) override { return tracer_.follow(guest); }
  std::string report(const Result& result) override {
    const Trace trace = tracer_.finish();
    return json_ ? as_json(trace, result) : as_text(trace, result);
  }

 private:
  std::string as_text(const Trace& trace, const Result& result) const;
  std::string as_json(const Trace& trace, const Result& result) const;
  std::string in_words(const Call& call) const {
    return refused_in_words(call, *adviser_.policy(), *adviser_.groups());
  }

  const std::string name_;
  const bool json_;
  const Adviser adviser_;
  Tracer tracer_;
};

std::string answer_of(const RefusedCall& refused) {
  return action_in_words(refused.answer.action, refused.answer.errno_value);
}

std::string elsewhere_text(const Trace& trace) {
  if (trace.elsewhere.empty()) return "";
  std::string text =
      "\n" + indented(
                 "Allowed by the filter and refused by something else: file modes, the "
                 "read-only image, Landlock, capabilities. No rule changes that.",
                 0);
  for (const RefusedElsewhere& one : trace.elsewhere)
    text += row(one.times, errno_name(one.errno_value), syscall_name(one.number));
  return text;
}

// What of the trace itself has to be known.
std::string gaps_text(const Trace& trace) {
  std::string text;
  if (trace.not_kept > 0)
    text += indented("And " + times(trace.not_kept) + " with yet other arguments, not listed.", 0);
  if (trace.answered_otherwise > 0)
    text += indented("The kernel answered " + times(trace.answered_otherwise) +
                         " otherwise than the policy says; please report it with the policy.",
                     0);
  return text;
}

std::string TraceReport::as_text(const Trace& trace, const Result& result) const {
  std::string text, rules;
  std::uint64_t all = trace.not_kept;
  int number = 0;
  for (const RefusedCall& refused : trace.refused) {
    all += refused.times;
    text += row(refused.times, answer_of(refused), in_words(refused.call));
    const Proposal proposal = adviser_.propose(refused.call, refused.times);
    if (proposal.rule.empty()) {
      text += indented("no rule is proposed: " + proposal.why_none, kColumn + 2);
      continue;
    }
    const FlatRule* rule = refused.answer.rule;
    text += indented("rule " + std::to_string(++number) + " below would allow it" +
                         (rule == nullptr ? "" : "; why the policy does not: " + rule->why),
                     kColumn + 2);
    rules += "# " + std::to_string(number) + "\n" + proposal.rule;
  }
  const std::string verdict(name(result.verdict));
  std::string page = "Under policy " + name_ + " the filter refused ";
  page += all == 0 ? "nothing" : times(all);
  page = indented(page + "; the run ended as " + verdict + ".", 0) + text + gaps_text(trace);
  page += elsewhere_text(trace);
  if (rules.empty()) return page;
  return page + "\n" +
         indented(
             "Nothing has been changed. Paste those rules that you mean to have into the "
             "policy, inside of syscalls { … }, with the reason:",
             0) +
         "\n" + rules;
}

Json arguments_json(const Call& call, const Adviser& adviser) {
  Json arguments = Json::object();
  for (const Judge* judge : {adviser.policy().get(), adviser.groups().get()}) {
    for (const FlatRule* rule : judge->rules_of(call.number)) {
      for (const Condition& seen : decisive(rule->conditions, call))
        arguments[std::to_string(seen.index.get())] = call.args[seen.index.get()];
    }
  }
  return arguments;
}

std::string TraceReport::as_json(const Trace& trace, const Result& result) const {
  Json all = Json::array(), allowed = Json::array(), elsewhere = Json::array();
  for (const RefusedCall& refused : trace.refused) {
    const Proposal proposal = adviser_.propose(refused.call, refused.times);
    const bool foreign = is_foreign(refused.call);
    const FlatRule* rule = refused.answer.rule;
    Json entry = {{"call", foreign ? in_words(refused.call) : syscall_name(refused.call.number)},
                  {"arguments", foreign ? Json::object() : arguments_json(refused.call, adviser_)},
                  {"times", refused.times},
                  {"answer", answer_of(refused)},
                  {"why", rule == nullptr ? Json() : Json(rule->why)},
                  {"rule", proposal.rule.empty() ? Json() : Json(proposal.rule)},
                  {"set", proposal.rule.empty() ? Json() : Json(proposal.set)},
                  {"no_rule", proposal.rule.empty() ? Json(proposal.why_none) : Json()}};
    all.push_back(std::move(entry));
  }
  for (const AllowedCalls& one : trace.allowed) {
    allowed.push_back(
        {{"call", call_in_words(one.rule->call.name, one.rule->conditions)}, {"times", one.times}});
  }
  for (const RefusedElsewhere& one : trace.elsewhere) {
    elsewhere.push_back({{"call", syscall_name(one.number)},
                         {"answer", errno_name(one.errno_value)},
                         {"times", one.times}});
  }
  const Json page = {{"policy", name_},
                     {"refused", all},
                     {"allowed", allowed},
                     {"refused_elsewhere", elsewhere},
                     {"not_listed", trace.not_kept},
                     {"answered_otherwise", trace.answered_otherwise},
                     {"result", Json::parse(to_json(result))}};
  return page.dump(2) + "\n";
}

bool is_trace(int argc, char** argv) {
  if (argc < 3 || std::string_view(argv[1]) != "explain") return false;
  bool trace = false;
  for (int i = 2; i < argc && std::string_view(argv[i]) != "--"; ++i)
    trace = trace || std::string_view(argv[i]) == "--trace";
  return trace;
}

// The words of the verb that it is like, without --trace.
std::vector<char*> words_of(int argc, char** argv, const char* verb) {
  std::vector<char*> words = {argv[0], const_cast<char*>(verb)};
  bool found = false;
  for (int i = 2; i < argc; ++i) {
    const bool is_it = !found && std::string_view(argv[i]) == "--trace";
    found = found || is_it;
    if (!is_it) words.push_back(argv[i]);
  }
  words.push_back(nullptr);
  return words;
}

// A script as `run` takes it, or, after "--", a command as `exec` does.
Expected<CommandLine> read_line(int argc, char** argv) {
  const int count = argc - 1;
  std::vector<char*> words = words_of(argc, argv, "run");
  Expected<CommandLine> line = parse_command_line(count, words.data());
  // getopt counts from the verb, and leaves optind behind the "--" that it stopped at.
  if (line && !line->rest.empty() &&
      std::string_view(words[static_cast<std::size_t>(optind)]) == "--") {
    words = words_of(argc, argv, "exec");
    optind = 0;  // anew
    line = parse_command_line(count, words.data());
  }
  if (!line) {
    Error error = line.error();
    if (error.remedy.starts_with("see ")) error.remedy = "see `jailrun explain --help`";
    return std::unexpected(std::move(error));
  }
  if (line->start == Start::Warm || line->stored)
    return std::unexpected(Error{
        Stage::None, line->stored ? "--file" : "--warm", 0,
        line->stored ? "a trace takes no stored file" : "a trace needs a jail that is made for it",
        line->stored ? "take it out first: `jailrun files get`" : "leave out --warm"});
  line->start = Start::Cold;
  return line;
}

}  // namespace

void add_trace_options(CLI::App& explain) {
  const std::string text =
      "run a script (or, after --, a command) once and tell which calls the policy refuses it, "
      "with "
      "the rules that would allow them";
  CLI::Option* trace = explain.add_flag("--trace", text);
  for (const OptionInfo& option : kOptions) {
    const bool has_it = explain.get_option_no_throw(std::string("--") + option.name) != nullptr;
    if (has_it || option.id == Option::Cold || option.id == Option::Warm) continue;
    std::string names = std::string("--") + option.name;
    if (option.letter() != '\0') names = std::string("-") + option.letter() + "," + names;
    CLI::Option* added = nullptr;
    if (option.argument == nullptr) {
      added = explain.add_flag(names, option.help);
    } else {
      added =
          explain.add_option_function<std::string>(names, [](const std::string&) {}, option.help);
      added->type_name(option.argument);
      if (option.repeatable) added->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    }
    added->needs(trace)->group("With --trace, as in `jailrun run`");
  }
  explain.footer(kExamples);
}

std::optional<int> explain_trace(int argc, char** argv) {
  if (!is_trace(argc, argv)) return std::nullopt;
  occupy_standard_descriptors();
  const Expected<CommandLine> line = read_line(argc, argv);
  if (!line) return report(line.error(), false);
  if (line->help) return std::nullopt;
  auto policy = read_policy({.policy = line->policy, .sets = line->sets});
  if (!policy) return kStatusOurs;
  TraceReport onlooker(std::move(*policy), *line);
  return run_watched(*line, argc, argv, &bring_up_loopback, onlooker);
}

}  // namespace jailrun::full
