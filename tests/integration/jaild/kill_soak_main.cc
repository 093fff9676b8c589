// kill_soak [--rounds N] [--seed N] [--clients N] [--programs DIR]: jaild killed with -9 at random
// instants under load. Exit status 1 if an execution hung or had a wrong answer, or anything was
// left.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "tests/integration/jaild/kill_soak.h"

int main(int argc, char** argv) {
  using namespace jailrun::test;
  KillOptions options{.rounds = 500, .talkative = true};
  CLI::App app("jaild killed at random instants under load.", "kill_soak");
  app.add_option("--rounds", options.rounds, "kills")->capture_default_str();
  app.add_option("--seed", options.seed, "of the instants")->capture_default_str();
  app.add_option("--clients", options.clients, "at once")->capture_default_str();
  app.add_option("--programs", options.programs,
                 "where jaild lies; one with a zygote that imports less, say")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  Daemon daemon({"--warm", "python"}, {}, options.programs);
  const KillReport report = kill_at_random(daemon, options);
  std::printf(
      "%d kills: %llu executions answered, %llu interrupted and told so, %llu wrong, %llu hung\n"
      "the last client heard of it after at most %.2f s, the last process was gone after %.2f s\n"
      "%s%s",
      options.rounds, static_cast<unsigned long long>(report.answered),
      static_cast<unsigned long long>(report.interrupted),
      static_cast<unsigned long long>(report.wrong), static_cast<unsigned long long>(report.hung),
      report.slowest_word_s, report.slowest_end_s, report.faults.c_str(),
      report.left.empty() ? "nothing left\n" : report.left.c_str());
  return report.wrong + report.hung == 0 && report.left.empty() ? 0 : 1;
}
