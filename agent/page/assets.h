// The page as it was built: files in memory, each also as gzip.
#pragma once

#include <span>
#include <string_view>

namespace jailrun::page {

struct Asset {
  std::string_view path;   // "/", "/assets/NAME"
  std::string_view type;   // of its content
  std::string_view etag;   // quoted, of the content
  std::string_view plain;  // static storage, as is `gzip`
  std::string_view gzip;
};

// None where this build has no page: then missing() says why, in a line.
std::span<const Asset> assets();
std::string_view missing();

}  // namespace jailrun::page
