#include "jail/spec/reader.h"

#include <cstdio>
#include <cstring>

#include "jail/plan/nearest.h"
#include "jail/spec/syscalls.h"

namespace jailrun {

namespace pb = google::protobuf;

Scope Scope::inside(const std::string& field, int index) const {
  const pb::FieldDescriptor* descriptor = type->FindFieldByName(field);
  const Document::Tree* nested =
      tree == nullptr ? nullptr : tree->GetTreeForNested(descriptor, index);
  const std::string number = index < 0 ? "" : subscript(index);
  return {document, nested, descriptor->message_type(), prefix + field + number + ".",
          document.offset(tree, type, field, index, place)};
}

void Reader::fault(const Scope& scope, const std::string& field, const std::string& message,
                   std::string remedy, int index) {
  const std::string number = index < 0 ? "" : subscript(index);
  fault_of_entry(scope, field, index, scope.prefix + field + number, message, std::move(remedy));
}

void Reader::fault_of_entry(const Scope& scope, const std::string& field, int index,
                            const std::string& path, const std::string& message,
                            std::string remedy) {
  for (const auto& [set, option] : options_) {
    if (path == set || path.starts_with(set + ".")) {
      faults_.push_back({option, 0, 0, path, path + ": " + message, std::move(remedy)});
      return;
    }
  }
  scope.document.fault_at(scope.document.offset(scope.tree, scope.type, field, index, scope.place),
                          path, path + ": " + message, std::move(remedy));
}

void Reader::require(const Scope& scope, const std::string& field, const std::string& value,
                     const std::string& remedy) {
  if (value.find_first_not_of(" \t\n") == std::string::npos && !scope.document.taken_out(field)) {
    fault(scope, field, "is missing", remedy);
  }
}

std::string Reader::plain(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

std::vector<Rule> Reader::rules(const Scope& scope,
                                const pb::RepeatedPtrField<policy::SyscallRule>& written) {
  std::vector<Rule> all;
  for (int i = 0; i < written.size(); ++i)
    all.push_back(rule(scope.inside("rules", i), written[i]));
  return all;
}

Rule Reader::rule(const Scope& scope, const policy::SyscallRule& written) {
  Rule rule;
  rule.action = written.action() == policy::SyscallRule::KILL    ? Action::Kill
                : written.action() == policy::SyscallRule::ERRNO ? Action::Errno
                                                                 : Action::Allow;
  rule.why = written.why();
  require(scope, "why", written.why(), "say who needs it, or which attack it answers");
  if (written.calls().empty() && !scope.document.taken_out("calls")) {
    fault(scope, "calls", "is missing", "name the system calls that the rule is about");
  }
  for (int i = 0; i < written.calls_size(); ++i) {
    const std::string& name = written.calls(i);
    if (const auto number = syscall_number(name)) {
      rule.calls.push_back({*number, name});
    } else {
      fault(scope, "calls", "no system call " + in_quotes(name) + " on x86-64",
            did_you_mean(name, syscall_names(), "man 2 syscalls lists them"), i);
    }
  }
  rule.errno_value = errno_number(written.error());
  if (rule.action == Action::Errno && rule.errno_value == 0 && !scope.document.taken_out("error")) {
    fault(scope, "error",
          written.error().empty() ? "is missing" : "no errno " + in_quotes(written.error()),
          "name one, such as \"EPERM\" or \"ENOSYS\"");
  } else if (rule.action != Action::Errno && !written.error().empty() &&
             !scope.document.taken_out("action")) {
    fault(scope, "error", "goes with action: ERRNO only", "drop it, or write action: ERRNO");
  }
  conditions(scope, written, rule);
  return rule;
}

void Reader::conditions(const Scope& scope, const policy::SyscallRule& written, Rule& rule) {
  unsigned seen = 0;
  for (int i = 0; i < written.args_size(); ++i) {
    const policy::Argument& argument = written.args(i);
    const Scope inside = scope.inside("args", i);
    Condition condition;
    number(inside, "index", argument.index(), condition.index);
    condition.compare = static_cast<Compare>(argument.compare());
    condition.value = argument.value();
    condition.mask = argument.mask();
    const bool masked = condition.compare == Compare::MaskedEqual;
    if (masked && (argument.value() & ~argument.mask()) != 0) {
      fault(inside, "value", "has bits outside of mask, so it never holds",
            "widen mask, or clear those bits of value");
    } else if (!masked && argument.mask() != 0) {
      fault(inside, "mask", "goes with compare: MASKED_EQUAL only",
            "drop it, or write MASKED_EQUAL");
    }
    // libseccomp takes one comparison for each argument of a rule.
    const unsigned bit = 1u << condition.index.get();
    if ((seen & bit) != 0) {
      fault(inside, "index", "this rule has a condition on that argument already",
            "write a second rule: either of two rules may hold");
    }
    seen |= bit;
    rule.conditions.push_back(condition);
  }
  std::sort(rule.conditions.begin(), rule.conditions.end());
}

RuleGroup Reader::group(const Scope& scope, const policy::SyscallGroup& written,
                        const std::string& name) {
  if (written.name() != name) {
    fault(scope, "name", in_quotes(written.name()) + " is not the name of the file",
          "write name: \"" + name + "\"");
  }
  require(scope, "description", written.description(), "say what a program needs the group for");
  return {name, written.description(), rules(scope, written.rules())};
}

bool is_name(std::string_view text, bool loose) {
  if (text.empty() || text.size() > 63) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    const bool inner = c == '-' || (loose && (c == '.' || c == '_'));
    if (!plain && !(inner && i > 0)) return false;
  }
  return true;
}

int errno_number(std::string_view name) {
  constexpr int kMost = 133;  // EHWPOISON, the last one
  for (int value = 1; value <= kMost; ++value) {
    const char* known = strerrorname_np(value);
    if (known != nullptr && name == known) return value;
  }
  return 0;
}

}  // namespace jailrun
