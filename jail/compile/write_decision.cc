// Writing a filter that loads fast. What the kernel does for a load, and what each costs: checks,
// conversion to eBPF and machine code, 0.3 us for each instruction; and since 5.11 a walk for each
// system call number, to note which are always allowed and skip the filter, 1 ns for each step.
// So: few instructions, and short ways for low numbers of calls. Only loads, AND, comparisons and
// RET: at any other instruction the walk gives up, and each call pays for the filter as it runs.
#include <algorithm>
#include <cstddef>
#include <optional>

#include "jail/compile/decision.h"

namespace jailrun {
namespace {

// How the cases of a switch are told apart, for each stretch of neighbours: by halves, or by
// equality where all but one outcome are single values.
class Tree {
 public:
  struct Choice {
    std::uint64_t cost = 0;
    std::size_t split = 0;  // where the upper part begins; 0: equality, one after the other
    int rest = 0;           // the node that is left then
  };

  explicit Tree(const Node& of) : of_(of), size_(of.cases.size()), choices_(size_ * size_) {
    for (std::size_t length = 2; length <= size_; ++length) {
      for (std::size_t i = 0; i + length <= size_; ++i) choose(i, i + length - 1);
    }
  }

  const Choice& at(std::size_t first, std::size_t last) const {
    return choices_[first * size_ + last];
  }

 private:
  // In steps of the kernel's walk: an instruction costs as much as 200 of them. Numbers above 512
  // are walked by no kernel.
  static constexpr std::uint64_t kInstruction = 200, kNumbers = 512;

  std::uint64_t end(std::size_t i) const {
    return i + 1 < size_ ? of_.cases[i + 1].first : std::uint64_t{of_.word.mask} + 1;
  }

  void choose(std::size_t first, std::size_t last) {
    const std::uint64_t walks =
        std::min(end(last), kNumbers) - std::min<std::uint64_t>(of_.cases[first].first, kNumbers);
    const std::uint64_t comparison = kInstruction + walks;
    Choice& best = choices_[first * size_ + last];
    best.cost = ~std::uint64_t{0};
    if (const std::optional<int> rest = all_but_single(first, last)) {
      const auto others = std::count_if(of_.cases.begin() + static_cast<std::ptrdiff_t>(first),
                                        of_.cases.begin() + static_cast<std::ptrdiff_t>(last) + 1,
                                        [&](const Case& each) { return each.node != *rest; });
      best = {static_cast<std::uint64_t>(others) * comparison, 0, *rest};
    }
    for (std::size_t split = first + 1; split <= last; ++split) {
      const std::uint64_t cost = comparison + at(first, split - 1).cost + at(split, last).cost;
      if (cost < best.cost) best = {cost, split, 0};
    }
  }

  // The node of all cases of more than one value, where it is one node.
  std::optional<int> all_but_single(std::size_t first, std::size_t last) const {
    std::optional<int> rest;
    for (std::size_t i = first; i <= last; ++i) {
      if (end(i) - of_.cases[i].first == 1) continue;
      if (rest && *rest != of_.cases[i].node) return std::nullopt;
      rest = of_.cases[i].node;
    }
    return rest ? rest : of_.cases[first].node;
  }

  const Node& of_;
  std::size_t size_;
  std::vector<Choice> choices_;
};

// Written from its end to its beginning: all jumps go forward, so their targets stand already.
class Writer {
 public:
  explicit Writer(const Decision& decision) : decision_(decision), label_(decision.size()) {}

  std::vector<sock_filter> whole() {
    node(static_cast<int>(decision_.size()) - 1);
    std::reverse(reversed_.begin(), reversed_.end());
    return std::move(reversed_);
  }

 private:
  // Counted from the end of the program: instruction reversed_[label - 1].
  using Label = std::size_t;

  Label push(const sock_filter& instruction) {
    reversed_.push_back(instruction);
    return reversed_.size();
  }

  Label node(int index) {
    std::optional<Label>& label = label_[static_cast<std::size_t>(index)];
    if (label) return *label;
    const Node& node = decision_[static_cast<std::size_t>(index)];
    label = node.cases.empty() ? push(BPF_STMT(BPF_RET | BPF_K, node.action)) : pick(node);
    return *label;
  }

  // A conditional jump spans 255 instructions. Beyond that the next ones go by a copy nearby: an
  // action is copied itself. Room for the copy of the other target is kept.
  Label near(Label target) {
    if (reversed_.size() - target < 250) return target;
    const sock_filter& far = reversed_[target - 1];
    const bool action = BPF_CLASS(far.code) == BPF_RET;
    const Label copy =
        push(action ? far
                    : sock_filter BPF_STMT(BPF_JMP | BPF_JA,
                                           static_cast<std::uint32_t>(reversed_.size() - target)));
    std::replace(label_.begin(), label_.end(), std::optional(target), std::optional(copy));
    return copy;
  }

  Label test(std::uint16_t operation, std::uint32_t value, Label yes, Label no) {
    yes = near(yes);
    no = near(no);
    const std::size_t here = reversed_.size();
    return push(BPF_JUMP(static_cast<std::uint16_t>(BPF_JMP | operation | BPF_K), value,
                         static_cast<std::uint8_t>(here - yes),
                         static_cast<std::uint8_t>(here - no)));
  }

  Label pick(const Node& of) {
    const Word& word = of.word;
    if (word.mask != ~0U && of.cases.size() == 2 && of.cases[1].first == 1) {
      const Label yes = node(of.cases[1].node);
      test(BPF_JSET, word.mask, yes, node(of.cases[0].node));
    } else {
      const Tree best(of);
      tree(of, best, 0, of.cases.size() - 1);
      if (word.mask != ~0U) push(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, word.mask));
    }
    return push(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, word.offset));
  }

  Label tree(const Node& of, const Tree& best, std::size_t first, std::size_t last) {
    if (first == last) return node(of.cases[first].node);
    const Tree::Choice choice = best.at(first, last);
    if (choice.split != 0) {
      const Label yes = tree(of, best, choice.split, last);
      const Label no = tree(of, best, first, choice.split - 1);
      return test(BPF_JGE, of.cases[choice.split].first, yes, no);
    }
    // All their targets first, so that each falls through to the next.
    for (std::size_t i = first; i <= last; ++i) node(of.cases[i].node);
    Label label = node(choice.rest);
    for (std::size_t i = last + 1; i-- > first;) {
      if (of.cases[i].node == choice.rest) continue;
      label = test(BPF_JEQ, of.cases[i].first, node(of.cases[i].node), label);
    }
    return label;
  }

  const Decision& decision_;
  std::vector<std::optional<Label>> label_;
  std::vector<sock_filter> reversed_;
};

}  // namespace

std::vector<sock_filter> write_decision(const Decision& decision) {
  return Writer(decision).whole();
}

}  // namespace jailrun
