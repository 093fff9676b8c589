// What loading the filter costs a jail, by the way it is written, and what it then costs a call.
//
//   build/bench/benchmarks/filter_bench --benchmark_repetitions=5
//       --benchmark_enable_random_interleaving=true            needs no privilege
//
// `load` is seccomp(2) alone, timed in a fresh child: conversion, machine code, and the kernel's
// walk for each number. Counter `call_ns`: getppid under the filter, which every policy allows.
#include <benchmark/benchmark.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "jail/compile/compile.h"
#include "jail/compile/filter.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"

namespace jailrun {
namespace {

using Program = std::vector<sock_filter>;
using Clock = std::chrono::steady_clock;

constexpr int kCalls = 1000;

struct Times {
  double load_seconds, calls_seconds;  // load_seconds 0: refused
};

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

Times load_in_child(Program& program, Times* shared) {
  *shared = {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    const auto loading = Clock::now();
    const long error = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
    const double load = since(loading);
    const auto calling = Clock::now();
    for (int i = 0; i < kCalls; ++i) ::syscall(SYS_getppid);
    if (error == 0) *shared = {load, since(calling)};
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  return *shared;
}

void load(benchmark::State& state, Program program) {
  void* const page =
      ::mmap(nullptr, sizeof(Times), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    state.SkipWithError("no memory");
    return;
  }
  double calls = 0;
  for (auto _ : state) {
    const Times times = load_in_child(program, static_cast<Times*>(page));
    if (times.load_seconds <= 0) {
      state.SkipWithError("the filter did not load");
      break;
    }
    state.SetIterationTime(times.load_seconds);
    calls += times.calls_seconds;
  }
  state.counters["instructions"] = static_cast<double>(program.size());
  state.counters["call_ns"] =
      benchmark::Counter(calls * 1e9 / kCalls, benchmark::Counter::kAvgIterations);
  ::munmap(page, sizeof(Times));
}

template <typename T, typename E>
T must(std::expected<T, E> value, const char* what) {
  if (value) return std::move(*value);
  std::fprintf(stderr, "filter_bench: %s failed\n", what);
  std::exit(125);
}

void add(const std::string& name, Program program) {
  benchmark::RegisterBenchmark(("load/" + name).c_str(), load, std::move(program))
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

void add_all() {
  // What no filter can be faster than.
  add("allow", {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)});
  for (const std::string policy : {"python", "python-strict"}) {
    const PolicySource source =
        must(find_policy(std::string(JAILRUN_SOURCE_DIR "/policies/") + policy + ".textproto"),
             "find_policy");
    const auto groups = must(load_groups(source), "load_groups");
    const Spec spec = must(parse(source.text, source.path, groups), "parse");
    add(policy + "/libseccomp", must(spelled_filter(spec, Spelling::Linear), "spelled_filter"));
    add(policy + "/libseccomp_tree", must(spelled_filter(spec, Spelling::Tree), "spelled_filter"));
    add(policy + "/jailrun", must(compile_filter(spec), "compile_filter"));
  }
}

}  // namespace
}  // namespace jailrun

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 125;
  jailrun::add_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
