// `run` and `exec` as jailrun-full knows them: it does neither (the thin binary does), but explains
// both, completes them in shells, and says what is wrong with a command line that the thin binary
// refused.
#pragma once

#include <CLI/CLI.hpp>

namespace jailrun::full {

void add_run(CLI::App& app, int& status);
void add_exec(CLI::App& app, int& status);

}  // namespace jailrun::full
