// JailClient: the runtime as its command line shows it. Each run is one `jailrun run --json …`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/cancel.h"
#include "jail/sys/fd.h"

namespace jailrun::agent {

struct Input {
  std::string source;    // path on the host
  std::string name;      // seen by the guest as /data/NAME; [A-Za-z0-9._-] only
  std::string origin{};  // what it is called in records; empty: `source`
  // Where `source` names a descriptor of ours by /proc: that one, which must stay open.
  std::shared_ptr<const Fd> held{};
};

struct JailFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string media_type;
};

// The part of Result that the agent uses (jail/run/result.schema.json). Strings hold guest bytes.
struct JailResult {
  std::string verdict, reason;
  std::optional<int> exit_code;
  std::string out, err;
  bool out_truncated = false, err_truncated = false;
  std::vector<JailFile> files;
  std::vector<std::string> warnings;
  std::uint64_t wall_ns = 0;
  std::optional<std::uint64_t> memory_peak_bytes;

  bool ok() const { return verdict == "ok"; }
};

// Reads what `jailrun run --json` printed: a result, or the Error it reports, or an Error of its
// own for anything else. Fields of the wrong type count as absent.
Expected<JailResult> parse_result(std::string_view text);

struct JailOptions {
  std::string jailrun;            // path of the thin binary
  std::string policy;             // empty: its default
  std::vector<std::string> sets;  // path=value
  std::string timeout;            // empty: the policy's
  std::string socket{};           // jaild's; empty: the usual one
};

// A program of the image, as `jailrun exec` runs it.
struct GuestCommand {
  std::vector<std::string> argv;
  std::string input{};         // its stdin
  std::vector<Input> files{};  // in /data
  bool with_inputs = false;    // the client's files besides
  std::string policy{};        // empty: that of exec
  std::string timeout{};       // empty: the policy's
};

class JailClient {
 public:
  JailClient(JailOptions options, std::vector<Input> inputs, const Cancel& cancel);

  // Runs `code` in a fresh jail that sees the inputs; files it leaves land in `out_dir`, an
  // existing empty directory, or nowhere if that is empty. Past `deadline` the run is stopped: an
  // Error.
  Expected<JailResult> run(const std::string& code, const std::vector<std::string>& arguments,
                           const std::string& out_dir, Deadline deadline) const;

  // Runs a command in a fresh jail; its files are thrown away.
  Expected<JailResult> exec(const GuestCommand& guest, Deadline deadline) const;

  const std::vector<Input>& inputs() const { return inputs_; }

 private:
  Expected<JailResult> finish(std::vector<std::string> argv, std::string input,
                              Deadline deadline) const;

  JailOptions options_;
  std::vector<Input> inputs_;
  const Cancel& cancel_;
};

// The thin binary beside the current executable.
Expected<std::string> find_jailrun();

}  // namespace jailrun::agent
