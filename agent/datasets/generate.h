// Three synthetic data sets: ecommerce, support and sensors. The same bytes for the same clock and
// seed, on every machine: whole numbers and a generator of our own, no library's random or float.
#pragma once

#include <cstdint>
#include <string>

#include "agent/datasets/table_writer.h"
#include "jail/sys/error.h"

namespace jailrun::agent {

struct GenerateOptions {
  std::int64_t now_s = 1'767'225'600;  // 2026-01-01T00:00:00Z: when the data end
  std::uint64_t seed = 1;
};

std::vector<MadeDataset> make_datasets(const GenerateOptions& options);

// Writes them below `dir` and into its registry.json, in which data sets of other ids stay. A file
// is replaced in one step.
Expected<void> generate_datasets(const std::string& dir, const GenerateOptions& options);

// Puts one entry into the registry.json of `dir`, in the place of the one that has its id.
Expected<void> write_entry(const std::string& dir, const nlohmann::ordered_json& entry);
Expected<void> write_whole(const std::string& path, const std::string& text);

}  // namespace jailrun::agent
