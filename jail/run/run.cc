#include "jail/run/run.h"

#include <sys/vfs.h>

#include <cerrno>

#include "jail/run/collect.h"

namespace jailrun {
namespace {

// The held mounts outlive the last process: what is full now was full at the end.
std::string full_mount(const Jail& jail) {
  const struct {
    const char* name;
    const Fd& fd;
  } mounts[] = {{"/work", jail.work()}, {"/tmp", jail.tmp()}, {"/dev/shm", jail.shm()}};
  for (const auto& mount : mounts) {
    struct statfs fs{};
    if (::fstatfs(mount.fd.get(), &fs) == 0 && (fs.f_bfree == 0 || fs.f_ffree == 0))
      return mount.name;
  }
  return {};
}

void list_limits(const Plan& plan, const Jail& jail, Result& result) {
  const Enforcement& by = const_cast<Jail&>(jail).cgroup().enforcement();
  result.limits = {
      {"memory_bytes", static_cast<double>(plan.memory_bytes), by.memory},
      {"pids", static_cast<double>(plan.pids), by.pids},
      {"cpus", plan.cpu_millis / 1000.0, by.cpu},
      {"wall_ns", static_cast<double>(plan.wall_ns), "monotonic timer of the owner"},
      {"cpu_time_ns", static_cast<double>(plan.cpu_ns), "cgroup v2 cpu.stat"},
      {"output_bytes", static_cast<double>(plan.output_bytes), "the owner's end of the pipes"},
      {"tmp_bytes", static_cast<double>(plan.tmp.bytes), "tmpfs size"},
      {"work_bytes", static_cast<double>(plan.work.bytes), "tmpfs size"},
      {"shm_bytes", static_cast<double>(plan.shm.bytes), "tmpfs size"},
  };
}

Error injected_late(Stage stage) {
  return Error{stage, std::string(info(stage).name), EIO, "cannot " + std::string(info(stage).name),
               "this is a fault test"};
}

}  // namespace

Expected<Result> run(const Plan& plan, RunRequest& request) {
  const Stage fail_at = request.launch.fail_at;
  request.launch.wants_stdin = request.stdin_source >= 0;
  TRY(Jail jail, Jail::launch(plan, request.launch));

  Evidence evidence;
  Supervision supervision;
  supervision.out.forward = request.forward_out;
  supervision.err.forward = request.forward_err;
  supervision.stdin_source = request.stdin_source;
  supervision.cancel = request.cancel;
  if (fail_at == Stage::Run || fail_at == Stage::Kill)
    return std::unexpected(injected_late(fail_at));
  TRY_VOID(supervise(plan, jail, supervision, evidence));

  // Every process of the jail is gone: what is read from here on no longer changes.
  evidence.cgroup = jail.cgroup().evidence();
  evidence.disk_full = full_mount(jail);
  Result result;
  result.policy = plan.policy;
  result.warnings = jail.warnings();
  judge(plan, evidence, result);
  if (request.forward_out < 0) result.out = std::move(supervision.out.captured);
  if (request.forward_err < 0) result.err = std::move(supervision.err.captured);
  result.out_truncated = supervision.out.truncated;
  result.err_truncated = supervision.err.truncated;
  result.wall_ns = evidence.wall_ns;
  result.cpu_ns = evidence.cgroup.cpu_ns;
  result.memory_peak_bytes = evidence.cgroup.memory_peak_bytes;
  result.pids_peak = evidence.cgroup.pids_peak;
  list_limits(plan, jail, result);

  if (fail_at == Stage::Collect) return std::unexpected(injected_late(fail_at));
  if ((request.list_files || request.out_dir >= 0) && has_files(jail.work())) {
    TRY(Collection collection, collect({jail.work(), jail.host_uid(), plan.collect_files,
                                        plan.collect_bytes, request.out_dir, request.out_name}));
    result.files = std::move(collection.files);
    result.files_skipped = std::move(collection.skipped);
    jail.mark(Stage::Collect);
  }
  if (fail_at == Stage::Teardown) return std::unexpected(injected_late(fail_at));
  if (Expected<void> removed = jail.cgroup().remove(); !removed)
    result.warnings.push_back(removed.error().line());
  jail.mark(Stage::Teardown);
  result.timeline = jail.timeline();
  return result;
}

}  // namespace jailrun
