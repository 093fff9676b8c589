// Where a program logs to, from its command line, else from LOG_LEVEL, LOG_FILE and LOG_FORMAT.
#pragma once

#include <CLI/CLI.hpp>

#include "jail/daemon/log.h"

namespace jailrun {

inline void add_log_options(CLI::App& app, LogOptions& log) {
  app.add_option("--log-level", log.level, "debug, info (default), warning, error or critical")
      ->envname("LOG_LEVEL")
      ->type_name("LEVEL");
  app.add_option("--log-file", log.file, "a file to append the log to, besides stderr")
      ->envname("LOG_FILE")
      ->type_name("FILE");
  app.add_option("--log-format", log.format, "text (default) or json")
      ->envname("LOG_FORMAT")
      ->type_name("FORMAT");
}

}  // namespace jailrun
