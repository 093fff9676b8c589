// The guest's file system, by the mount API on descriptors. The current directory is the image:
// clone moved it into the new mount namespace, so no path of the host is walked.
#include "jail/child/steps.h"
#include "jail/sys/uapi.h"

namespace jailrun::child {
namespace {

using namespace jailrun::uapi;

constexpr long kOWronly = 1, kOCreat = 0100, kOExcl = 0200, kONofollow = 0400000,
               kOCloexec = 02000000;

long set_attributes(long fd, std::uint64_t attributes) {
  const mount_attr attr{
      .attr_set = attributes, .attr_clr = 0, .propagation = kMsPrivate, .userns_fd = 0};
  return sys(SYS_mount_setattr, fd, ptr(""), kAtEmptyPath, ptr(&attr), sizeof attr);
}

long attach(long mount, int root, const char* target) {
  return sys(SYS_move_mount, mount, ptr(""), root, ptr(target), kMoveMountFromEmptyPath);
}

struct Option {
  const char* key;
  const char* value;
};

// A new, detached mount of `type`; its descriptor, or -errno.
template <std::size_t N>
long new_mount(const char* type, const Option (&options)[N], std::uint64_t attributes) {
  const long context = sys(SYS_fsopen, ptr(type), kFsopenCloexec);
  if (context < 0) return context;
  for (const Option& option : options) {
    const long r =
        sys(SYS_fsconfig, context, kFsconfigSetString, ptr(option.key), ptr(option.value), 0);
    if (r < 0) return r;
  }
  const long created = sys(SYS_fsconfig, context, kFsconfigCmdCreate, 0, 0, 0);
  if (created < 0) return created;
  const long mount = sys(SYS_fsmount, context, kFsmountCloexec, static_cast<long>(attributes));
  sys(SYS_close, context);
  return mount;
}

long write_new_file(long dir, const InputArgs& input) {
  const long fd = sys(SYS_openat, dir, ptr(input.name),
                      kOWronly | kOCreat | kOExcl | kONofollow | kOCloexec, 0444);
  if (fd < 0) return fd;
  for (std::size_t done = 0; done < input.size;) {
    const long n =
        sys(SYS_write, fd, ptr(input.content + done), static_cast<long>(input.size - done));
    if (n < 0) return n;
    done += static_cast<std::size_t>(n);
  }
  return sys(SYS_close, fd);
}

// A tmpfs that is filled and then made read-only. Its pages belong to the jail's memory like all
// others.
long small_tmpfs(const ChildArgs* args, Stage stage, int root, const char* target) {
  const Option options[] = {{"size", "100%"}, {"nr_inodes", "4096"}, {"mode", "0755"}};
  const long mount =
      must(args, stage, new_mount("tmpfs", options, kMountNosuid | kMountNodev | kMountNoexec));
  must(args, stage, attach(mount, root, target), 1);
  return mount;
}

}  // namespace

int mount_root(const ChildArgs* args) {
  begin(args, Stage::MountRoot);
  const long root = must(args, Stage::MountRoot,
                         sys(SYS_open_tree, kAtFdcwd, ptr("."), kOpenTreeClone | kOpenTreeCloexec));
  must(args, Stage::MountRoot, set_attributes(root, kMountRdonly | kMountNosuid | kMountNodev), 1);
  must(args, Stage::MountRoot,
       sys(SYS_move_mount, root, ptr(""), kAtFdcwd, ptr("."), kMoveMountFromEmptyPath), 2);
  end(args, Stage::MountRoot);
  return static_cast<int>(root);
}

void clone_onto(const ChildArgs* args, Stage stage, int mount, int root, const char* target) {
  const long copy =
      must(args, stage,
           sys(SYS_open_tree, mount, ptr(""), kAtEmptyPath | kOpenTreeClone | kOpenTreeCloexec));
  must(args, stage, attach(copy, root, target), 1);
  sys(SYS_close, copy);
}

long attach_mount(int mount, int root, const char* target) { return attach(mount, root, target); }

void mount_keeper_tmp(const ChildArgs* args, int root) {
  begin(args, Stage::MountTmpfs);
  const Option options[] = {{"size", "64m"}, {"nr_inodes", "4096"}, {"mode", "1777"}};
  const long mount = must(args, Stage::MountTmpfs,
                          new_mount("tmpfs", options, kMountNosuid | kMountNodev | kMountNoexec));
  must(args, Stage::MountTmpfs, attach(mount, root, "tmp"), 1);
  sys(SYS_close, mount);
  end(args, Stage::MountTmpfs);
}

void mount_keeper_proc(const ChildArgs* args, int root) {
  begin(args, Stage::MountProc);
  const Option options[] = {{"hidepid", "off"}};
  const long mount = must(args, Stage::MountProc,
                          new_mount("proc", options, kMountNosuid | kMountNodev | kMountNoexec));
  must(args, Stage::MountProc, attach(mount, root, "proc"), 1);
  sys(SYS_close, mount);
  end(args, Stage::MountProc);
}

void mount_dev(const ChildArgs* args, int root) {
  begin(args, Stage::MountDev);
  unsigned i = 0;
  for (const char* host : kDevices) {
    // "/dev/null" of the host, onto "dev/null" of the image.
    const long node =
        must(args, Stage::MountDev,
             sys(SYS_open_tree, kAtFdcwd, ptr(host), kOpenTreeClone | kOpenTreeCloexec), i);
    must(args, Stage::MountDev, set_attributes(node, kMountRdonly | kMountNosuid | kMountNoexec),
         i);
    must(args, Stage::MountDev, attach(node, root, host + 1), i);
    sys(SYS_close, node);
    ++i;
  }
  end(args, Stage::MountDev);
}

void mount_tmpfs(const ChildArgs* args, int root, int (&held)[kTmpfsCount]) {
  begin(args, Stage::MountTmpfs);
  for (unsigned i = 0; i < kTmpfsCount; ++i) {
    const auto& size = args->host->tmpfs[i];
    const Option options[] = {
        {"size", size.bytes}, {"nr_inodes", size.inodes}, {"mode", kTmpfs[i].mode}};
    const long mount =
        must(args, Stage::MountTmpfs, new_mount("tmpfs", options, args->host->tmpfs_attributes), i);
    must(args, Stage::MountTmpfs, attach(mount, root, kTmpfs[i].path + 1), i);
    held[i] = static_cast<int>(mount);
  }
  end(args, Stage::MountTmpfs);
}

namespace {

// The inputs of one kind, below `target`: files have a file to be mounted on, layers a directory.
void mount_inputs(const ChildArgs* args, int root, const char* target, bool packages) {
  long dir = -1;
  for (unsigned i = 0; i < args->input_count; ++i) {
    InputArgs input = args->inputs[i];
    if (input.is_package != packages) continue;
    if (dir < 0) dir = small_tmpfs(args, Stage::MountData, root, target);
    if (input.tree_fd >= 0) input.size = 0;
    must(args, Stage::MountData,
         packages ? sys(SYS_mkdirat, dir, ptr(input.name), 0755) : write_new_file(dir, input), i);
    if (input.tree_fd < 0) continue;
    must(args, Stage::MountData,
         sys(SYS_move_mount, input.tree_fd, ptr(""), dir, ptr(input.name), kMoveMountFromEmptyPath),
         i);
  }
  if (dir >= 0) must(args, Stage::MountData, set_attributes(dir, kMountRdonly));
}

}  // namespace

void mount_data(const ChildArgs* args, int root) {
  begin(args, Stage::MountData);
  mount_inputs(args, root, "data", false);
  mount_inputs(args, root, "packages", true);
  if (args->script != nullptr) {
    const long run = small_tmpfs(args, Stage::MountData, root, "run");
    must(args, Stage::MountData, write_new_file(run, *args->script));
    must(args, Stage::MountData, set_attributes(run, kMountRdonly));
  }
  end(args, Stage::MountData);
}

void mount_proc(const ChildArgs* args, int root) {
  begin(args, Stage::MountProc);
  const Option options[] = {{"subset", "pid"}, {"hidepid", "invisible"}};
  const long mount =
      must(args, Stage::MountProc,
           new_mount("proc", options, kMountRdonly | kMountNosuid | kMountNodev | kMountNoexec));
  must(args, Stage::MountProc, attach(mount, root, "proc"), 1);
  sys(SYS_close, mount);
  end(args, Stage::MountProc);
}

void pivot_root(const ChildArgs* args, int root) {
  begin(args, Stage::PivotRoot);
  must(args, Stage::PivotRoot, sys(SYS_fchdir, root));
  must(args, Stage::PivotRoot, sys(SYS_pivot_root, ptr("."), ptr(".")), 1);
  must(args, Stage::PivotRoot, sys(SYS_umount2, ptr("."), kMntDetach), 2);
  must(args, Stage::PivotRoot, sys(SYS_chdir, ptr(args->workdir)), 3);
  end(args, Stage::PivotRoot);
}

}  // namespace jailrun::child
