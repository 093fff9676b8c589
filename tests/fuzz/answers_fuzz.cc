// What a hostile interpreter says of its cells, up to the replies that clients of the service get.
#include "agent/service/views.h"
#include "jail/run/frames.h"
#include "jail/session/frames.h"
#include "tests/fuzz/input.h"

namespace {

using namespace jailrun;

void reply(const CellAnswer& answer) {
  for (const auto& view :
       {service::cell_view(answer, 0.5), service::execute_view("a session", answer, 0.5, 30)}) {
    const service::HttpReply sent = service::json_reply(view);
    fuzz::check(nlohmann::json::accept(sent.body));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto frame = parse_answer(bytes))
    fuzz::check(frame->magic == AnswerFrame::kMagic && frame->outcome <= Outcome::Exit);
  AnswerReader reader;
  reader.put(bytes);
  CellAnswer answer;
  answer.out = std::string(bytes.substr(0, 64));
  while (auto frame = reader.next(1 << 20)) {
    if (text_of(frame->head, "kind") == "answer") {
      answer.head = std::move(frame->head);
      answer.body = std::move(frame->body);
      reply(answer);
    } else {
      answer.displays.push_back(std::move(*frame));
    }
  }
  reply(answer);
  return 0;
}
