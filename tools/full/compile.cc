// Hidden: jailrun-full compile POLICY, for the thin binary.
#include <cerrno>
#include <cstdio>
#include <memory>

#include "jail/compile/compile.h"
#include "jail/sys/fd.h"
#include "tools/full/policy_args.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

constexpr int kOurFailure = 125;

int compile_policy(const PolicyArgs& args) {
  const auto spec = load_spec(args);
  if (!spec) return kOurFailure;
  const auto compiled = compile(*spec);
  if (!compiled) {
    std::fprintf(stderr, "jailrun: %s\n", compiled.error().line().c_str());
    return kOurFailure;
  }
  const Plan& result = **compiled;
  if (isatty(STDOUT_FILENO) != 0) {
    std::printf("plan of policy %s: %u bytes, %u instructions of filter, landlock abi %d\n",
                result.policy, result.size, result.filter_length, result.landlock.abi);
    return 0;
  }
  const int error = write_all(STDOUT_FILENO, reinterpret_cast<const char*>(&result), sizeof result);
  if (error == 0) return 0;
  errno = error;
  std::perror("jailrun: cannot write the plan");
  return kOurFailure;
}

}  // namespace

void add_compile(CLI::App& app, int& status) {
  const auto args = std::make_shared<PolicyArgs>();
  CLI::App* command =
      app.add_subcommand("compile", "write the compiled plan of a policy to stdout");
  command->group("");  // hidden
  add_policy_args(*command, *args);
  command->callback([args, &status] { status = compile_policy(*args); });
}

}  // namespace jailrun::full
