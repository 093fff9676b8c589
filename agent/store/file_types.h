// What the extension of a name says of a file.
#pragma once

#include <string>

namespace jailrun::store {

struct FileType {
  const char* type;   // the class: "csv", "image", "code", …; "binary" where nothing is known
  const char* media;  // as in Content-Type; "application/octet-stream" where nothing is known
};

FileType type_of(const std::string& name);

// How many extensions are known.
std::size_t known_extensions();

}  // namespace jailrun::store
