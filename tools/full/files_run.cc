// `run` and `exec` with stored files: the thin program hands over, gets descriptors back.
#include <getopt.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>

#include "tools/full/files.h"
#include "tools/options.h"

namespace jailrun::full {
namespace {

Expected<std::string> program_beside_this() {
  std::string path(PATH_MAX, '\0');
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  if (size <= 0)
    return std::unexpected(
        sys_error(Stage::None, "/proc/self/exe", "cannot find the own program", "mount /proc"));
  path.resize(static_cast<std::size_t>(size));
  return path.substr(0, path.rfind('/') + 1) + "jailrun";
}

// How the thin program names it: a descriptor that survives exec, on purpose never closed here.
Expected<std::string> as_source(const OpenedInput& input) {
  if (input.name.find(':') != std::string::npos)
    return std::unexpected(Error{Stage::None, input.name, 0,
                                 "the stored file's name has a ':' in it: " + input.name,
                                 "give another: --file store:ID:NAME"});
  const int fd = ::dup(input.file.get());
  if (fd < 0)
    return std::unexpected(sys_error(Stage::None, input.name, "cannot keep " + input.name,
                                     "raise the limit of open files (ulimit -n)"));
  return "/proc/self/fd/" + std::to_string(fd) + ":" + input.name;
}

int fail(const Error& error) {
  std::fprintf(stderr, "jailrun: %s\n", error.line().c_str());
  return kStatusOurs;
}

// The words of the command line, each store:ID replaced; none where there was none.
Expected<std::vector<std::string>> with_descriptors(int argc, char** argv) {
  std::vector<std::string> words(argv, argv + argc);
  StoredInputs stored;
  char** arguments = argv + 1;  // getopt skips the verb as it would a program's name
  opterr = 0;
  int found = 0;
  while ((found = ::getopt_long(argc - 1, arguments, kShortOptions.data(), kLongOptions.data(),
                                nullptr)) != -1) {
    if (found != static_cast<int>(Option::File)) continue;
    TRY(const std::optional<OpenedInput> opened, stored.open(optarg));
    if (!opened) continue;
    TRY(const std::string source, as_source(*opened));
    // "-f X", "-fX", "--file X" and "--file=X" alike: the argument ends its word.
    std::string& word = words[static_cast<std::size_t>(optind)];
    word = word.substr(0, word.size() - std::string_view(optarg).size()) + source;
  }
  TRY(const std::optional<OpenedInput> ids, stored.manifest());
  if (!ids) return std::vector<std::string>();
  TRY(const std::string source, as_source(*ids));
  words.insert(words.begin() + 2, "--file=" + source);
  return words;
}

}  // namespace

std::optional<int> run_with_stored_files(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb != "run" && verb != "exec") return std::nullopt;
  const auto words = with_descriptors(argc, argv);
  const auto program = program_beside_this();
  if (!words || !program) return fail(words ? program.error() : words.error());
  if (words->empty()) return std::nullopt;
  std::vector<char*> pointers;
  for (const std::string& word : *words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  ::execv(program->c_str(), pointers.data());
  std::fprintf(stderr, "jailrun: cannot run %s: %s; install it beside jailrun-full\n",
               program->c_str(), errno_name(errno).c_str());
  return kStatusOurs;
}

}  // namespace jailrun::full
