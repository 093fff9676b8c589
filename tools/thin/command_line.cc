#include "tools/thin/command_line.h"

#include <sys/stat.h>

#include <string_view>
#include <vector>

#include "jail/plan/nearest.h"
#include "jail/sys/units.h"
#include "tools/options.h"

namespace jailrun {
namespace {

constexpr std::uint64_t kShortestNs = 1'000'000, kLongestNs = 86'400'000'000'000;

Error bad_usage(std::string object, std::string message, const char* verb) {
  return Error{Stage::None, std::move(object), 0, std::move(message),
               std::string("see `jailrun ") + verb + " --help`"};
}

// What getopt_long stumbled over. A letter inside of a cluster ("-vq") leaves optind at the
// cluster; a long option without its value, or with one too many, comes with its letter.
Error bad_option(int found, int letter, const char* word, const char* verb) {
  const bool known_letter =
      std::string_view(kShortOptions.data()).find(static_cast<char>(letter)) !=
      std::string_view::npos;
  const bool is_short = letter > 0 && letter < 256 &&
                        (found == ':' ? !std::string_view(word).starts_with("--") : !known_letter);
  const std::string option = is_short ? std::string("-") + static_cast<char>(letter) : word;
  if (found == ':') return bad_usage(option, "option " + option + " needs a value", verb);
  Error error = bad_usage(option, "unknown or ambiguous option " + option, verb);
  std::vector<std::string> known;
  for (const OptionInfo& info : kOptions) known.push_back(std::string("--") + info.name);
  if (!is_short)
    error.remedy = did_you_mean(option.substr(0, option.find('=')), known, error.remedy);
  return error;
}

// SRC[:NAME]. A ':' may be part of a file's own name: the whole text is tried first.
InputSource split_file(const std::string& text) {
  struct stat st{};
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || ::stat(text.c_str(), &st) == 0) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

std::string list_verb_arguments(bool is_run) {
  return is_run ? "no script given: name a file, or - for standard input"
                : "no command given: put it after --";
}

}  // namespace

Expected<CommandLine> parse_command_line(int argc, char** argv) {
  CommandLine line;
  const char* verb = argv[1];
  line.is_run = std::string_view(verb) == "run";
  line.policy = line.is_run ? "python" : "exec";
  char** arguments = argv + 1;  // getopt skips the verb as it would a program's name
  const int count = argc - 1;
  opterr = 0;
  for (;;) {
    const int found =
        ::getopt_long(count, arguments, kShortOptions.data(), kLongOptions.data(), nullptr);
    if (found == -1) break;
    if (found == '?' || found == ':')
      return std::unexpected(bad_option(found, optopt, arguments[optind - 1], verb));
    switch (static_cast<Option>(found)) {
      case Option::File:
        line.stored = line.stored || std::string_view(optarg).starts_with("store:");
        line.files.push_back(split_file(optarg));
        break;
      case Option::Help:
        line.help = true;
        break;
      case Option::Out:
        line.out = optarg;
        break;
      case Option::Package:
        line.packages.emplace_back(optarg);
        break;
      case Option::Policy:
        line.policy = optarg;
        break;
      case Option::Set:
        line.sets.emplace_back(optarg);
        break;
      case Option::Verbose:
        line.verbose = true;
        break;
      case Option::Json:
        line.json = true;
        break;
      case Option::Cold:
        line.start = Start::Cold;
        break;
      case Option::Warm:
        line.start = Start::Warm;
        break;
      case Option::Timeout: {
        const auto ns = parse_duration_ns(optarg);
        if (!ns || *ns < kShortestNs || *ns > kLongestNs) {
          return std::unexpected(
              bad_usage("--timeout",
                        std::string("--timeout ") + optarg +
                            " is no duration between 1ms and 24h (500ms, 10s, 5m)",
                        verb));
        }
        line.timeout_ns = *ns;
      }
    }
  }
  for (int i = optind; i < count; ++i) line.rest.emplace_back(arguments[i]);
  if (line.rest.empty() && !line.help) {
    return std::unexpected(bad_usage(verb, list_verb_arguments(line.is_run), verb));
  }
  return line;
}

}  // namespace jailrun
