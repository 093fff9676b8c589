// What a hostile interpreter may write into its answers: any bytes, in pieces of any size.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "jail/session/frames.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = data[0] + std::size_t{1};
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  jailrun::AnswerReader reader;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    reader.put(bytes.substr(at, step));
    while (const auto frame = reader.next()) {
      (void)jailrun::text_of(frame->head, "kind");
      (void)jailrun::number_of(frame->head, "id");
    }
  }
  return 0;
}
