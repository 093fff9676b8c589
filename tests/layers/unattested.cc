// unattested FIELD=VALUE… FILE:NAME… -- COMMAND…: one cold jail of policy python that nobody
// attests. What attestation refuses never runs a guest; here it does, so that probes can be seen to
// notice it as well. The library's own attestation is not linked: the definitions below are.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "jail/launch/attest.h"
#include "jail/run/run.h"
#include "tests/support/plans.h"

namespace jailrun {

Error differs(const std::string& what) {
  return Error{Stage::Attest, what, 0, "not attested: " + what, "this is a test"};
}
Namespaces own_namespaces() { return {}; }
std::string own_groups() { return {}; }
unsigned own_filters() { return 0; }
Expected<void> attest_world(const Posture&, const Cgroup&) { return {}; }
Expected<Attested> attest_guest(const Posture& posture, const Cgroup& cgroup) {
  for (const pid_t pid : cgroup.members()) {
    if (pid != posture.init) return Attested{pid, 1, 2};
  }
  return Attested{posture.init, 1, 2};
}

}  // namespace jailrun

int main(int argc, char** argv) {
  using namespace jailrun;
  Overrides sets;
  RunRequest request;
  int at = 1;
  for (; at < argc && std::strcmp(argv[at], "--") != 0; ++at) {
    const std::string word = argv[at];
    const std::size_t colon = word.find(':');
    if (word.find('=') != std::string::npos)
      sets.push_back(word);
    else
      request.launch.inputs.push_back({word.substr(0, colon), word.substr(colon + 1)});
  }
  const std::unique_ptr<Plan> plan = test::plan_of("python", sets);
  if (!plan || at + 1 >= argc) return 255;
  request.launch.argv.assign(argv + at + 1, argv + argc);
  request.launch.wipe_begin = argv[0];
  request.launch.wipe_end = argv[argc - 1] + std::strlen(argv[argc - 1]);
  request.stdin_source = 0;
  request.forward_out = 1;
  request.forward_err = 2;
  const Expected<Result> result = run(*plan, request);
  if (!result) std::fprintf(stderr, "%s\n", result.error().line().c_str());
  return result ? 0 : 125;
}
