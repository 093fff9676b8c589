#include "jail/spec/explain.h"

#include <cmath>
#include <cstdio>
#include <set>

#include "jail/spec/environment.h"
#include "jail/spec/rules.h"
#include "jail/sys/error.h"
#include "jail/sys/units.h"

namespace jailrun {
namespace {

constexpr std::size_t kColumns = 100;

// Words wrapped at kColumns; lines after the first begin with `indent` blanks.
std::string wrapped(const std::string& text, std::size_t at, std::size_t indent) {
  std::string out;
  std::size_t from = 0;
  while (from < text.size()) {
    const std::size_t end = std::min(text.find(' ', from), text.size());
    const std::string word = text.substr(from, end - from);
    if (from > 0) {
      if (at + 1 + word.size() > kColumns) {
        out.append("\n").append(indent, ' ');
        at = indent;
      } else {
        out += ' ';
        ++at;
      }
    }
    out += word;
    at += word.size();
    from = end + 1;
  }
  return out;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string hex(std::uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%llu" : "0x%llx",
                static_cast<unsigned long long>(value));
  return text;
}

class Page {
 public:
  void line(const std::string& text) { text_ += wrapped(text, 0, 0) + "\n"; }
  void head(const std::string& text) { text_ += "\n" + wrapped(text, 0, 2) + "\n"; }
  // "  NAME        VALUE     MEANING"
  void row(const std::string& name, const std::string& value, const std::string& meaning) {
    std::string line = "  " + padded(name, 15) + padded(value, 10);
    line += wrapped(meaning, line.size(), 27);
    text_ += line + "\n";
  }
  void indented(std::size_t indent, const std::string& text) {
    text_.append(indent, ' ');
    text_ += wrapped(text, indent, indent + 2) + "\n";
  }
  void raw(const std::string& text) { text_ += text + "\n"; }
  std::string take() { return std::move(text_); }

