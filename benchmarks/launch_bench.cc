// Set-up of a cold jail, whole and by stage, with the bare primitives beside it in the same run.
//
//   build/bench/benchmarks/launch_bench            needs root and the image `python`
#include <benchmark/benchmark.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <memory>

#include "jail/compile/compile.h"
#include "jail/plan/find_policy.h"
#include "jail/run/run.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"

extern char** environ;

namespace jailrun {
namespace {

std::unique_ptr<Plan> exec_plan() {
  const auto source = find_policy("exec");
  const auto groups = source ? load_groups(*source) : std::unexpected(source.error());
  if (!groups) {
    std::fprintf(stderr, "launch_bench: %s\n", groups.error().line().c_str());
    std::exit(125);
  }
  const auto spec = parse(source->text, source->path, *groups);
  auto plan = spec ? compile(*spec) : Expected<std::unique_ptr<Plan>>();
  if (!plan || *plan == nullptr) {
    std::fprintf(stderr, "launch_bench: policy exec does not compile\n");
    std::exit(125);
  }
  return std::move(*plan);
}

// A jail from nothing to nothing: /bin/true, output captured. Counters: microseconds per stage.
void whole_jail(benchmark::State& state) {
  const std::unique_ptr<Plan> plan = exec_plan();
  std::map<Stage, double> stages;
  for (auto _ : state) {
    RunRequest request;
    request.launch.argv = {"/bin/true"};
    const Expected<Result> result = run(*plan, request);
    if (!result || result->status != 0) {
      state.SkipWithError("the jail did not run");
      return;
    }
    for (const TimelineEntry& entry : result->timeline)
      stages[entry.stage] += static_cast<double>(entry.ns) / 1e3;
  }
  for (const auto& [stage, us] : stages) {
    state.counters[std::string(info(stage).name) + "_us"] =
        benchmark::Counter(us, benchmark::Counter::kAvgIterations);
  }
}
BENCHMARK(whole_jail)->Unit(benchmark::kMicrosecond)->UseRealTime();

// What no launcher can be faster than: spawn and wait for the same program, unconfined.
void bare_spawn(benchmark::State& state) {
  char program[] = "/bin/true";
  char* const argv[] = {program, nullptr};
  for (auto _ : state) {
    pid_t child = 0;
    if (::posix_spawn(&child, program, nullptr, nullptr, argv, environ) != 0) {
      state.SkipWithError("cannot spawn");
      return;
    }
    ::waitpid(child, nullptr, 0);
  }
}
BENCHMARK(bare_spawn)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
}  // namespace jailrun

BENCHMARK_MAIN();
