// Exposition: numbers as Prometheus reads them, in its text format 0.0.4. Families are whole and in
// order, each with its type and what it means; samples of the same labels are summed.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jail/daemon/client.h"

namespace jailrun {

class Exposition {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  // Begins a family, or goes on with it. `type`: counter, gauge, histogram, untyped.
  void family(std::string_view name, std::string_view type, std::string_view help);
  // A sample of the family begun last. `suffix`: "", or _bucket, _sum, _count of a histogram.
  void sample(const Labels& labels, double value, std::string_view suffix = "");
  std::string text() const;

 private:
  struct Family {
    std::string name, type, help;
    std::vector<std::pair<std::string, double>> samples;  // by name with labels
  };
  std::vector<Family> families_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::size_t current_ = 0;
};

// What jaild counts, under the names that it gives.
void expose(const Metrics& metrics, Exposition& into);

}  // namespace jailrun
