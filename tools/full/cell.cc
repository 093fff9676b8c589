#include "tools/full/cell.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "jail/sys/units.h"

namespace jailrun::full {
namespace {

// What a guest says must not steer a terminal: control characters but tab and newline go, those of
// C1 (U+0080 to U+009F, or the bytes 80 to 9F by themselves) as well. Characters may come in parts.
class Plain {
 public:
  std::string operator()(std::string_view text) {
    std::string out;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x80 && byte < 0xc0) {
        const bool c1 = byte < 0xa0 && (rest_ == 0 || first_ == 0xc2);
        if (rest_ > 0) --rest_;
        if (!c1 && first_ == 0xc2) out += '\xc2';
        if (!c1) out += c;
        first_ = 0;
        continue;
      }
      rest_ = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
      first_ = byte;
      const bool control = byte < 0x20 || byte == 0x7f;
      if (byte != 0xc2 && (!control || c == '\n' || c == '\t')) out += c;
    }
    return out;
  }

 private:
  unsigned char first_ = 0;
  int rest_ = 0;
};

std::string printable_text(const std::string& text) { return Plain()(text); }

void write_raw(int fd, std::string_view bytes) {
  static Plain plain[2];
  const std::string text =
      ::isatty(fd) != 0 ? plain[fd == STDERR_FILENO ? 1 : 0](bytes) : std::string(bytes);
  (void)write_all(fd, text.data(), text.size());
}

// SIGINT as a descriptor while something is executed.
class Interrupts {
 public:
  Interrupts() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGINT);
    ::sigprocmask(SIG_BLOCK, &set, &before_);
    fd_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~Interrupts() {
    signalfd_siginfo info{};
    while (::read(fd_.get(), &info, sizeof info) > 0) {
    }
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  int fd() const { return fd_.get(); }

 private:
  sigset_t before_{};
  Fd fd_;
};

std::string shown(const SessionFrame& frame) {
  const auto data = frame.head.find("data");
  if (data == frame.head.end() || !data->is_object()) return {};
  std::string text = text_of(*data, "text/plain");
  if (!text.empty()) return text;
  const auto bodies = frame.head.find("bodies");
  if (bodies == frame.head.end() || !bodies->is_array()) return {};
  std::string names;
  for (const Json& each : *bodies)
    if (each.is_array() && each.size() == 2 && each[0].is_string())
      names += "<" + each[0].get<std::string>() + ", " + format_bytes(frame.body.size()) + ">";
  return names;
}

void tell_files(const CellAnswer& answer) {
  for (const char* list : {"files", "files_skipped"}) {
    const auto files = answer.head.find(list);
    if (files == answer.head.end() || !files->is_array()) continue;
    for (const Json& each : *files) {
      if (!each.is_object()) continue;
      std::string name = printable_text(text_of(each, "name"));
      std::ranges::replace(name, '\n', '?');
      const std::string reason = printable_text(text_of(each, "reason"));
      std::fprintf(
          stderr, "jailrun: %s%s%s%s\n", reason.empty() ? "file " : "not to be had: ", name.c_str(),
          name.empty() ? "" : ", ",
          reason.empty() ? format_bytes(number_of(each, "bytes")).c_str() : reason.c_str());
    }
  }
}

}  // namespace

int fail(const std::string& line) {
  std::fprintf(stderr, "jailrun: %s\n", printable_text(line).c_str());
  return kOurFailure;
}

int tell(const CellAnswer& answer) {
  if (answer.ended) {
    const Result& result = answer.ended->result;
    std::fprintf(stderr, "jailrun: the session has ended: %s: %s\n",
                 std::string(name(result.verdict)).c_str(), result.reason.c_str());
    return result.status == 0 ? kGuestFailure : result.status;
  }
  if (answer.out_truncated || answer.err_truncated)
    std::fprintf(stderr, "jailrun: output cut at the policy's limit\n");
  if (answer.displays_dropped > 0)
    std::fprintf(stderr, "jailrun: %zu displays left out: too many, or too large\n",
                 answer.displays_dropped);
  const std::string outcome = text_of(answer.head, "outcome");
  if (const auto error = answer.head.find("error");
      error != answer.head.end() && error->is_object()) {
    std::string text = text_of(*error, "traceback");
    if (text.empty()) text = text_of(*error, "type") + ": " + text_of(*error, "message") + "\n";
    if (text.back() != '\n') text += '\n';
    if (const std::string advice = text_of(*error, "advice"); !advice.empty())
      text += "hint: " + advice + "\n";
    write_raw(STDERR_FILENO, text);
  }
  if (answer.head.contains("rolled_back"))
    std::fprintf(stderr, "jailrun: rolled back to what was there before\n");
  tell_files(answer);
  if (outcome == "exit") return static_cast<int>(number_of(answer.head, "status") & 0xff);
  if (outcome == "interrupted" && answer.wall_hit) {
    std::fprintf(stderr, "jailrun: interrupted at its wall limit of %s; its state is kept\n",
                 format_duration(answer.wall_ns).c_str());
    return kTimedOut;
  }
  if (outcome == "interrupted") return kInterrupted;
  return outcome == "ok" ? 0 : kGuestFailure;
}

Expected<CellAnswer> run_cell(Session& session, const std::string& code,
                              const CellArguments& arguments) {
  const Interrupts interrupts;
  CellOptions options;
  options.transactional = arguments.transactional;
  options.cancel = interrupts.fd();
  if (!arguments.timeout.empty()) {
    const std::optional<std::uint64_t> wall = parse_duration_ns(arguments.timeout);
    if (!wall || *wall == 0) {
      return std::unexpected(Error{Stage::None, "--timeout", 0,
                                   "--timeout " + arguments.timeout + " is no duration",
                                   "write 5s, 500ms or 2m"});
    }
    options.wall_ns = *wall;
  }
  if (!arguments.json) {
    options.out = [](std::string_view bytes) { write_raw(STDOUT_FILENO, bytes); };
    options.err = [](std::string_view bytes) { write_raw(STDERR_FILENO, bytes); };
    options.display = [](const SessionFrame& frame) {
      write_raw(STDOUT_FILENO, shown(frame) + "\n");
    };
  }
  return session.execute(code, options);
}

void print_json(const CellAnswer& answer) {
  Json all = answer.head;
  all["stdout"] = answer.out;
  all["stderr"] = answer.err;
  all["displays"] = Json::array();
  for (const SessionFrame& frame : answer.displays) {
    Json one = frame.head;
    one["body_bytes"] = frame.body.size();
    all["displays"].push_back(one);
  }
  if (answer.ended) {
    all["outcome"] = "ended";
    all["verdict"] = std::string(name(answer.ended->result.verdict));
    all["reason"] = answer.ended->result.reason;
  }
  std::printf("%s\n", all.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
}

}  // namespace jailrun::full
