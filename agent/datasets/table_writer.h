// TableWriter: rows of a made-up table as CSV, and its schema and first rows for the registry.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace jailrun::agent {

// A number of so many hundredths, tenths, …: exact, and printed without a float.
struct Decimal {
  std::int64_t value = 0;
  int digits = 2;
};
struct Missing {};
using Cell = std::variant<Missing, std::int64_t, Decimal, bool, std::string>;

class TableWriter {
 public:
  // Columns with their types of DuckDB.
  TableWriter(std::string name, std::vector<std::pair<std::string, std::string>> columns);
  void row(const std::vector<Cell>& cells);  // as many as columns

  const std::string& name() const { return name_; }
  const std::string& csv() const { return csv_; }
  // {"name", "path": DIR/NAME, "schema", "sample_rows"}
  nlohmann::ordered_json entry(const std::string& dir) const;

 private:
  std::string name_;
  std::vector<std::pair<std::string, std::string>> columns_;
  std::string csv_;
  nlohmann::ordered_json sample_ = nlohmann::ordered_json::array();
};

struct MadeDataset {
  std::string id, name, description, as_of;
  std::vector<std::string> prompts;
  std::vector<TableWriter> tables;
};

// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  std::int64_t below(std::int64_t most);  // 0 to most - 1
  std::int64_t between(std::int64_t least, std::int64_t most);
  bool chance(int percent) { return below(100) < percent; }
  std::int64_t bell(std::int64_t middle, std::int64_t spread);  // most within middle ± spread
  // The index of one of the weights.
  std::size_t weighed(const std::vector<int>& weights);

 private:
  std::uint64_t state_;
};

// "2026-01-01 00:00:00", and with a T between as ISO 8601 has it.
std::string calendar_text(std::int64_t seconds, char between = ' ');

}  // namespace jailrun::agent
