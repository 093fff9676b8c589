#include "jail/sys/error.h"

#include <cerrno>
#include <cstring>

namespace jailrun {

std::string Error::line() const {
  std::string text = message;
  if (errno_value != 0) {
    text += ": ";
    text +=
        strerrordesc_np(errno_value) != nullptr ? strerrordesc_np(errno_value) : "unknown error";
  }
  if (!remedy.empty()) {
    text += "; ";
    text += remedy;
  }
  return text;
}

std::string errno_name(int errno_value) {
  const char* name = strerrorname_np(errno_value);
  return name != nullptr ? name : "errno " + std::to_string(errno_value);
}

Error sys_error(Stage stage, std::string object, std::string message, std::string remedy) {
  return Error{stage, std::move(object), errno, std::move(message), std::move(remedy)};
}

}  // namespace jailrun
