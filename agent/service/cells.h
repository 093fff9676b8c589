// One cell of a request: what its body asks for, executed in a held session.
#pragma once

#include "agent/service/routes.h"
#include "agent/service/session_book.h"

namespace jailrun::service {

inline constexpr double kDefaultTimeout = 30;  // seconds

std::string text_in(const Json& body, const char* key, const std::string& otherwise = {});
double number_in(const Json& body, const char* key, double otherwise);
bool flag_in(const Json& body, const char* key);
// The texts of an array; what is no text is left out.
std::vector<std::string> texts_in(const Json& body, const char* key);

struct Timed {
  CellAnswer answer;
  double seconds = 0;
};

// `body`: code, timeout, transactional. Whoever asked and goes away interrupts it.
Expected<Timed> execute_in(SessionBook::Held& held, const Json& body, const HttpRequest& http,
                           CellOptions options = {}, double timeout_s = kDefaultTimeout);

}  // namespace jailrun::service
