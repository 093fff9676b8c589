// Launch: one building of a Jail, from the first descriptor to the guest's exec. Not for others to
// include.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "jail/child/child.h"
#include "jail/confine/net.h"
#include "jail/launch/attest.h"
#include "jail/launch/jail.h"
#include "jail/launch/packages.h"
#include "jail/launch/parts.h"

namespace jailrun {

class Launch {
 public:
  Launch(const Plan& plan, const LaunchRequest& request);
  Expected<Jail> run();

 private:
  Expected<void> step(Stage stage, Expected<void> (Launch::*work)());
  Expected<void> take_place();
  Expected<void> open_image();
  Expected<void> lease_uid();
  Expected<void> open_inputs();
  Expected<void> make_cgroup();
  Expected<void> open_streams();
  Expected<void> join_network();
  Expected<void> clone(Jail& jail);
  Expected<void> release(Jail& jail);
  Expected<void> await_child(Jail& jail);
  Expected<void> attest(Jail& jail);
  Expected<void> await_exec(Jail& jail);

  // launch/prepare.cc: everything that the child must not decide.
  void prepare_child();
  void prepare_exec();
  std::vector<ExpectedMount> expected_mounts() const;
  Error exec_error(int errno_value) const;

  const Plan& plan_;
  const LaunchRequest& request_;
  std::int64_t begin_ns_ = 0;
  std::vector<std::string> warnings_;

  Jail::ReportPage report_;
  Fd image_, run_dir_, network_;
  std::uint64_t network_inode_ = 0;
  std::optional<UidLease> lease_;
  std::optional<Cgroup> cgroup_;
  std::optional<InNetwork> in_network_;
  std::vector<Input> inputs_;
  Pipe stdin_, stdout_, stderr_;
  Fd control_, child_control_;

  // What child_ points to.
  child::ChildArgs child_{};
  child::HostPlan host_{};
  std::vector<child::InputArgs> input_args_;
  std::vector<int> task_files_;
  child::InputArgs script_args_{};
  std::vector<std::string> candidates_;
  std::vector<const char*> candidate_pointers_;
  std::vector<char*> argv_, envp_;
  alignas(16) std::array<char, 32768> guest_stack_;
};

}  // namespace jailrun
