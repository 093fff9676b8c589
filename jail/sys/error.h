// Error: we could not do our work. (What became of a guest is Result.verdict, never an Error.)
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "jail/sys/stage.h"

namespace jailrun {

struct Error {
  Stage stage = Stage::None;  // the step of confinement that failed, or None outside of a launch
  std::string object;         // what it was about: a path, a field, a limit
  int errno_value = 0;        // 0 where no system call failed
  std::string message;        // lower case, names the object
  std::string remedy;         // what the reader can do about it; never empty

  // One line: "MESSAGE: STRERROR; REMEDY".
  std::string line() const;
};

template <typename T>
using Expected = std::expected<T, Error>;

// The name of an errno, "ENOENT"; "errno NNN" for one without a name.
std::string errno_name(int errno_value);

// An Error from the current errno.
Error sys_error(Stage stage, std::string object, std::string message, std::string remedy);

}  // namespace jailrun

// Returns the Error of an Expected, or gives its value.
#define JAILRUN_CONCAT_(a, b) a##b
#define JAILRUN_CONCAT(a, b) JAILRUN_CONCAT_(a, b)
#define TRY(declaration, expression)                                           \
  auto JAILRUN_CONCAT(try_, __LINE__) = (expression);                          \
  if (!JAILRUN_CONCAT(try_, __LINE__))                                         \
    return std::unexpected(std::move(JAILRUN_CONCAT(try_, __LINE__).error())); \
  declaration = std::move(*JAILRUN_CONCAT(try_, __LINE__))
#define TRY_VOID(expression)                                                \
  do {                                                                      \
    auto try_result = (expression);                                         \
    if (!try_result) return std::unexpected(std::move(try_result.error())); \
  } while (false)
