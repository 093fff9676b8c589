#include "jail/daemon/log.h"

#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

#include "jail/sys/fd.h"

namespace jailrun {
namespace {

constexpr std::size_t kMostMessage = 16 << 10;

struct Level {
  const char *name, *shown;
  spdlog::level::level_enum value;
};
constexpr std::array<Level, 6> kLevels{{{"debug", "DEBUG", spdlog::level::debug},
                                        {"info", "INFO", spdlog::level::info},
                                        {"warning", "WARNING", spdlog::level::warn},
                                        {"warn", "WARNING", spdlog::level::warn},
                                        {"error", "ERROR", spdlog::level::err},
                                        {"critical", "CRITICAL", spdlog::level::critical}}};

using Ids = std::vector<std::pair<std::string, std::string>>;
Ids& ids_of_thread() {
  thread_local Ids ids;
  return ids;
}

std::string lower(std::string text) {
  std::ranges::transform(
      text, text.begin(), [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; },
      [](char c) { return static_cast<unsigned char>(c); });
  return text;
}

const Level* level_of(const LogOptions& options) {
  const std::string name = options.level.empty() ? "info" : lower(options.level);
  const auto* const found =
      std::ranges::find_if(kLevels, [&](const Level& each) { return name == each.name; });
  return found == kLevels.end() ? nullptr : found;
}

const char* shown(spdlog::level::level_enum level) {
  for (const Level& each : kLevels)
    if (each.value == level) return each.shown;
  return "DEBUG";
}

std::string hex(unsigned char byte) {
  constexpr const char* kDigits = "0123456789abcdef";
  return std::string("\\x") + kDigits[byte >> 4U] + kDigits[byte & 0xfU];
}

// What a terminal, a pager or a program takes for the end of a line or for an order: control
// characters, those of U+0080 to U+009F, U+2028 and U+2029.
std::string one_line(std::string_view text) {
  std::string out;
  const auto byte = [&](std::size_t at) {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
  };
  for (std::size_t at = 0; at < text.size(); ++at) {
    const unsigned c = byte(at);
    const bool high = c == 0xc2 && byte(at + 1) >= 0x80 && byte(at + 1) < 0xa0;
    const bool line = c == 0xe2 && byte(at + 1) == 0x80 && (byte(at + 2) & 0xfeU) == 0xa8;
    if (c == '\n')
      out += "\\n";
    else if (c < 0x20 || c == 0x7f)
      out += hex(static_cast<unsigned char>(c));
    else if (high)
      out += hex(static_cast<unsigned char>(byte(++at)));
    else if (line)
      out += byte(at += 2) == 0xa8 ? "\\u2028" : "\\u2029";
    else
      out += text[at];
  }
  return out;
}

std::string time_of(spdlog::log_clock::time_point when, bool utc) {
  const auto since = when.time_since_epoch();
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
  const auto seconds = static_cast<std::time_t>(millis / 1000);
  std::tm parts{};
  if (utc)
    ::gmtime_r(&seconds, &parts);
  else
    ::localtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  const auto size = std::strftime(text.data(), text.size(),
                                  utc ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &parts);
  const std::string rest = std::to_string(1000 + millis % 1000).substr(1);
  return std::string(text.data(), size) + (utc ? "." : ",") + rest + (utc ? "Z" : "");
}

class Line : public spdlog::formatter {
 public:
  Line(bool json, LogFilter filter) : json_(json), filter_(std::move(filter)) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string line = json_ ? as_json(message) : as_text(message);
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<formatter> clone() const override {
    return std::make_unique<Line>(json_, filter_);
  }

 private:
  static std::string text_of(spdlog::string_view_t view) { return {view.data(), view.size()}; }
  // A key that the cut would halve is gone before it.
  std::string kept(const std::string& text) const {
    std::string out = filter_ ? filter_(text) : text;
    if (out.size() > kMostMessage) {
      const auto left_out = std::to_string(out.size() - kMostMessage);
      out = out.substr(0, kMostMessage) + "… " + left_out + " bytes left out";
    }
    return out;
  }
  std::string as_text(const spdlog::details::log_msg& message) const {
    std::string ids;
    for (const auto& [name, value] : ids_of_thread())
      ids += (ids.empty() ? "[" : " ") + name + "=" + one_line(kept(value));
    return time_of(message.time, false) + " - " + text_of(message.logger_name) + " - " +
           shown(message.level) + " - " + ids + (ids.empty() ? "" : "] ") +
           one_line(kept(text_of(message.payload))) + "\n";
  }
  std::string as_json(const spdlog::details::log_msg& message) const {
    nlohmann::ordered_json line = {{"time", time_of(message.time, true)},
                                   {"level", shown(message.level)},
                                   {"logger", text_of(message.logger_name)},
                                   {"message", kept(text_of(message.payload))}};
    for (const auto& [name, value] : ids_of_thread()) line[name] = kept(value);
    // ASCII alone: no character of a message ends the line for any reader.
    return line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
  }

  bool json_;
  LogFilter filter_;
};

// One write(2) a line: programs that append to one file do not mix their lines.
class Lines : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit Lines(Fd fd) : fd_(std::move(fd)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    (void)write_all(fd_.get(), line.data(), line.size());
  }
  void flush_() override {}

 private:
  Fd fd_;
};

Expected<Fd> append_to(const std::string& path) {
  const char* const remedy = "name a file that you may write, with LOG_FILE or --log-file";
  // O_NONBLOCK: a FIFO without a reader is refused, not waited for.
  Fd file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                 0600));
  if (!file.valid())
    return std::unexpected(sys_error(Stage::None, path, "cannot write the log " + path, remedy));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return std::unexpected(
        Error{Stage::None, path, 0, "the log " + path + " is no regular file", remedy});
  return file;
}

}  // namespace

Expected<void> check_log(const LogOptions& options) {
  if (level_of(options) == nullptr)
    return std::unexpected(Error{Stage::None, "LOG_LEVEL", 0,
                                 "there is no log level " + one_line(options.level),
                                 "use debug, info, warning, error or critical"});
  const std::string format = lower(options.format);
  if (!format.empty() && format != "text" && format != "json")
    return std::unexpected(Error{Stage::None, "LOG_FORMAT", 0,
                                 "there is no log format " + one_line(options.format),
                                 "use text or json"});
  return {};
}

Expected<std::shared_ptr<spdlog::logger>> open_log(const std::string& name,
                                                   const LogOptions& options, bool console,
                                                   LogFilter filter) {
  TRY_VOID(check_log(options));
  std::vector<spdlog::sink_ptr> sinks;
  if (console)
    sinks.push_back(std::make_shared<Lines>(Fd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3))));
  if (!options.file.empty()) {
    TRY(Fd file, append_to(options.file));
    sinks.push_back(std::make_shared<Lines>(std::move(file)));
  }
  auto log = std::make_shared<spdlog::logger>(name, sinks.begin(), sinks.end());
  log->set_formatter(std::make_unique<Line>(lower(options.format) == "json", std::move(filter)));
  log->set_level(sinks.empty() ? spdlog::level::off : level_of(options)->value);
  spdlog::set_default_logger(log);
  return log;
}

LogScope::LogScope(std::string name, std::string value) {
  Ids::value_type id(std::move(name), std::move(value));
  Ids& ids = ids_of_thread();
  added_ = std::ranges::find(ids, id) == ids.end();
  if (added_) ids.push_back(std::move(id));
}
LogScope::~LogScope() {
  if (added_) ids_of_thread().pop_back();
}

}  // namespace jailrun
