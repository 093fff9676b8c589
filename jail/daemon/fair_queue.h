// FairQueue: bounded, round robin between owners, first come first served within one.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <string>
#include <utility>

namespace jailrun {

// Whom quotas and fairness go by.
struct Owner {
  std::uint32_t uid = 0;
  std::string name;
  auto operator<=>(const Owner&) const = default;
};

template <typename Item>
class FairQueue {
 public:
  explicit FairQueue(std::size_t most) : most_(most) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // When full somebody has to go: the last one of the owner with most items, be it this one. So one
  // owner cannot keep the others out. Gives back who went.
  std::optional<Item> push(const Owner& owner, Item item) {
    line_of(owner).items.push_back(std::move(item));
    if (++size_ <= most_) return std::nullopt;
    auto longest = lines_.begin();
    for (auto line = lines_.begin(); line != lines_.end(); ++line) {
      // Of equals the later one in turn.
      if (line->items.size() >= longest->items.size()) longest = line;
    }
    Item gone = std::move(longest->items.back());
    longest->items.pop_back();
    drop(longest);
    return gone;
  }

  // The next in turn.
  std::optional<Item> pop() {
    if (lines_.empty()) return std::nullopt;
    Item item = std::move(lines_.front().items.front());
    lines_.front().items.pop_front();
    lines_.splice(lines_.end(), lines_, lines_.begin());
    drop(std::prev(lines_.end()));
    return item;
  }

  // Takes out each item that `wanted` accepts.
  template <typename Wanted, typename Taken>
  void take(Wanted wanted, Taken taken) {
    std::deque<Item> out;
    for (auto line = lines_.begin(); line != lines_.end();) {
      auto& items = line->items;
      for (auto item = items.begin(); item != items.end();) {
        if (!wanted(*item)) {
          ++item;
          continue;
        }
        out.push_back(std::move(*item));
        item = items.erase(item);
        --size_;
      }
      line = items.empty() ? lines_.erase(line) : std::next(line);
    }
    for (Item& item : out) taken(std::move(item));
  }

  template <typename Visit>
  void each(Visit visit) const {
    for (const Line& line : lines_)
      for (const Item& item : line.items) visit(item);
  }

 private:
  struct Line {
    Owner owner;
    std::deque<Item> items;
  };

  Line& line_of(const Owner& owner) {
    for (Line& line : lines_)
      if (line.owner == owner) return line;
    return lines_.emplace_back(Line{owner, {}});
  }
  void drop(typename std::list<Line>::iterator line) {
    --size_;
    if (line->items.empty()) lines_.erase(line);
  }

  const std::size_t most_;
  std::size_t size_ = 0;
  std::list<Line> lines_;  // in turn
};

}  // namespace jailrun
