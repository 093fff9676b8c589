#include "tests/confinement/jailed.h"

#include <sys/random.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace jailrun::test {

std::vector<std::string> jailed(const std::vector<std::string>& arguments,
                                const std::vector<std::string>& options) {
  std::vector<std::string> argv = {jailrun_program(), "exec",
                                   "--policy",        "python",
                                   "--set",           "files.exec=true",
                                   "--file",          std::string(JAILRUN_PROBE) + ":probe"};
  argv.insert(argv.end(), options.begin(), options.end());
  for (const char* word :
       {"--", "/bin/sh", "-c", "cp /data/probe /work/probe && exec /work/probe \"$@\"", "sh"}) {
    argv.emplace_back(word);
  }
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

Outcome probe_jailed(const std::vector<std::string>& arguments,
                     const std::vector<std::string>& options) {
  return Live(jailed(arguments, options)).finish();
}

Outcome probe_unjailed(const std::vector<std::string>& arguments,
                       const std::function<void()>& prepare) {
  std::vector<std::string> argv = {JAILRUN_PROBE};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return Live(argv, prepare).finish();
}

std::unique_ptr<Live> waiting_jail(const std::vector<std::string>& arguments,
                                   const std::vector<std::string>& options,
                                   const std::function<void()>& prepare) {
  auto live = std::make_unique<Live>(jailed(arguments, options), prepare);
  return live->read_line() == "ready" ? std::move(live) : nullptr;
}

std::unique_ptr<Live> waiting_program(const std::vector<std::string>& arguments,
                                      const std::function<void()>& prepare) {
  std::vector<std::string> argv = {JAILRUN_PROBE};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  auto live = std::make_unique<Live>(argv, prepare);
  return live->read_line() == "ready" ? std::move(live) : nullptr;
}

std::string canary() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) std::abort();
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

Scratch::Scratch() {
  std::string name = (std::filesystem::temp_directory_path() / "jailrun-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  ::chmod(name.c_str(), 0755);
  path_ = name;
}

Scratch::~Scratch() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::string Scratch::file(const std::string& name, const std::string& content,
                          unsigned mode) const {
  const std::string path = path_ + "/" + name;
  std::ofstream(path) << content;
  ::chmod(path.c_str(), mode);
  return path;
}

}  // namespace jailrun::test
