#include "agent/datasets/table_writer.h"

#include <cstdlib>
#include <ctime>

namespace jailrun::agent {
namespace {

using OrderedJson = nlohmann::ordered_json;

std::string decimal_text(const Decimal& number) {
  std::int64_t scale = 1;
  for (int i = 0; i < number.digits; ++i) scale *= 10;
  const std::int64_t size = std::abs(number.value);
  std::string part = std::to_string(size % scale);
  part.insert(0, static_cast<std::size_t>(number.digits) - part.size(), '0');
  return (number.value < 0 ? "-" : "") + std::to_string(size / scale) + "." + part;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

struct AsCsv {
  std::string operator()(Missing) const { return ""; }
  std::string operator()(std::int64_t number) const { return std::to_string(number); }
  std::string operator()(const Decimal& number) const { return decimal_text(number); }
  std::string operator()(bool yes) const { return yes ? "true" : "false"; }
  std::string operator()(const std::string& text) const { return quoted(text); }
};

struct AsJson {
  OrderedJson operator()(Missing) const { return nullptr; }
  OrderedJson operator()(std::int64_t number) const { return number; }
  OrderedJson operator()(const Decimal& number) const {
    return OrderedJson::parse(decimal_text(number));
  }
  OrderedJson operator()(bool yes) const { return yes; }
  OrderedJson operator()(const std::string& text) const { return text; }
};

}  // namespace

TableWriter::TableWriter(std::string name, std::vector<std::pair<std::string, std::string>> columns)
    : name_(std::move(name)), columns_(std::move(columns)) {
  for (const auto& column : columns_) csv_ += (csv_.empty() ? "" : ",") + column.first;
  csv_ += "\n";
}

void TableWriter::row(const std::vector<Cell>& cells) {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) csv_ += ',';
    csv_ += std::visit(AsCsv{}, cells[i]);
  }
  csv_ += '\n';
  if (sample_.size() >= 3) return;
  OrderedJson row = OrderedJson::object();
  for (std::size_t i = 0; i < cells.size(); ++i)
    row[columns_[i].first] = std::visit(AsJson{}, cells[i]);
  sample_.push_back(row);
}

OrderedJson TableWriter::entry(const std::string& dir) const {
  OrderedJson schema = OrderedJson::object();
  for (const auto& [column, type] : columns_) schema[column] = type;
  return {
      {"name", name_}, {"path", dir + "/" + name_}, {"schema", schema}, {"sample_rows", sample_}};
}

std::uint64_t Dice::next() {
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::int64_t Dice::below(std::int64_t most) {
  if (most <= 0) return 0;
  return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(most));
}

std::int64_t Dice::between(std::int64_t least, std::int64_t most) {
  return least + below(most - least + 1);
}

std::int64_t Dice::bell(std::int64_t middle, std::int64_t spread) {
  std::int64_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += between(-spread, spread);
  return middle + sum / 2;
}

std::size_t Dice::weighed(const std::vector<int>& weights) {
  int all = 0;
  for (const int weight : weights) all += weight;
  std::int64_t left = below(all);
  std::size_t index = 0;
  while (left >= weights[index]) left -= weights[index++];
  return index;
}

std::string calendar_text(std::int64_t seconds, char between) {
  const std::time_t time = seconds;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, between == 'T' ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S",
                &parts);
  return text;
}

}  // namespace jailrun::agent
