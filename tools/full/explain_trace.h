// `jailrun explain --trace`: runs a guest once and tells what its policy refused it.
#pragma once

#include <CLI/CLI.hpp>

#include <optional>

namespace jailrun::full {

// For help and completion: the options of `run` that a trace takes.
void add_trace_options(CLI::App& explain);

// The exit status, where this command line is a trace; it is read as that of `run` or `exec`.
std::optional<int> explain_trace(int argc, char** argv);

}  // namespace jailrun::full
