// Routes: the table of what the service answers, of which its OpenAPI document is made.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/service/http_server.h"

namespace jailrun::service {

using Json = nlohmann::ordered_json;

// One request on its way to a handler.
struct Call {
  HttpRequest& http;
  std::vector<std::string> parts;  // of the path: one for each {name} of the pattern
  Json body;                       // an object where the route has fields
  std::string owner;               // whose request it is; empty: nobody's in particular
};

// A field of a JSON body.
struct Field {
  std::string name;
  std::string type;  // string, integer, number, boolean, array, object
  bool required = false;
  std::optional<double> minimum{}, maximum{};
  std::string about{};
};

struct Route {
  std::string method, pattern;  // "/sessions/{id}/reset"
  std::string about;
  std::vector<Field> fields{};  // of a JSON body; none: no body is read
  BodyRule body{};
  std::function<HttpReply(Call&)> handle;
};

class Routes {
 public:
  void add(Route route);
  // The route, and the parts of the path; without a route, the methods that this path has.
  struct Match {
    const Route* route = nullptr;
    std::vector<std::string> parts, methods;
  };
  Match find(std::string_view method, std::string_view path) const;
  Json openapi(const std::string& version) const;

 private:
  std::vector<Route> routes_;
};

// The body as JSON, checked against the fields of its route: 422 with a list of what is wrong in
// the shape {"detail": [{"loc": ["body", NAME], "msg": …, "type": …}]}.
std::optional<HttpReply> check_body(const Route& route, const HttpRequest& request, Json& body);

HttpReply json_reply(const Json& body, unsigned status = 200);

}  // namespace jailrun::service
