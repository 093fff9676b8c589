// Result: what became of a guest, with the kernel's evidence. A value; printed as
// result.schema.json says.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "jail/launch/timeline.h"
#include "jail/sys/error.h"

namespace jailrun {

// In order of precedence: the first that the evidence shows is the verdict.
enum class Verdict : std::uint8_t {
  Cancelled,
  PolicyViolation,
  OutOfMemory,
  WallTimeout,
  CpuTimeout,
  OutputLimit,
  PidsLimit,
  DiskLimit,
  Signalled,
  NonzeroExit,
  Ok,
};

std::string_view name(Verdict verdict);

// Values that evidence takes in JSON.
using EvidenceValue = std::variant<std::nullptr_t, bool, std::uint64_t, std::string>;

struct OutputFile {
  std::string name;  // below /work; UTF-8
  std::uint64_t bytes;
  std::string sha256;
  std::string media_type;
};

struct SkippedFile {
  std::string name;  // printable: other bytes as \xNN
  std::string reason;
};

struct EnforcedLimit {
  std::string name;  // "memory_bytes"
  double value;
  std::string enforced_by;
};

struct Result {
  std::string start = "cold";  // cold, forked or parked
  std::string policy;
  Verdict verdict = Verdict::Ok;
  std::string reason;  // one line: what was hit, what to try
  std::vector<std::pair<std::string, EvidenceValue>> evidence;
  int status = 0;  // exit status of jailrun itself
  std::optional<int> exit_code, signal;
  std::string out, err;  // captured streams, raw bytes
  bool out_truncated = false, err_truncated = false;
  std::vector<OutputFile> files;
  std::vector<SkippedFile> files_skipped;
  std::uint64_t wall_ns = 0;
  std::optional<std::uint64_t> cpu_ns, memory_peak_bytes, pids_peak;
  std::vector<TimelineEntry> timeline;
  std::vector<EnforcedLimit> limits;
  std::vector<std::string> limits_hit, warnings;
};

// One JSON document and a newline. Text is decoded leniently: what is not UTF-8 becomes U+FFFD.
std::string to_json(const Result& result);
std::string to_json(const Error& error);

// "SIGSEGV" for 11; "SIGNN" for one without a name.
std::string signal_name(int signal);

}  // namespace jailrun
