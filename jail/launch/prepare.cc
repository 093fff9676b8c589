// Decide before the clone; afterwards only perform.
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <iterator>

#include "jail/launch/launch.h"
#include "jail/sys/uapi.h"

namespace jailrun {
namespace {

// The highest capability that this kernel knows; PR_CAPBSET_READ says EINVAL above it.
std::uint32_t last_capability() {
  std::uint32_t last = CAP_LAST_CAP;
  while (last < 63 && ::prctl(PR_CAPBSET_READ, last + 1) >= 0) ++last;
  while (last > 0 && ::prctl(PR_CAPBSET_READ, last) < 0) --last;
  return last;
}

}  // namespace

// A caller without CAP_SYS_RESOURCE cannot go above its own hard limits.
child::HostPlan make_host_plan(const Plan& plan) {
  child::HostPlan host{};
  const TmpfsPlan* const sizes[child::kTmpfsCount] = {&plan.work, &plan.tmp, &plan.shm};
  for (std::size_t i = 0; i < child::kTmpfsCount; ++i) {
    auto& text = host.tmpfs[i];
    *std::to_chars(std::begin(text.bytes), std::end(text.bytes) - 1, sizes[i]->bytes).ptr = 0;
    *std::to_chars(std::begin(text.inodes), std::end(text.inodes) - 1, sizes[i]->inodes).ptr = 0;
  }
  host.tmpfs_attributes =
      uapi::kMountNosuid | uapi::kMountNodev | (plan.exec_writable ? 0 : uapi::kMountNoexec);
  host.rlimit_count = plan.rlimit_count;
  for (std::uint32_t i = 0; i < plan.rlimit_count; ++i) {
    host.rlimits[i] = plan.rlimits[i];
    rlimit own{};
    if (::getrlimit(static_cast<__rlimit_resource_t>(plan.rlimits[i].resource), &own) == 0) {
      host.rlimits[i].value = std::min<std::uint64_t>(host.rlimits[i].value, own.rlim_max);
    }
  }
  cpu_set_t cpus;
  static_assert(sizeof cpus == sizeof host.cpus);
  CPU_ZERO(&cpus);
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0) CPU_SET(0, &cpus);
  std::memcpy(host.cpus, &cpus, sizeof cpus);
  host.last_capability = last_capability();
  return host;
}

void Launch::prepare_exec() {
  std::string path = "/usr/local/bin:/usr/bin:/bin";
  for (std::uint32_t at = 0, i = 0; i < plan_.env_count; ++i) {
    const char* variable = plan_.env.data() + at;
    envp_.push_back(const_cast<char*>(variable));
    if (std::strncmp(variable, "PATH=", 5) == 0) path = variable + 5;
    at += static_cast<std::uint32_t>(std::strlen(variable)) + 1;
  }
  envp_.push_back(nullptr);
  for (const std::string& argument : request_.argv)
    argv_.push_back(const_cast<char*>(argument.c_str()));
  argv_.push_back(nullptr);

  const std::string& command = request_.argv.front();
  if (command.find('/') != std::string::npos) {
    candidates_.push_back(command);
  } else {
    for (std::size_t at = 0; at <= path.size();) {
      const std::size_t end = std::min(path.find(':', at), path.size());
      candidates_.push_back(path.substr(at, end - at) + "/" + command);
      at = end + 1;
    }
  }
  for (const std::string& candidate : candidates_) candidate_pointers_.push_back(candidate.c_str());
  candidate_pointers_.push_back(nullptr);
}

