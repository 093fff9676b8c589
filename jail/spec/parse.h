// Policy text to Spec: either a Spec, or all faults at once.
#pragma once

#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "jail/spec/spec.h"

namespace jailrun {

struct Fault {
  std::string file;  // or the option, "--set PATH=VALUE", with line 0
  int line = 0;      // from 1
  int column = 0;    // from 1, in bytes
  std::string path;  // of the field, "limits.memory"; "" where it is about the text as such
  std::string message;
  std::string remedy;

  // "FILE:LINE:COLUMN: MESSAGE; REMEDY".
  std::string text() const;
  bool operator==(const Fault&) const = default;
};

struct GroupText {
  std::string file, text;
};
// What the groups of system calls say, by name: text, so that their faults have places too. And the
// policies that one may be based on.
struct GroupTexts : std::map<std::string, GroupText> {
  using map::map;
  std::map<std::string, GroupText> policies;
};

// Sets one field of a policy, "PATH=VALUE":
//   limits.memory=256MiB, limits.cpus=2, network.mode=LOOPBACK   a field by its path
//   environment.NAME=text                                        one variable
//   syscalls.groups=threads                                      a repeated field: appends
//   danger={missing_limit: MEMORY why: "…"}                      a message, written as in a policy
using Overrides = std::vector<std::string>;

// The faults come sorted by place, those of overrides last.
std::expected<Spec, std::vector<Fault>> parse(std::string_view text, const std::string& file,
                                              const GroupTexts& groups, const Overrides& sets = {});

// Canonical policy text: every field written out, parse(print(s)) == s with the same groups.
std::string print(const Spec& spec);

}  // namespace jailrun
