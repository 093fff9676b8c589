#include "agent/data/inputs.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

namespace jailrun::agent {
namespace {

Error refuse(const std::string& path, int errno_value, std::string message, std::string remedy) {
  return Error{Stage::None, path, errno_value, std::move(message), std::move(remedy)};
}

Expected<Input> check(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status{};
  if (!file.valid())
    return std::unexpected(refuse(path, errno, "cannot read data file " + path,
                                  errno == ENOENT ? "check the path" : "check its permissions"));
  if (fstat(file.get(), &status) != 0)
    return std::unexpected(
        refuse(path, errno, "cannot look at data file " + path, "check the path"));
  if (S_ISDIR(status.st_mode))
    return std::unexpected(refuse(path, 0, path + " is a directory",
                                  "name the files in it, each with its own --file"));
  if (!S_ISREG(status.st_mode))
    return std::unexpected(
        refuse(path, 0, path + " is not a regular file", "copy its content to a file"));
  if (status.st_size == 0)
    return std::unexpected(
        refuse(path, 0, "data file " + path + " is empty", "name a file with a table in it"));
  return Input{path, std::filesystem::path(path).filename().string()};
}

std::string safe_name(const std::string& name) {
  std::string out;
  for (char c : name) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '.' || c == '-' || c == '_';
    if (plain)
      out += c;
    else if (!out.empty() && out.back() != '_')
      out += '_';
  }
  auto dot = out.rfind("_.");
  if (dot != std::string::npos) out.erase(dot, 1);
  if (out.size() > 100) out.erase(0, out.size() - 100);
  if (out.empty() || out[0] == '.' || out[0] == '-') out = "data" + out;
  return out;
}

void make_distinct(std::vector<Input>& inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::filesystem::path wanted(inputs[i].name);
    for (int n = 2; std::any_of(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(i),
                                [&](const Input& other) { return other.name == inputs[i].name; });
         ++n)
      inputs[i].name =
          wanted.stem().string() + "-" + std::to_string(n) + wanted.extension().string();
  }
}

}  // namespace

Expected<std::vector<Input>> check_inputs(const std::vector<std::string>& arguments) {
  std::vector<Input> inputs;
  for (const auto& argument : arguments) {
    std::string path = argument, name;
    auto colon = argument.rfind(':');
    // A colon is part of the path where such a file exists.
    if (colon != std::string::npos && !std::filesystem::exists(argument)) {
      path = argument.substr(0, colon);
      name = argument.substr(colon + 1);
    }
    TRY(Input input, check(path));
    input.name = safe_name(name.empty() ? input.name : name);
    inputs.push_back(std::move(input));
  }
  make_distinct(inputs);
  return inputs;
}

}  // namespace jailrun::agent