void Launch::prepare_child() {
  host_ = make_host_plan(plan_);
  prepare_exec();
  for (const Input& input : inputs_) {
    input_args_.push_back({input.name.c_str(), input.tree.get(), input.content.data(),
                           input.content.size(), input.is_package});
  }
  script_args_ = {request_.script_name.c_str(), -1, request_.script.data(), request_.script.size(),
                  false};

  for (const Fd& file : cgroup_->task_files()) task_files_.push_back(file.get());
  child_.task_files = task_files_.data();
  child_.task_file_count = task_files_.size();
  child_.report = report_.get();
  child_.plan = &plan_;
  child_.host = &host_;
  child_.control_fd = child_control_.get();
  child_.owner_control_fd = control_.get();
  child_.gate_fd = child_control_.get();
  child_.uid = kGuestUid;
  child_.keeps_groups = lease_->is_own();
  child_.hostname = "jail";
  child_.workdir = "/work";
  child_.inputs = input_args_.data();
  child_.input_count = input_args_.size();
  child_.script = request_.script_name.empty() ? nullptr : &script_args_;
  child_.stdin_fd = stdin_.read.get();
  child_.stdout_fd = stdout_.write.get();
  child_.stderr_fd = stderr_.write.get();
  child_.candidates = candidate_pointers_.data();
  child_.argv = argv_.data();
  child_.envp = envp_.data();
  child_.wipe_begin = request_.wipe_begin;
  child_.wipe_end = request_.wipe_end;
  child_.guest_stack_top = guest_stack_.data() + guest_stack_.size();
  child_.fail_at = request_.fail_at;
}

std::vector<ExpectedMount> standard_mounts(const Plan& plan) {
  const std::string writable = plan.exec_writable ? "rw,nosuid,nodev" : "rw,nosuid,nodev,noexec";
  std::vector<ExpectedMount> mounts = {{"/", "ro,nosuid,nodev"},
                                       {"/proc", "ro,nosuid,nodev,noexec"}};
  for (const char* device : child::kDevices) mounts.push_back({device, "ro,nosuid,noexec"});
  for (const child::TmpfsTarget& target : child::kTmpfs) mounts.push_back({target.path, writable});
  return mounts;
}

std::vector<ExpectedMount> Launch::expected_mounts() const {
  std::vector<ExpectedMount> mounts = standard_mounts(plan_);
  const auto has = [&](bool packages) {
    return std::ranges::any_of(inputs_, [&](const Input& i) { return i.is_package == packages; });
  };
  if (has(false)) mounts.push_back({"/data", "ro,nosuid,nodev,noexec"});
  if (has(true)) mounts.push_back({"/packages", "ro,nosuid,nodev,noexec"});
  for (const Input& input : inputs_) {
    if (!input.tree.valid()) continue;
    if (input.is_package) {  // its libraries are mapped executable
      mounts.push_back({"/packages/" + input.name, "ro,nosuid,nodev"});
      continue;
    }
    // mountinfo writes blanks and backslashes as octal.
    std::string target = "/data/";
    for (const char c : input.name) {
      char octal[8];
      std::snprintf(octal, sizeof octal, "\\%03o", static_cast<unsigned char>(c));
      target +=
          c == ' ' || c == '\t' || c == '\n' || c == '\\' ? std::string(octal) : std::string(1, c);
    }
    mounts.push_back({target, "ro,nosuid,nodev,noexec"});
  }
  if (child_.script != nullptr) mounts.push_back({"/run", "ro,nosuid,nodev,noexec"});
  return mounts;
}

Error injected(Stage stage) { return describe(stage, EIO, 0); }

Error describe(Stage stage, int errno_value, unsigned index) {
  if (std::optional<Error> named = lacking_feature(stage, errno_value, index)) return *named;
  std::string step(info(stage).name);
  for (char& c : step) c = c == '_' ? ' ' : c;
  std::string remedy = "run `jailrun doctor` to see what this host allows";
  const bool files = stage >= Stage::MountRoot && stage <= Stage::PivotRoot;
  if (files && errno_value == ENOENT)
    remedy = "the image is damaged: `jailrun rootfs verify` names what is missing";
  return Error{stage, std::string(info(stage).name) + " #" + std::to_string(index), errno_value,
               "cannot " + step + " in the jail", remedy};
}

Error Launch::exec_error(int errno_value) const {
  const std::string& command = request_.argv.front();
  std::string message = "cannot execute " + command;
  std::string remedy = "check the command";
  if (errno_value == ENOENT) {
    message = command + " is not in the jail";
    remedy = std::string("the guest sees the image '") + plan_.image +
             "', not this host's files; give files with --file";
    if (!request_.script_name.empty())
      remedy = "the image is damaged: `jailrun rootfs verify` names what is missing";
  } else if (errno_value == EACCES) {
    message = command + " is not executable in the jail";
    remedy = "files in /work, /tmp and /data cannot be executed unless the policy says files.exec";
  }
  return Error{Stage::Exec, command, errno_value, message, remedy};
}

}  // namespace jailrun
