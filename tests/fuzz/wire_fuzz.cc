// What either end of jaild's socket may be sent by the other. First byte: who reads, and whether
// the rest is one message or a stream of frames that comes in pieces; the second: how large these
// are.
#include <google/protobuf/stubs/logging.h>
#include <sys/socket.h>

#include "jail/compile/compile.h"
#include "jail/daemon/decode.h"
#include "jail/daemon/encode.h"
#include "jail/daemon/narrow.h"
#include "jail/daemon/wire.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"
#include "tests/fuzz/input.h"

namespace {

using namespace jailrun;
using fuzz::check;

struct Installed {
  Spec spec;
  std::unique_ptr<Plan> plan;
};

const Installed& python() {
  static const Installed installed = [] {
    const auto source = find_policy(JAILRUN_SOURCE_DIR "/policies/python.textproto").value();
    auto spec = parse(source.text, source.path, load_groups(source).value()).value();
    auto plan = compile(spec).value();
    return Installed{std::move(spec), std::move(plan)};
  }();
  return installed;
}

// As the daemon does before it does anything else.
void daemon_reads(std::string_view bytes) {
  daemon::ToDaemon message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  if (!message.has_lease()) return;
  const auto& overrides = message.lease().overrides();
  if (overrides.size() > 32) return;
  const LeaseLimits most = limits_of(*python().plan);
  const auto limits = narrow(python().spec, most, {overrides.begin(), overrides.end()});
  if (!limits) return check(!limits.error().name.empty() && !limits.error().message.empty());
  check(limits->memory_bytes <= most.memory_bytes && limits->pids <= most.pids);
  check(limits->cpu_millis <= most.cpu_millis && limits->cpu_ns <= most.cpu_ns);
  check(limits->output_bytes <= most.output_bytes && limits->wall_ns > 0);
}

void client_reads(std::string_view bytes) {
  const auto decoded = decode_message(bytes);
  daemon::FromDaemon message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  // Of a message that both understand, both know how many descriptors belong to it.
  if (decoded) check(decoded->descriptors == message.descriptors());
}

void stream(std::string_view bytes, std::size_t step, void (*read)(std::string_view)) {
  int ends[2];
  check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const Fd from(ends[0]), to(ends[1]);
  wire::Reader reader;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    const std::string_view piece = bytes.substr(at, step);
    check(::send(from.get(), piece.data(), piece.size(), 0) == static_cast<ssize_t>(piece.size()));
    if (!reader.receive(to.get(), MSG_DONTWAIT)) return;
    for (;;) {
      const auto frame = reader.next();
      if (!frame) return;
      if (!*frame) break;
      check((*frame)->size() <= wire::kMaxFrameBytes);
      read(**frame);
      check(!reader.take(1));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);  // as jaild does
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input bytes(data, size);
  const std::uint8_t how = bytes.byte();
  const std::size_t step = bytes.byte() + std::size_t{1};
  const auto read = how % 2 == 0 ? daemon_reads : client_reads;
  if (how / 2 % 2 == 0) {
    read(bytes.rest());
  } else {
    stream(bytes.rest(), step, read);
  }
  return 0;
}
