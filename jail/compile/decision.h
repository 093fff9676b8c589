// A filter as what it decides, free of the order in which it was written: a graph of switches over
// words of seccomp_data. Equal parts are one node, so calls with the same rules share them.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include <linux/filter.h>

#include "jail/sys/error.h"

namespace jailrun {

// A word of seccomp_data under a mask; its values lie in [0, mask].
struct Word {
  std::uint32_t offset = 0, mask = 0;
  auto operator<=>(const Word&) const = default;
};

// Values from `first` up to the next case's, the last one's up to the mask.
struct Case {
  std::uint32_t first = 0;
  int node = 0;
  auto operator<=>(const Case&) const = default;
};

// An action where there are no cases, else a switch: at least two cases, neighbours differ.
struct Node {
  std::uint32_t action = 0;
  Word word;
  std::vector<Case> cases;
  auto operator<=>(const Node&) const = default;
};

// Nodes lie behind those they lead to; the last is the root.
using Decision = std::vector<Node>;

Expected<Decision> read_decision(std::span<const sock_filter> program);
std::vector<sock_filter> write_decision(const Decision& decision);

}  // namespace jailrun
