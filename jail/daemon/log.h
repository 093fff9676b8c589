// The log of a program that logs: one place that decides what a line looks like and where it goes.
// A line is `2026-01-31 12:00:00,123 - jaild - INFO - [request_id=…] message`, or one JSON object
// with time (UTC), level, logger, message and the ids. Nothing that stands in a message begins a
// line of its own or looks like an id of ours: newlines and control characters are escaped.
#pragma once

#include <spdlog/spdlog.h>

#include <functional>
#include <memory>
#include <string>

#include "jail/sys/error.h"

namespace jailrun {

struct LogOptions {
  std::string level{};   // debug, info, warning, error, critical, in any case; empty: info
  std::string file{};    // appended to, readable by its owner alone; empty: none
  std::string format{};  // text or json; empty: text
};

// Error: a level or a format that does not exist. Opens nothing.
Expected<void> check_log(const LogOptions& options);

// What becomes of each message and id before it is written: where keys are taken out.
using LogFilter = std::function<std::string(const std::string&)>;

// Makes `name` the program's own logger (spdlog::info and its kin), on stderr where `console` says
// so, and in the file. Called again it replaces the one of before: no line is written twice. Error:
// as check_log, or a file that cannot be appended to. What cannot be written later is lost without
// a word: a log must not end the work that it tells of.
Expected<std::shared_ptr<spdlog::logger>> open_log(const std::string& name,
                                                   const LogOptions& options, bool console,
                                                   LogFilter filter = {});

// All lines that this thread writes while it lives bear `name`=`value`, once.
class LogScope {
 public:
  LogScope(std::string name, std::string value);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

 private:
  bool added_;
};

}  // namespace jailrun
