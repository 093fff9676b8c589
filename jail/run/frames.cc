#include "jail/run/frames.h"

#include <bit>
#include <cstring>

namespace jailrun {
namespace {

static_assert(std::endian::native == std::endian::little, "frames are little-endian");

void append(std::string& to, std::uint32_t number) {
  char bytes[sizeof number];
  std::memcpy(bytes, &number, sizeof number);
  to.append(bytes, sizeof bytes);
}

std::uint32_t size32(std::size_t size) { return static_cast<std::uint32_t>(size); }

}  // namespace

std::string encode(const Request& request) {
  std::size_t size = sizeof(std::uint32_t) + request.script.size();
  for (const std::string& argument : request.argv) size += sizeof(std::uint32_t) + argument.size();
  std::string frame;
  frame.reserve(2 * sizeof(std::uint32_t) + size);
  append(frame, kRequestMagic);
  append(frame, size32(size));
  append(frame, size32(request.argv.size()));
  for (const std::string& argument : request.argv) {
    append(frame, size32(argument.size()));
    frame += argument;
  }
  return frame += request.script;
}

std::optional<AnswerFrame> parse_answer(std::string_view bytes) {
  AnswerFrame answer;
  if (bytes.size() != sizeof answer) return std::nullopt;
  // The outcome is checked as the number that it is on the wire: no enum holds what it cannot name.
  std::uint32_t outcome = 0;
  std::memcpy(&outcome, bytes.data() + offsetof(AnswerFrame, outcome), sizeof outcome);
  if (outcome > static_cast<std::uint32_t>(Outcome::Exit)) return std::nullopt;
  std::memcpy(&answer, bytes.data(), sizeof answer);
  if (answer.magic != AnswerFrame::kMagic) return std::nullopt;
  return answer;
}

}  // namespace jailrun