 private:
  static std::string padded(std::string text, std::size_t width) {
    text.resize(std::max(width, text.size() + 1), ' ');
    return text;
  }
  std::string text_;
};

void dangers(Page& page, const Spec& spec) {
  if (spec.dangers.empty()) {
    page.line(
        "danger: none; a limit that the host cannot enforce is an error, the red list stands");
    return;
  }
  page.line("DANGER: this policy is weaker than it could be");
  for (const SpecDanger& danger : spec.dangers) {
    page.indented(2, "- " + danger_in_words(danger) + "; why: " + danger.why);
  }
}

void limits(Page& page, const SpecLimits& limits) {
  page.head("limits, each enforced by the kernel or the run is refused");
  page.row("memory", format_bytes(limits.memory_bytes.get()),
           "all processes, files in /tmp, /work and /dev/shm included; beyond it the jail dies "
           "(out_of_memory)");
  page.row("pids", std::to_string(limits.pids.get()),
           "processes and threads at one time; beyond it fork fails");
  page.row("cpus", number(limits.cpus.get()),
           "CPU time per wall time; visible CPUs: " +
               std::to_string(static_cast<int>(std::ceil(limits.cpus.get()))));
  std::string wall = "from the first instruction to the end (wall_timeout)";
  if (limits.wall_most_ns > limits.wall_ns)
    wall += "; a client may ask for up to " + format_duration(limits.wall_most_ns.get());
  page.row("wall", format_duration(limits.wall_ns.get()), wall);
  page.row("cpu_time", format_duration(limits.cpu_ns.get()),
           "of all processes together (cpu_timeout)");
  page.row("output", format_bytes(limits.output_bytes.get()),
           "each of stdout and stderr; beyond it the jail is killed (output_limit)");
  page.row("open_files", std::to_string(limits.open_files.get()), "descriptors of one process");
  page.row("file_size", format_bytes(limits.file_size_bytes.get()), "one file");
  page.row("collect_files", std::to_string(limits.collect_files.get()),
           "files taken out of /work after a run");
  page.row("collect_bytes", format_bytes(limits.collect_bytes.get()),
           "of all those files together");
}

void files(Page& page, const Spec& spec) {
  const std::string rest = std::to_string(spec.files.inodes.get()) + " files and directories, " +
                           (spec.files.exec ? "programs may be run from it" : "not executable");
  page.head("files: the image " + spec.image +
            " read-only, inputs read-only in /data, and to write to, in memory:");
  page.row("/work", format_bytes(spec.files.work_bytes.get()),
           rest + "; what is left there is handed out");
  page.row("/tmp", format_bytes(spec.files.tmp_bytes.get()), rest);
  page.row("/dev/shm", format_bytes(spec.files.shm_bytes.get()), rest);
}

std::string in_a_row(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

void python(Page& page, const SpecPython& python) {
  if (python == SpecPython{}) return;
  page.head(python.language == CodeLanguage::Sql
                ? "python: code is one SQL query over the CSV files in /data"
                : "python, beside what the image has");
  if (!python.imports.empty()) page.indented(2, "names: " + in_a_row(python.imports));
  if (!python.preload.empty()) page.indented(2, "imported early: " + in_a_row(python.preload));
  const SpecCode& code = python.code;
  if (code == SpecCode{}) return;
  page.head("rules for code, before it runs: advice to its author, not what confines it");
  const std::pair<const char*, const std::vector<std::string>*> lists[] = {
      {"only these imports: ", &code.only_imports},
      {"refused imports: ", &code.refused_imports},
      {"refused calls: ", &code.refused_calls},
      {"refused attributes: ", &code.refused_attributes}};
  for (const auto& [what, words] : lists)
    if (!words->empty()) page.indented(2, what + in_a_row(*words));
  if (code.bytes.get() > 0) page.indented(2, "at most " + format_bytes(code.bytes.get()));
  if (code.warn) page.indented(2, "warns of endless loops and huge ranges");
}

void pool(Page& page, const SpecPool& pool) {
  if (pool.max.get() == 0) {
    page.head("pool: none; each jail is built when it is asked for");
    return;
  }
  page.head("pool: jails that the daemon makes ahead, each for one lease");
  page.row("min", std::to_string(pool.min.get()), "wait at any time");
  page.row("max", std::to_string(pool.max.get()), "wait when many are asked for");
  page.row("share", pool.share == PoolShare::Owner ? "owner" : "policy",
           pool.share == PoolShare::Owner
               ? "each owner has an interpreter of its own"
               : "owners share an interpreter: its address layout and hash secret");
  page.row("children", std::to_string(pool.children.get()), "then the interpreter is started anew");
  page.row("age", format_duration(pool.age_ns.get()), "likewise");
}

void rules(Page& page, const std::vector<Rule>& rules, ExplainOptions options) {
  for (const Rule& rule : rules) {
    std::string line = action_in_words(rule.action, rule.errno_value);
    line.resize(std::max<std::size_t>(line.size() + 1, 14), ' ');
    std::string text = "    " + line;
    text += wrapped(rule.why, text.size(), 18);
    if (options.calls) {
      std::string calls;
      for (const Syscall& call : rule.calls) {
        calls += (calls.empty() ? "" : ", ") + call_in_words(call.name, rule.conditions);
      }
      text.append("\n").append(18, ' ') += wrapped(calls, 18, 18);
    }
    page.raw(text);
  }
}

}  // namespace

std::string danger_in_words(const SpecDanger& danger) {
  if (const Syscall* call = std::get_if<Syscall>(&danger.weakened)) {
    return call->name + " is taken off the red list";
  }
  constexpr const char* kNames[] = {"memory", "pids", "cpus"};
  return std::string("runs even where the host cannot enforce the limit ") +
         kNames[static_cast<int>(std::get<LimitKind>(danger.weakened))];
}

std::string action_in_words(Action action, int errno_value) {
  if (action == Action::Allow) return "allow";
  return action == Action::Kill ? "kill" : errno_name(errno_value);
}

std::string call_in_words(const std::string& call, const std::vector<Condition>& conditions) {
  std::string text = call;
  for (const Condition& condition : conditions) {
    const std::string argument = std::string("args[") + std::to_string(condition.index.get()) + ']';
    text += &condition == &conditions.front() ? " where " : " and ";
    switch (condition.compare) {
      case Compare::Equal:
        text += argument + " == ";
        break;
      case Compare::NotEqual:
        text += argument + " != ";
        break;
      case Compare::Less:
        text += argument + " < ";
        break;
      case Compare::Greater:
        text += argument + " > ";
        break;
      case Compare::MaskedEqual:
        text += argument + " & " + hex(condition.mask) + " == ";
        break;
    }
    text += hex(condition.value);
  }
  return text;
}

CallCounts count_calls(const Spec& spec) {
  std::set<int> allowed, refused, killed;
  for (const FlatRule& rule : effective_rules(spec)) {
    (rule.action == Action::Allow  ? allowed
     : rule.action == Action::Kill ? killed
                                   : refused)
        .insert(rule.call.number);
  }
  std::erase_if(refused, [&](int call) { return allowed.contains(call) || killed.contains(call); });
  std::erase_if(allowed, [&](int call) { return killed.contains(call); });
  return {static_cast<int>(allowed.size()), static_cast<int>(refused.size()),
          static_cast<int>(killed.size())};
}

std::string explain(const Spec& spec, ExplainOptions options) {
  Page page;
  dangers(page, spec);
  page.head("policy " + spec.name + ": " + spec.description);
  limits(page, spec.limits);
  files(page, spec);
  page.head(spec.network == SpecNetwork::None
                ? "network: none; no interface is up, sockets other than AF_UNIX are refused"
                : "network: 127.0.0.1 and ::1 of its own, no way out");
  page.head("environment, nothing of the host's");
  for (const std::string& variable : expanded_environment(spec))
    if (!variable.starts_with("JAILRUN_PYTHON=")) page.indented(2, variable);
  python(page, spec.python);
  if (spec.packages) page.head("packages: approved ones, read-only, where they are asked for");
  pool(page, spec.pool);
  const CallCounts counts = count_calls(spec);
  page.head("system calls: " + std::to_string(counts.allowed) + " allowed, " +
            std::to_string(counts.refused) + " refused by name, " + std::to_string(counts.killed) +
            " kill (policy_violation); any other fails with ENOSYS; 32-bit and x32 calls kill");
  for (const RuleGroup& group : spec.groups) {
    page.indented(2, group.name + ": " + group.description);
    rules(page, group.rules, options);
  }
  if (!spec.rules.empty()) {
    page.indented(2, "of this policy alone:");
    rules(page, spec.rules, options);
  }
  if (!spec.overridable.empty()) {
    std::string all;
    for (const std::string& path : spec.overridable) all += (all.empty() ? "" : ", ") + path;
    page.head("a client of the daemon may narrow: " + all);
  }
  return page.take();
}

}  // namespace jailrun
