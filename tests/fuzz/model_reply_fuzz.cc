// What a server of models may send: any bytes, in pieces of any size, as a stream of events or as a
// whole body, in each protocol. The first byte chooses protocol and form, the second the pieces.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/llm/json.h"
#include "agent/llm/protocol.h"
#include "agent/llm/sse.h"

namespace {

using namespace jailrun::agent;

void stream(const Protocol& protocol, std::string_view bytes, std::size_t step) {
  EventStream events;
  const auto reply = protocol.assemble();
  std::size_t heard = 0;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    const bool sane = events.put(bytes.substr(at, step), [&](const auto& event, const auto& data) {
      if (!reply->fault().empty() || reply->whole()) return;
      if (data == "[DONE]") return reply->end();
      const auto body = parse_json(data);
      if (body.is_object()) heard += reply->add(event, body).size();
    });
    if (!sane) return;
  }
  if (reply->whole()) (void)protocol.parse(reply->take());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const Protocol* const protocols[] = {&kChatCompletions, &kResponses, &kMessages};
  const Protocol& protocol = *protocols[data[0] % 3];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[0] < 128) {
    (void)protocol.parse(parse_json(bytes));
  } else {
    stream(protocol, bytes, data[1] + std::size_t{1});
  }
  return 0;
}
