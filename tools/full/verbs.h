// The verbs of `jailrun` that live in jailrun-full: all but run and exec, which the thin binary
// does. Each adds one CLI11 subcommand to `app`; when chosen, its callback leaves the exit status
// in `status`.
#pragma once

#include <CLI/CLI.hpp>

namespace jailrun::full {

void add_ask(CLI::App& app, int& status);
void add_chat(CLI::App& app, int& status);
void add_runs(CLI::App& app, int& status);  // what the two have left in the record
void add_completion(CLI::App& app, int& status);
void add_doctor(CLI::App& app, int& status);
void add_explain(CLI::App& app, int& status);
void add_files(CLI::App& app, int& status);
void add_daemon(CLI::App& app, int& status);  // ps, stats, kill
void add_top(CLI::App& app, int& status);
void add_config(CLI::App& app, int& status);
void add_session(CLI::App& app, int& status);  // session, repl
void add_packages(CLI::App& app, int& status);
void add_rootfs(CLI::App& app, int& status);

void add_datasets(CLI::App& app, int& status);
void add_plan(CLI::App& app, int& status);  // query plans

// Hidden: `jailrun-full compile POLICY [--set P=V]…` writes the compiled Plan of a policy to
// stdout, for the thin binary.
void add_compile(CLI::App& app, int& status);

}  // namespace jailrun::full
