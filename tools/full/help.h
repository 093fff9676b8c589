// How `jailrun --help` and `jailrun VERB --help` look.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace jailrun::full {

// Breaks `text` at spaces so that no line is longer than `width`; lines after the first begin with
// `indent` spaces.
std::string wrap(const std::string& text, std::size_t width, std::size_t indent);

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(30); }
  // The first page groups the verbs by what somebody wants; the others are CLI11's, wrapped.
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_usage(const CLI::App* app, std::string name) const override;
  std::string make_description(const CLI::App* app) const override;
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
};

}  // namespace jailrun::full
