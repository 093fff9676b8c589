// The page at GET /, for whoever opens the service in a browser. It needs no key: it holds nothing
// but itself, and asks for the key that its requests need.
#include "agent/page/assets.h"
#include "agent/service/service.h"

namespace jailrun::service {
namespace {

// Scripts are ours alone, and nothing is asked of another origin. Styles may be inline because
// frames, in which a guest's HTML is shown, have no policy wider than that of their page; they are
// sandboxed, and forbid themselves all but styles and pictures that they bear (frame.tsx). No text
// becomes HTML but through DOMPurify, or for such a frame.
constexpr const char* kPolicy =
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify guest-frame";

const page::Asset* asset_at(std::string_view path) {
  for (const page::Asset& asset : page::assets())
    if (asset.path == path) return &asset;
  return nullptr;
}

HttpReply without_page() {
  HttpReply reply;
  reply.type = "text/html; charset=utf-8";
  reply.body =
      "<!doctype html><html lang=\"en\"><title>jailagent</title><h1>jailagent</h1>"
      "<p>This build has no page: " +
      std::string(page::missing()) +
      ".<p>The interface for programs is all there: <a href=\"/openapi.json\">/openapi.json</a>, "
      "<a href=\"/health\">/health</a>.</html>\n";
  return reply;
}

HttpReply reply_with(const page::Asset& asset, const HttpRequest& request) {
  HttpReply reply;
  const bool is_page = asset.path == "/";
  reply.type = asset.type;
  reply.headers = {{"ETag", std::string(asset.etag)},
                   {"Vary", "Accept-Encoding"},
                   {"Content-Security-Policy", kPolicy},
                   {"Cross-Origin-Opener-Policy", "same-origin"},
                   {"Permissions-Policy", "camera=(), microphone=(), geolocation=()"},
                   // Names of assets bear their content's hash.
                   {"Cache-Control", is_page ? "no-cache" : "public, max-age=31536000, immutable"}};
  if (request.header("if-none-match").find(asset.etag) != std::string::npos) {
    reply.status = 304;
    return reply;
  }
  const bool packed = accepts_gzip(request);
  if (packed) reply.headers.emplace_back("Content-Encoding", "gzip");
  reply.body = packed ? asset.gzip : asset.plain;
  return reply;
}

}  // namespace

bool Service::is_page(std::string_view path) { return path == "/" || path.starts_with("/assets/"); }

void Service::add_page() {
  routes_.add({"GET", "/", "The page for people", {}, {}, [](Call& call) {
                 const page::Asset* const asset = asset_at("/");
                 return asset == nullptr ? without_page() : reply_with(*asset, call.http);
               }});
  routes_.add({"GET", "/assets/{name}", "What the page consists of", {}, {}, [](Call& call) {
                 const page::Asset* const asset = asset_at(call.http.path);
                 return asset == nullptr ? failure(404, "Not Found")
                                         : reply_with(*asset, call.http);
               }});
}

}  // namespace jailrun::service
