// The head of a request, made out of what came; for http_connection.h alone.
#pragma once

#include <sys/random.h>

#include <algorithm>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <string>
#include <string_view>

#include "agent/service/http_server.h"
#include "agent/store/hex.h"

namespace jailrun::service::http_detail {

namespace beast = boost::beast;
namespace http = beast::http;

inline std::string new_id() {
  unsigned char bytes[8];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return "0";
  return store::hex(bytes, sizeof bytes);
}

// Into logs and back to the client: nothing else than what we would have made.
inline bool is_plain_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::ranges::all_of(id, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  });
}

inline bool fill(const http::request_header<>& head, HttpRequest& request) {
  const std::string_view target(head.target().data(), head.target().size());
  const std::size_t question = target.find('?');
  request.path = target.substr(0, question);
  if (!request.path.starts_with('/') || !percent_decoded(request.path, false)) return false;
  request.method = std::string(head.method_string());
  std::string_view rest = question == std::string_view::npos ? "" : target.substr(question + 1);
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const std::size_t equals = part.find('=');
    auto name = percent_decoded(part.substr(0, equals), true);
    auto value = percent_decoded(
        equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1), true);
    if (!name || !value) return false;
    request.query[std::move(*name)] = std::move(*value);
  }
  for (const auto& field : head) {
    std::string name(field.name_string());
    std::ranges::transform(name, name.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers[std::move(name)] = std::string(field.value());
  }
  const std::string given = request.header("x-request-id");
  request.id = is_plain_id(given) ? given : new_id();
  return true;
}

// A body that is anything else than one Content-Length or one chunked encoding is how requests are
// smuggled past whoever stands before us.
inline bool is_framed_once(const http::request_header<>& head) {
  const auto lengths = head.count(http::field::content_length);
  const auto encodings = head.count(http::field::transfer_encoding);
  if (lengths + encodings > 1 || head.count(http::field::host) != 1) return false;
  return encodings == 0 || beast::iequals(head[http::field::transfer_encoding], "chunked");
}

}  // namespace jailrun::service::http_detail
