#include "agent/service/routes.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace jailrun::service {
namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::size_t end = std::min(path.find('/'), path.size());
    parts.push_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return parts;
}

bool is_name(std::string_view part) { return part.starts_with('{') && part.ends_with('}'); }

std::optional<std::vector<std::string>> match(std::string_view pattern, std::string_view path) {
  const auto wanted = split(pattern), given = split(path);
  if (wanted.size() != given.size()) return std::nullopt;
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    // Each by itself: what %2F stands for is in a name, and ends none.
    std::optional<std::string> part = percent_decoded(given[i], false);
    if (!part) return std::nullopt;
    if (is_name(wanted[i])) {
      if (part->empty()) return std::nullopt;
      parts.push_back(std::move(*part));
    } else if (wanted[i] != *part) {
      return std::nullopt;
    }
  }
  return parts;
}

bool is_of(const std::string& type, const Json& value) {
  if (type == "string") return value.is_string();
  if (type == "integer")
    return value.is_number_integer() ||
           (value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>());
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "array") return value.is_array();
  return value.is_object();
}

Json fault_of(const std::string& field, const std::string& message, const std::string& type) {
  Json loc = Json::array({"body"});
  if (!field.empty()) loc.push_back(field);
  return {{"loc", loc}, {"msg", message}, {"type", type}};
}

std::optional<Json> check_field(const Field& field, const Json& body) {
  const auto found = body.find(field.name);
  if (found == body.end() || found->is_null()) {
    if (!field.required) return std::nullopt;
    return fault_of(field.name, "Field required", "missing");
  }
  if (!is_of(field.type, *found))
    return fault_of(field.name, "Input should be a valid " + field.type, field.type + "_type");
  if (!found->is_number()) return std::nullopt;
  const double value = found->get<double>();
  const auto text = [](double bound) { return Json(bound).dump(); };
  if (field.minimum && value < *field.minimum)
    return fault_of(field.name, "Input should be greater than or equal to " + text(*field.minimum),
                    "greater_than_equal");
  if (field.maximum && value > *field.maximum)
    return fault_of(field.name, "Input should be less than or equal to " + text(*field.maximum),
                    "less_than_equal");
  return std::nullopt;
}

Json schema_of(const Route& route) {
  Json properties = Json::object(), required = Json::array();
  for (const Field& field : route.fields) {
    Json one = {{"type", field.type}};
    if (!field.about.empty()) one["description"] = field.about;
    if (field.minimum) one["minimum"] = *field.minimum;
    if (field.maximum) one["maximum"] = *field.maximum;
    properties[field.name] = one;
    if (field.required) required.push_back(field.name);
  }
  return {{"type", "object"}, {"properties", properties}, {"required", required}};
}

}  // namespace

void Routes::add(Route route) { routes_.push_back(std::move(route)); }

Routes::Match Routes::find(std::string_view method, std::string_view path) const {
  Match result;
  for (const Route& route : routes_) {
    auto parts = match(route.pattern, path);
    if (!parts) continue;
    // A route with names gives way to one without.
    if (route.method == method &&
        (result.route == nullptr || parts->size() < result.parts.size())) {
      result.route = &route;
      result.parts = std::move(*parts);
    }
    result.methods.push_back(route.method);
  }
  return result;
}

Json Routes::openapi(const std::string& version) const {
  Json paths = Json::object();
  for (const Route& route : routes_) {
    std::string method = route.method;
    std::ranges::transform(method, method.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    Json operation = {{"summary", route.about}};
    for (const std::string_view part : split(route.pattern)) {
      if (!is_name(part)) continue;
      operation["parameters"].push_back({{"name", part.substr(1, part.size() - 2)},
                                         {"in", "path"},
                                         {"required", true},
                                         {"schema", {{"type", "string"}}}});
    }
    if (!route.fields.empty()) {
      operation["requestBody"] = {
          {"required", true}, {"content", {{"application/json", {{"schema", schema_of(route)}}}}}};
    } else if (route.body.to_file) {
      operation["requestBody"] = {{"required", true},
                                  {"content",
                                   {{"application/octet-stream",
                                     {{"schema", {{"type", "string"}, {"format", "binary"}}}}}}}};
    }
    operation["responses"] = {
        {"200", {{"description", "done"}}},
        {"default",
         {{"description", "what is wrong, under \"detail\""},
          {"content",
           {{"application/json", {{"schema", {{"$ref", "#/components/schemas/Failure"}}}}}}}}}};
    paths[route.pattern][method] = operation;
  }
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "jailagent"}, {"version", version}}},
          {"paths", paths},
          {"components",
           {{"schemas",
             {{"Failure", {{"type", "object"}, {"properties", {{"detail", Json::object()}}}}}}},
            {"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
}

std::optional<HttpReply> check_body(const Route& route, const HttpRequest& request, Json& body) {
  body = Json::object();
  if (route.fields.empty()) return std::nullopt;
  const bool needed = std::ranges::any_of(route.fields, &Field::required);
  if (request.body.empty() && !needed) return std::nullopt;
  const std::string type = request.header("content-type");
  // A page of another site can post text without being asked; JSON it cannot.
  if (!type.starts_with("application/json"))
    return failure(415, "send JSON, with Content-Type: application/json");
  body = Json::parse(request.body, nullptr, false);
  Json wrong = Json::array();
  if (body.is_discarded()) {
    wrong.push_back(fault_of("", "JSON decode error", "json_invalid"));
  } else if (!body.is_object()) {
    wrong.push_back(fault_of("", "Input should be an object", "object_type"));
  } else {
    for (const Field& field : route.fields)
      if (auto fault = check_field(field, body)) wrong.push_back(std::move(*fault));
  }
  if (wrong.empty()) return std::nullopt;
  body = Json::object();
  return json_reply({{"detail", wrong}}, 422);
}

HttpReply json_reply(const Json& body, unsigned status) {
  HttpReply reply;
  reply.status = status;
  reply.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return reply;
}

}  // namespace jailrun::service
