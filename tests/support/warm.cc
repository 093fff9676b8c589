#include "tests/support/warm.h"

#include <poll.h>

#include <cerrno>
#include <cstdio>

namespace jailrun::test {
namespace {

constexpr int kPatienceMs = 60'000;  // an emulated machine imports pandas in fifteen seconds

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  int n = 0;
  while ((n = ::poll(&entry, 1, kPatienceMs)) < 0 && errno == EINTR) {
  }
  return n > 0;
}

// Both streams and the answer until their end; never blocked by one of them.
void drain(WarmJail::Ends& ends, WarmRun& run) {
  std::string answer;
  struct {
    Fd& fd;
    std::string& text;
  } streams[] = {{ends.out, run.out}, {ends.err, run.err}, {ends.answer, answer}};
  for (;;) {
    pollfd entries[3];
    int open = 0;
    for (int i = 0; i < 3; ++i) {
      entries[i] = {streams[i].fd.get(), POLLIN, 0};
      open += streams[i].fd.valid() ? 1 : 0;
    }
    if (open == 0 || ::poll(entries, 3, kPatienceMs) <= 0) break;
    for (int i = 0; i < 3; ++i) {
      if (!streams[i].fd.valid() || entries[i].revents == 0) continue;
      char buffer[65536];
      const ssize_t n = ::read(entries[i].fd, buffer, sizeof buffer);
      if (n > 0) streams[i].text.append(buffer, static_cast<std::size_t>(n));
      if (n == 0) streams[i].fd.reset();
      if (i == 2 && run.answered_ns == 0) run.answered_ns = monotonic_ns();
    }
  }
  run.answer = parse_answer(answer);
}

}  // namespace

std::unique_ptr<World> start_world(const Plan& plan) {
  Expected<std::unique_ptr<World>> world = World::start(plan, 2, JAILRUN_BIN_DIR);
  std::string report;
  Expected<bool> ready = false;
  if (!world) {
    std::fprintf(stderr, "%s\n", world.error().line().c_str());
    return nullptr;
  }
  while (ready && !*ready && readable((*world)->zygote_fd()))
    ready = (*world)->zygote_ready(report);
  if (ready && *ready) return std::move(*world);
  std::fprintf(stderr, "%s\n", ready ? "the zygote hangs" : ready.error().line().c_str());
  return nullptr;
}

Expected<std::unique_ptr<WarmJail>> park(World& world, Stage fail_at) {
  TRY(std::unique_ptr<WarmJail> jail, WarmJail::begin(world, false, fail_at));
  while (jail->state() != WarmJail::State::Parked) {
    if (!readable(jail->control_fd()))
      return std::unexpected(Error{Stage::Spawn, "jail", 0, "a warm jail hangs", ""});
    TRY_VOID(jail->advance());
  }
  return jail;
}

WarmRun run_in(World& world, WarmJail& jail, const std::string& script, const std::string& input) {
  WarmRun run;
  WarmJail::Ends ends = jail.take_ends();
  const std::string request = encode(Request{{"script.py"}, script});
  const std::int64_t leased = monotonic_ns();
  run.sent_ns = leased;
  (void)write_all(ends.request.get(), request.data(), request.size());
  (void)write_all(ends.in.get(), input.data(), input.size());
  ends.in.reset();
  drain(ends, run);
  while (!jail.gone() && readable(world.keeper_fd())) {
    Expected<std::optional<Ended>> ended = world.next_ended();
    if (!ended) break;
    if (!*ended) continue;
    jail.note(**ended);
    if (jail.guest_ended() && !jail.gone()) jail.kill();
  }
  run.gone_ns = monotonic_ns();
  Evidence evidence;
  evidence.wall_ns = static_cast<std::uint64_t>(run.gone_ns - leased);
  run.result = jail.settle(world.plan(), evidence);
  return run;
}

}  // namespace jailrun::test
