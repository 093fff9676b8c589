#include "agent/service/cells.h"

#include <sys/epoll.h>

namespace jailrun::service {
namespace {

// Readable as soon as one of the two is.
Fd either(int first, int second) {
  Fd both(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  for (const int fd : {first, second})
    if (fd >= 0) ::epoll_ctl(both.get(), EPOLL_CTL_ADD, fd, &event);
  return both;
}

}  // namespace

std::string text_in(const Json& body, const char* key, const std::string& otherwise) {
  const auto found = body.find(key);
  return found != body.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

double number_in(const Json& body, const char* key, double otherwise) {
  const auto found = body.find(key);
  return found != body.end() && found->is_number() ? found->get<double>() : otherwise;
}

bool flag_in(const Json& body, const char* key) {
  const auto found = body.find(key);
  return found != body.end() && found->is_boolean() && found->get<bool>();
}

std::vector<std::string> texts_in(const Json& body, const char* key) {
  std::vector<std::string> texts;
  const auto found = body.find(key);
  if (found != body.end() && found->is_array())
    for (const Json& each : *found)
      if (each.is_string()) texts.push_back(each.get<std::string>());
  return texts;
}

Expected<Timed> execute_in(SessionBook::Held& held, const Json& body, const HttpRequest& http,
                           CellOptions options, double timeout_s) {
  options.wall_ns =
      static_cast<std::uint64_t>(number_in(body, "timeout", timeout_s) * 1'000'000'000.0);
  options.transactional = flag_in(body, "transactional");
  const Fd cancel = either(http.gone, held.entry().interrupt.get());
  options.cancel = cancel.get();
  const std::int64_t begun = monotonic_ns();
  Expected<CellAnswer> answer = held.session().execute(text_in(body, "code"), options);
  if (!answer || answer->ended) held.entry().ended = true;
  if (!answer) {  // jaild is gone, and all jails with it
    return std::unexpected(
        Error{Stage::None, "session", 503, answer.error().message, "make a new session"});
  }
  return Timed{std::move(*answer), static_cast<double>(monotonic_ns() - begun) / 1e9};
}

}  // namespace jailrun::service
