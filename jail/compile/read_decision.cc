// Reading a filter: it is executed with every word of seccomp_data unknown. A comparison that
// cannot be answered yet splits the values of its word, and each part goes on by itself, knowing
// what it is. Comparisons that were answered before, or can only be answered one way, leave no
// trace.
#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "jail/compile/decision.h"

namespace jailrun {
namespace {

struct Range {
  std::uint32_t low, high;
};
using Known = std::vector<std::pair<Word, Range>>;

// Where execution stands: the accumulator holds `word`, or `value` where there is none.
struct Place {
  std::size_t pc = 0;
  std::optional<Word> word;
  std::uint32_t value = 0;
};

// Far more than any policy takes (python: 3,400 steps, 149 cases); conditions on many arguments of
// one call multiply.
constexpr int kMaxSteps = 1 << 20;
constexpr std::size_t kMaxCases = 1024;

Error beyond(const std::string& what) {
  return {Stage::None, "filter", 0, "cannot shorten the filter: " + what,
          "name fewer rules with arguments; report the policy if it has few"};
}

std::optional<bool> answer(const sock_filter& test, const Range& range) {
  switch (BPF_OP(test.code)) {
    case BPF_JEQ:
      if (range.low == range.high) return range.low == test.k;
      if (test.k < range.low || test.k > range.high) return false;
      return std::nullopt;
    case BPF_JGT:
      if (range.low > test.k) return true;
      if (range.high <= test.k) return false;
      return std::nullopt;
    default:  // BPF_JGE: advance() lets no other through
      if (range.low >= test.k) return true;
      if (range.high < test.k) return false;
      return std::nullopt;
  }
}

// The values within the range where the answer may change.
std::vector<std::uint32_t> cuts(const sock_filter& test, const Range& range) {
  std::vector<std::uint32_t> at;
  const bool equal = BPF_OP(test.code) == BPF_JEQ;
  if ((equal || BPF_OP(test.code) == BPF_JGE) && test.k > range.low) at.push_back(test.k);
  if ((equal || BPF_OP(test.code) == BPF_JGT) && test.k < range.high) at.push_back(test.k + 1);
  return at;
}

class Reader {
 public:
  explicit Reader(std::span<const sock_filter> program) : program_(program) {}

  Expected<int> node(Place place, const Known& known) {
    TRY_VOID(advance(place, known));
    const sock_filter& stop = program_[place.pc];
    if (stop.code == (BPF_RET | BPF_K)) return intern({stop.k, {}, {}});
    std::vector<Case> cases;
    TRY_VOID(split(place, *place.word, range_of(place, known), known, cases));
    if (cases.size() > kMaxCases) return std::unexpected(beyond("a word has too many values"));
    // One bit: none between.
    if (std::has_single_bit(place.word->mask)) {
      cases = {cases.front(), {1, cases.back().node}};
    }
    if (cases.front().node == cases.back().node && cases.size() <= 2) return cases.front().node;
    return intern({0, *place.word, std::move(cases)});
  }

  Decision decision;

 private:
  // Adds the cases of one range of the word that the accumulator holds, at an open comparison.
  Expected<void> split(const Place& place, const Word& word, const Range& range, const Known& known,
                       std::vector<Case>& cases) {
    std::vector<std::uint32_t> firsts = cuts(program_[place.pc], range);
    firsts.insert(firsts.begin(), range.low);
    for (std::size_t i = 0; i < firsts.size(); ++i) {
      const Range part{firsts[i], i + 1 < firsts.size() ? firsts[i + 1] - 1 : range.high};
      Known more = known;
      std::erase_if(more, [&](const auto& each) { return each.first == word; });
      more.emplace_back(word, part);
      Place next = place;
      TRY_VOID(advance(next, more));
      if (program_[next.pc].code != (BPF_RET | BPF_K) && next.word == word) {
        TRY_VOID(split(next, word, part, more, cases));
        continue;
      }
      TRY(const int leads_to, node(next, more));
      if (cases.empty() || cases.back().node != leads_to) cases.push_back({part.low, leads_to});
    }
    return {};
  }

  // Goes on to the next RET or to a comparison whose answer is open.
  Expected<void> advance(Place& place, const Known& known) {
    for (;; ++place.pc) {
      if (place.pc >= program_.size()) return std::unexpected(beyond("a path has no end"));
      if (++steps_ > kMaxSteps) return std::unexpected(beyond("its rules branch too often"));
      const sock_filter& in = program_[place.pc];
      switch (in.code) {
        case BPF_LD | BPF_W | BPF_ABS:
          place.word = Word{in.k, ~0U};
          break;
        case BPF_ALU | BPF_AND | BPF_K:
          place.value &= in.k;
          if (place.word) place.word->mask &= in.k;
          break;
        case BPF_RET | BPF_K:
          return {};
        case BPF_JMP | BPF_JA:
          place.pc += in.k;
          continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
        case BPF_JMP | BPF_JGT | BPF_K:
        case BPF_JMP | BPF_JGE | BPF_K: {
          const std::optional<bool> jump = answer(in, range_of(place, known));
          if (!jump) return {};
          place.pc += *jump ? in.jt : in.jf;
          continue;
        }
        default:
          return std::unexpected(beyond("instruction " + std::to_string(in.code) + " is unknown"));
      }
      const Range range = range_of(place, known);
      if (range.low == range.high) place = {place.pc, std::nullopt, range.low};
    }
  }

  static Range range_of(const Place& place, const Known& known) {
    if (!place.word) return {place.value, place.value};
    for (const auto& [word, range] : known) {
      if (word == *place.word) return range;
    }
    // A word that is known whole is known under every mask.
    for (const auto& [word, range] : known) {
      if (word == Word{place.word->offset, ~0U} && range.low == range.high) {
        return {range.low & place.word->mask, range.low & place.word->mask};
      }
    }
    return {0, place.word->mask};
  }

  int intern(Node node) {
    const auto [at, is_new] = index_.emplace(node, static_cast<int>(decision.size()));
    if (is_new) decision.push_back(std::move(node));
    return at->second;
  }

  std::span<const sock_filter> program_;
  std::map<Node, int> index_;
  int steps_ = 0;
};

}  // namespace

Expected<Decision> read_decision(std::span<const sock_filter> program) {
  // No kernel loads a longer one; it also bounds how deep split() goes.
  if (program.size() > BPF_MAXINSNS) return std::unexpected(beyond("it is too long"));
  Reader reader(program);
  TRY(const int root, reader.node({}, {}));
  // Where every path meets in one node it is the last that was made.
  reader.decision.resize(static_cast<std::size_t>(root) + 1);
  return std::move(reader.decision);
}

}  // namespace jailrun
