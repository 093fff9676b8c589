// Reader: from a parsed message to checked values. What is unsound becomes a fault with its place.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "jail/plan/nearest.h"
#include "jail/spec/document.h"
#include "jail/spec/parse.h"
#include "jail/spec/policy.pb.h"
#include "jail/sys/units.h"

namespace jailrun {

// One message of a document: where its fields lie and what they are called.
struct Scope {
  const Document& document;
  const Document::Tree* tree;  // null: written by an override, or not at all
  const google::protobuf::Descriptor* type;
  std::string prefix;     // "limits."
  std::size_t place = 0;  // where the message itself is written

  Scope inside(const std::string& field, int index = -1) const;
};

class Reader {
 public:
  using Options = std::map<std::string, std::string>;  // path of a field: the --set that wrote it

  Reader(std::vector<Fault>& faults, const Options& options) : faults_(faults), options_(options) {}

  // A fault about one field; names its path, or the option that set it.
  void fault(const Scope& scope, const std::string& field, const std::string& message,
             std::string remedy, int index = -1);

  // The same about an entry of a map, whose path is its key's.
  void fault_of_entry(const Scope& scope, const std::string& field, int index,
                      const std::string& path, const std::string& message, std::string remedy);

  // Whether --set has written this field.
  bool is_set(const std::string& path) const { return options_.contains(path); }

  // A required text that must not be empty.
  void require(const Scope& scope, const std::string& field, const std::string& value,
               const std::string& remedy);

  template <typename W>
  void bytes(const Scope& scope, const std::string& field, const std::string& text, W& into) {
    const auto value = parse_bytes(text);
    if (!value) {
      return fault(scope, field, in_quotes(text) + " is not a size",
                   "a size is a number with B, KiB, MiB or GiB, such as \"256MiB\"");
    }
    const auto checked = W::of(*value);
    if (checked) {
      into = *checked;
    } else {
      fault(scope, field, text + " is out of range",
            "choose from " + format_bytes(W::least) + " to " + format_bytes(W::most));
    }
  }

  template <typename W>
  void duration(const Scope& scope, const std::string& field, const std::string& text, W& into,
                std::uint64_t most) {
    const auto value = parse_duration_ns(text);
    if (!value) {
      return fault(scope, field, in_quotes(text) + " is not a duration",
                   "a duration is a number with us, ms, s, m or h, such as \"60s\"");
    }
    const auto checked = *value <= most ? W::of(*value) : std::nullopt;
    if (checked) {
      into = *checked;
    } else {
      fault(scope, field, text + " is out of range",
            "choose from " + format_duration(W::least) + " to " + format_duration(most));
    }
  }

  template <typename W, typename T>
  void number(const Scope& scope, const std::string& field, T value, W& into) {
    const auto checked = W::of(value);
    if (checked) {
      into = *checked;
    } else {
      fault(scope, field, plain(static_cast<double>(value)) + " is out of range",
            "choose from " + plain(static_cast<double>(W::least)) + " to " +
                plain(static_cast<double>(W::most)));
    }
  }

  std::vector<Rule> rules(const Scope& scope,
                          const google::protobuf::RepeatedPtrField<policy::SyscallRule>& written);
  RuleGroup group(const Scope& scope, const policy::SyscallGroup& written, const std::string& name);

 private:
  static std::string plain(double value);
  Rule rule(const Scope& scope, const policy::SyscallRule& written);
  void conditions(const Scope& scope, const policy::SyscallRule& written, Rule& rule);

  std::vector<Fault>& faults_;
  const Options& options_;
};

// Letters, digits, '-' (and '.', '_' with `loose`), starting with a letter or digit, at most 63.
bool is_name(std::string_view text, bool loose);

// The number of "EPERM"; 0 for a name that is none.
int errno_number(std::string_view name);

}  // namespace jailrun
