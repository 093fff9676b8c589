#include "jail/run/run.h"

#include <cerrno>

#include "jail/run/account.h"
#include "jail/run/collect.h"

namespace jailrun {
namespace {

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

  Result result = account(plan, jail.cgroup(), jail.held(), evidence);
  result.warnings = jail.warnings();
  if (request.forward_out < 0) result.out = std::move(supervision.out.captured);
  if (request.forward_err < 0) result.err = std::move(supervision.err.captured);
  result.out_truncated = supervision.out.truncated;
  result.err_truncated = supervision.err.truncated;

  if (fail_at == Stage::Collect) return std::unexpected(injected_late(fail_at));
  if ((request.list_files || request.out_dir >= 0) && has_files(jail.held()[0])) {
    TRY(Collection collection, collect({jail.held()[0], jail.host_uid(), plan.collect_files,
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
