// What noticed that a wall is missing: the battery of attempts, the posture, and the table of both.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "tests/layers/removed.h"

namespace jailrun::test {

struct Line {
  std::string name, text;
  std::vector<std::string> expected;  // any of these
};

// A listener of that abstract name lives in another jail: what Landlock's scopes alone keep away.
const std::string& neighbour_name();
// Those of tests/confinement/attempts.h, and some that only make sense in a battery.
std::vector<Line> attempts();
std::vector<std::string> texts(const std::vector<Line>& lines);

struct Noticed {
  std::string builder;
  std::set<std::string> probes, posture;
  bool anything() const { return !builder.empty() || !probes.empty() || !posture.empty(); }
};

// Adds what `shown` answers otherwise than it may, and how it stands otherwise than `whole`.
void compare(const Shown& whole, const Shown& shown, const std::vector<Line>& lines,
             Noticed& noticed);
// What the builder of a jail said, without remedies and without what is this host's alone.
std::string cause(const std::string& said);

std::string joined(const std::set<std::string>& all);
// A line of the table.
std::string row(const std::string& layer, const std::string& removed, const Noticed& noticed);
// One section of jail/LAYERS.md, from its title to the next: the file is what the run gives. Only
// on hosts like the one that it was written on: others have other controllers and another Landlock.
void expect_section(const std::string& title, const std::string& table);

}  // namespace jailrun::test
