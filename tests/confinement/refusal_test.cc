// One attempt after the other (attempts.h), in a jail and outside of any.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "tests/confinement/attempts.h"
#include "tests/confinement/jailed.h"

namespace jailrun::test {
namespace {

void own_mounts() {
  if (::unshare(CLONE_NEWNS | CLONE_NEWUTS) != 0) ::_exit(255);
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(255);
  if (::mount("none", "/mnt", "tmpfs", 0, nullptr) != 0) ::_exit(255);
}

class Refusal : public testing::TestWithParam<Attempt> {};

TEST_P(Refusal, InsideAndNotOutside) {
  const Attempt& attempt = GetParam();
  if (attempt.twin != Twin::None) {
    const auto& arguments =
        attempt.twin_arguments.empty() ? attempt.arguments : attempt.twin_arguments;
    const auto prepare = attempt.twin == Twin::OwnMounts ? std::function<void()>(own_mounts)
                                                         : std::function<void()>();
    const Outcome outside = probe_unjailed(arguments, prepare);
    EXPECT_EQ(outside.status, 0) << "the probe does not work, so its refusal would prove nothing: "
                                 << outside.err;
  }
  const Outcome inside = probe_jailed(attempt.arguments);
  EXPECT_THAT(attempt.statuses, testing::Contains(inside.status)) << inside.err;
}

std::string name_of(const testing::TestParamInfo<Attempt>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Files, Refusal, testing::ValuesIn(kFiles), name_of);
INSTANTIATE_TEST_SUITE_P(Mounts, Refusal, testing::ValuesIn(kMounts), name_of);
INSTANTIATE_TEST_SUITE_P(Processes, Refusal, testing::ValuesIn(kProcesses), name_of);
INSTANTIATE_TEST_SUITE_P(Network, Refusal, testing::ValuesIn(kNetwork), name_of);

}  // namespace
}  // namespace jailrun::test
