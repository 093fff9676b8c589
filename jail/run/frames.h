// Frames: what a client and a warm guest say to each other on the descriptors that they share.
//
// The request is trusted by nobody's decision (it is what the guest shall run); the answer is the
// word of a hostile process and parse_answer() is the only parser of it: fixed size, no pointer, no
// length. What an answer says is shown as provisional; verdicts come from the kernel.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace jailrun {

// Client to guest, in one write where it fits the pipe:
//   u32 magic "jrq1", u32 size of what follows, u32 count of arguments, then each argument as u32
//   length and bytes (the first is the script's name), then the script. All little-endian.
inline constexpr std::uint32_t kRequestMagic = 0x3171726a;
inline constexpr std::uint32_t kMaxRequestBytes = 32u << 20;
// Owner to guest, this number alone, before it hands the pipe to a client: a request is to come.
// The guest runs its rehearsal once more meanwhile, which brings back into the caches what was
// touched when it parked. Optional.
inline constexpr std::uint32_t kRequestComes = 0x306e726a;  // "jrn0"

// A session begins instead: this number and a u32 of 0; what follows is jail/session/frames.h's.
inline constexpr std::uint32_t kSessionMagic = 0x3173726a;  // "jrs1"

struct Request {
  std::vector<std::string> argv;  // argv[0]: the script's name, as tracebacks and sys.argv show it
  std::string script;
};

std::string encode(const Request& request);

enum class Outcome : std::uint32_t { Done = 0, Exception = 1, Exit = 2 };

// Guest to client, 56 bytes on the answer pipe: the script has ended and its output is flushed.
struct AnswerFrame {
  static constexpr std::uint32_t kMagic = 0x3161726a;  // "jra1"
  std::uint32_t magic;
  Outcome outcome;
  std::int32_t status;  // exit status that the guest is about to end with
  std::uint32_t reserved;
  std::int64_t received_ns, first_ns, done_ns;  // CLOCK_MONOTONIC: request read, code begins, ended
  std::int64_t reserved_ns[2];
};
static_assert(sizeof(AnswerFrame) == 56);

// Nothing where it is no sound answer: wrong size, magic, outcome.
std::optional<AnswerFrame> parse_answer(std::string_view bytes);

}  // namespace jailrun
