// `jailrun top`: jaild, and jailagent where it answers, as they go.
#include <curl/curl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "jail/launch/timeline.h"
#include "tools/full/top_view.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

constexpr int kOurFailure = 125;
constexpr long kServiceMs = 500;
constexpr std::size_t kMostReply = 4 << 20;

struct Asked {
  bool once = false, json = false;
  double interval = 1;
  std::string service;
};

std::size_t append(char* data, std::size_t, std::size_t size, void* into) {
  auto& text = *static_cast<std::string*>(into);
  if (text.size() + size > kMostReply) return 0;
  text.append(data, size);
  return size;
}

std::string service_address(const Asked& asked) {
  if (!asked.service.empty()) return asked.service;
  const char* const listen = std::getenv("JAILAGENT_LISTEN");
  return listen != nullptr && *listen != '\0' ? listen : "127.0.0.1:8000";
}

// Its samples by name with labels; none where nobody answers.
std::map<std::string, double> ask_service(const Asked& asked) {
  std::map<std::string, double> samples;
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  if (!curl) return samples;
  const std::string address = service_address(asked);
  std::string url = "http://" + address + "/metrics", body;
  if (address.starts_with('/')) {
    curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, address.c_str());
    url = "http://localhost/metrics";
  }
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, kServiceMs);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &append);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body);
  if (curl_easy_perform(curl.get()) != CURLE_OK) return samples;
  std::istringstream in(body);
  for (std::string line; std::getline(in, line);) {
    const std::size_t space = line.rfind(' ');
    if (line.starts_with("jailagent_") && space != std::string::npos)
      samples[line.substr(0, space)] = std::strtod(line.c_str() + space, nullptr);
  }
  return samples;
}

Sample look(const Asked& asked) {
  Sample sample;
  sample.at_ns = monotonic_ns();
  sample.service = ask_service(asked);
  Expected<Client> client = Client::connect();
  const auto take = [&sample](auto&& answer, auto& into) {
    if (answer) {
      into = std::move(*answer);
    } else if (sample.fault.empty()) {
      sample.fault = answer.error().line();
    }
  };
  if (!client) {
    sample.fault = client.error().line();
    return sample;
  }
  take(client->stats(), sample.metrics);
  if (sample.fault.empty()) take(client->ps(), sample.jails);
  if (sample.fault.empty()) take(client->sessions(), sample.sessions);
  return sample;
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// The terminal as a screen, as long as this lives: keys as they are pressed, and afterwards all as
// it was.
class Terminal {
 public:
  Terminal() {
    sigset_t wanted;
    ::sigemptyset(&wanted);
    for (const int each : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) ::sigaddset(&wanted, each);
    ::sigprocmask(SIG_BLOCK, &wanted, &mask_);
    signals_ = Fd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    keys_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
    if (keys_) {
      termios raw = before_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    print("\x1b[?1049h\x1b[?25l");
  }
  ~Terminal() {
    print("\x1b[?25h\x1b[?1049l");
    if (keys_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    ::sigprocmask(SIG_SETMASK, &mask_, nullptr);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  static Screen screen() {
    Screen screen;
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
      screen.columns = size.ws_col;
      screen.rows = size.ws_row;
    }
    screen.colour = std::getenv("NO_COLOR") == nullptr;
    return screen;
  }

  enum class Heard { Nothing, Redraw, Quit };
  Heard wait(int ms) {
    pollfd watched[2] = {{signals_.get(), POLLIN, 0}, {keys_ ? STDIN_FILENO : -1, POLLIN, 0}};
    if (::poll(watched, 2, ms) <= 0) return Heard::Nothing;
    signalfd_siginfo info{};
    if (::read(signals_.get(), &info, sizeof info) == sizeof info)
      return info.ssi_signo == SIGWINCH ? Heard::Redraw : Heard::Quit;
    char key = 0;
    const bool is_gone = watched[1].revents != 0 && ::read(STDIN_FILENO, &key, 1) != 1;
    return is_gone || key == 'q' || key == 'Q' || key == 3 ? Heard::Quit : Heard::Redraw;
  }

 private:
  Fd signals_;
  sigset_t mask_{};
  termios before_{};
  bool keys_ = false;
};

void draw(const Sample& now, const Sample* before) {
  Screen screen = Terminal::screen();
  --screen.rows;  // for the last line, which must not scroll
  std::string text = "\x1b[H";
  for (const std::string& line : lines_of(now, before, screen)) text += line + "\x1b[K\r\n";
  print(text + "\x1b[J" + std::string("q quits").substr(0, screen.columns));
}

int watch(const Asked& asked) {
  const auto pause_ms = static_cast<int>(asked.interval * 1000);
  Terminal terminal;
  Sample before, now = look(asked);
  bool has_before = false;
  for (;;) {
    draw(now, has_before ? &before : nullptr);
    const std::int64_t due = now.at_ns + std::int64_t{pause_ms} * 1'000'000;
    for (std::int64_t left = due - monotonic_ns(); left > 0; left = due - monotonic_ns()) {
      const auto heard = terminal.wait(static_cast<int>(left / 1'000'000) + 1);
      if (heard == Terminal::Heard::Quit) return 0;
      if (heard == Terminal::Heard::Redraw) draw(now, has_before ? &before : nullptr);
    }
    before = std::move(now);
    has_before = true;
    now = look(asked);
  }
}

int top(const Asked& asked) {
  // Whatever is no terminal is told once, and in plain text.
  const bool is_live = !asked.once && ::isatty(STDOUT_FILENO) == 1 && !asked.json;
  if (is_live) return watch(asked);
  if (asked.json && !asked.once) {
    Sample before, now = look(asked);
    for (const Sample* last = nullptr;; last = &before) {
      print(json_of(now, last) + "\n");
      if (std::ferror(stdout) != 0) return kOurFailure;
      ::usleep(static_cast<useconds_t>(asked.interval * 1e6));
      before = std::move(now);
      now = look(asked);
    }
  }
  const Sample now = look(asked);
  if (asked.json) {
    print(json_of(now, nullptr) + "\n");
  } else {
    for (const std::string& line : lines_of(now, nullptr, {1000, 1000, false})) print(line + "\n");
  }
  return now.fault.empty() ? 0 : kOurFailure;
}

}  // namespace

void add_top(CLI::App& app, int& status) {
  const auto asked = std::make_shared<Asked>();
  CLI::App* verb = app.add_subcommand(
      "top", "watch jaild and the service: pools, rates, verdicts, jails by memory. q quits");
  verb->add_flag("--once", asked->once, "print it once; always so where stdout is no terminal");
  verb->add_flag("--json", asked->json, "one JSON object each time");
  verb->add_option("--interval", asked->interval, "seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  verb->add_option("--service", asked->service,
                   "ADDRESS:PORT or unix socket of jailagent (default: JAILAGENT_LISTEN, else "
                   "127.0.0.1:8000)");
  verb->callback([asked, &status] { status = top(*asked); });
}

}  // namespace jailrun::full
