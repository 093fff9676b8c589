#include "agent/service/limits.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace jailrun::service {
namespace {

Expected<std::optional<std::uint64_t>> number_of(const char* variable, std::uint64_t least,
                                                 std::uint64_t most) {
  const char* const text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return std::nullopt;
  char* end = nullptr;
  const std::uint64_t number = std::strtoull(text, &end, 10);
  if (*end == '\0' && *text != '-' && number >= least && number <= most) return number;
  return std::unexpected(Error{
      Stage::None, variable, 0, std::string(variable) + " is '" + text + "'",
      "set it to a whole number from " + std::to_string(least) + " to " + std::to_string(most)});
}

}  // namespace

Expected<void> limits_of_environment(ServiceOptions& options) {
  ServiceLimits& limits = options.limits;
  TRY(const auto seconds, number_of("MAX_EXECUTION_TIME", 1, 300));
  if (seconds) limits.execute_s = limits.execute_most_s = static_cast<double>(*seconds);
  TRY(const auto memory, number_of("MAX_MEMORY_MB", 32, 1 << 20));
  if (memory)
    limits.execute_overrides.push_back("limits.memory=" + std::to_string(*memory) + "MiB");
  TRY(const auto output, number_of("MAX_OUTPUT_SIZE", 1, 16 << 20));
  if (output) limits.execute_output = *output;
  TRY(const auto interpreter, number_of("CODE_EXECUTION_TIMEOUT", 1, 300));
  if (interpreter) limits.interpreter_s = static_cast<double>(*interpreter);
  const char* const network = std::getenv("ENABLE_NETWORKING");
  constexpr std::string_view kOff[] = {"", "0", "false", "False", "no", "off"};
  if (network == nullptr || std::ranges::find(kOff, network) != std::end(kOff)) return {};
  return std::unexpected(Error{Stage::None, "ENABLE_NETWORKING", 0,
                               "jails of the service never have a network",
                               "unset ENABLE_NETWORKING"});
}

}  // namespace jailrun::service
