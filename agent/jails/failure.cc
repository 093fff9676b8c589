#include "agent/jails/failure.h"

#include <array>

#include "agent/base/text.h"

namespace jailrun::agent {
namespace {

constexpr std::size_t kOutputBytes = 16 << 10;
constexpr std::size_t kErrorBytes = 4 << 10;

struct Hint {
  std::string_view sign;
  std::string_view text;
  std::string_view lasting{};  // instead, where variables stay from run to run
};

constexpr std::array<Hint, 9> kVerdicts{{
    {"out_of_memory",
     "read fewer columns (usecols), use smaller dtypes, or work in chunks or with duckdb"},
    {"wall_timeout",
     "do less per run: sample rows, use vectorised operations, avoid loops over rows"},
    {"cpu_timeout",
     "do less per run: sample rows, use vectorised operations, avoid loops over rows"},
    {"output_limit",
     "print only a summary, such as head(20), and write the rest to a file in /work"},
    {"disk_limit", "write less to /work and /tmp"},
    {"pids_limit", "use fewer processes and threads (n_jobs=1)"},
    {"policy_violation", "use plain pandas; system calls of that kind are forbidden here"},
    {"signalled", "the interpreter crashed; try another function or library"},
    {"cancelled", "the user stopped it"},
}};

constexpr std::array<Hint, 9> kErrors{{
    {"KeyError", "check the name against the columns of the data; print df.columns if unsure"},
    {"ModuleNotFoundError",
     "there is no network to install from: use pandas, numpy, scipy, statsmodels, "
     "sklearn, matplotlib, seaborn, plotly, duckdb or polars"},
    {"FileNotFoundError",
     "inputs are in /data; every run is a fresh jail, so files of earlier runs are gone",
     "inputs are in /data; what a failed run has written is gone"},
    {"NameError", "every run is a fresh jail: import and load everything again",
     "what a failed run has defined is gone: define it again"},
    {"PermissionError", "write only to /work and /tmp"},
    {"Read-only file system", "write only to /work and /tmp"},
    {"UnicodeDecodeError", "pass the encoding that the description of the data names"},
    {"SyntaxError", "send one complete, valid Python program"},
    {"ConnectionError", "there is no network"},
}};

std::string last_line(const std::string& text) {
  auto end = text.find_last_not_of(" \n\t");
  if (end == std::string::npos) return "";
  auto begin = text.rfind('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin));
}

}  // namespace

std::string advice(const JailResult& result, bool lasting) {
  for (const auto& hint : kVerdicts)
    if (result.verdict == hint.sign) return std::string(hint.text);
  auto line = last_line(result.err);
  for (const auto& hint : kErrors)
    if (line.find(hint.sign) != std::string::npos)
      return std::string(lasting && !hint.lasting.empty() ? hint.lasting : hint.text);
  return "read the error, correct the code and run it again";
}

std::string feedback(const JailResult& result, bool lasting) {
  std::string out;
  if (!result.ok()) {
    out += "The run failed: " + result.verdict;
    if (result.exit_code) out += " (exit code " + std::to_string(*result.exit_code) + ")";
    if (!result.reason.empty()) out += "; " + result.reason;
    out += "\n";
  }
  if (!result.out.empty()) out += "stdout:\n" + clip(printable(result.out), kOutputBytes) + "\n";
  if (result.out_truncated) out += "(stdout was cut at its limit)\n";
  if (!result.err.empty()) out += "stderr:\n" + tail(printable(result.err), kErrorBytes) + "\n";
  if (!result.files.empty()) {
    out += "files in /work:";
    for (std::size_t i = 0; i < result.files.size() && i < 50; ++i)
      out += " " + printable(result.files[i].name) + " (" + std::to_string(result.files[i].bytes) +
             " bytes)";
    out += "\n";
  }
  if (!result.ok()) out += "What to try: " + advice(result, lasting) + ".\n";
  if (out.empty()) out = "The run ended well but printed nothing; print what you want to see.\n";
  return out;
}

}  // namespace jailrun::agent
