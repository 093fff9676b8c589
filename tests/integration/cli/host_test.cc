// Hosts that cannot do what is needed: the image or cgroups are missing or damaged, directories
// unsafe. Each change is made in a mount namespace of the test's own.
#include "tests/integration/cli/cli.h"

namespace jailrun::test {
namespace {

class CliHost : public Cli {
 protected:
  // Makes ./state/rootfs/python/tree with the directories and device files that a jail is mounted
  // on.
  void make_image(const std::string& without = "") const {
    const std::string script =
        "mkdir -p state/rootfs/python/tree && cd state/rootfs/python/tree && mkdir -p usr/bin "
        "dev/shm work tmp proc data run etc && "
        "for n in null zero full random urandom; do : > dev/$n; done" +
        (without.empty() ? "" : "; rm -r " + without);
    ASSERT_EQ(sh(script).status, 0);
  }
  Outcome with_image(const std::string& command) const {
    return sh("JAILRUN_STATE_DIR=$PWD/state; export JAILRUN_STATE_DIR; " + command);
  }
  // Runs it where `change` was done first, seen by nobody else.
  Outcome privately(const std::string& change, const std::string& command) const {
    return sh("unshare -m sh -c '" + change + " && " + command + "'");
  }
};

TEST_F(CliHost, WithoutAnImageNamesItAndHowToBuildIt) {
  ASSERT_EQ(sh("mkdir state").status, 0);
  expect_refused(with_image("$J exec --out out -- /bin/true"), 125, {"image 'python'"});
  EXPECT_FALSE(std::filesystem::exists(dir_ / "out")) << "made for nothing";
  expect_refused(with_image("$J exec -- /bin/true"), 125,
                 {"image 'python'", "state/rootfs/python", "jailrun rootfs build"});
}

TEST_F(CliHost, WithADamagedImageNamesTheStepAndHowToVerify) {
  for (const char* missing : {"work", "proc", "dev/null", "dev/shm", "run", "tmp"}) {
    make_image(missing);
    write("s.py", "");
    expect_refused(with_image("$J run s.py"), 125,
                   {"cannot mount", "image is damaged", "jailrun rootfs verify"});
  }
}

TEST_F(CliHost, WithAnImageWithoutPythonSaysThatItIsDamaged) {
  make_image();
  write("s.py", "print(1)");
  expect_refused(with_image("$J run s.py"), 127, {"/usr/bin/python3", "jailrun rootfs verify"});
}

TEST_F(CliHost, WithAnImageThatOthersMayChangeRefusesIt) {
  make_image();
  ASSERT_EQ(sh("chmod 777 state/rootfs/python/tree").status, 0);
  expect_refused(with_image("$J exec -- /bin/true"), 125,
                 {"could be changed by other users", "jailrun rootfs build"});
  ASSERT_EQ(sh("chmod 755 state/rootfs/python/tree; chown 1234 state/rootfs/python/tree").status,
            0);
  expect_refused(with_image("$J exec -- /bin/true"), 125, {"could be changed by other users"});
}

TEST_F(CliHost, WithAFileForAnImageRefusesIt) {
  ASSERT_EQ(sh("mkdir -p state/rootfs/python; : > state/rootfs/python/tree").status, 0);
  expect_refused(with_image("$J exec -- /bin/true"), 125, {"image 'python'", "Not a directory"});
}

// What nothing delegates is refused with one remedy, unless the policy says that it may be lacking.
TEST_F(CliHost, OfAPlainUserWithoutDelegationRefusesInOneLineAndRunsUnlimitedWhereThatIsAskedFor) {
  const std::string user = "setpriv --reuid 65534 --regid 65534 --clear-groups $J exec --cold ";
  expect_refused(sh("unset XDG_RUNTIME_DIR; HOME=/nonexistent " + user + "-- /bin/true"), 125,
                 {"XDG_RUNTIME_DIR is not set"});
  ASSERT_EQ(sh("install -d -m 700 -o 65534 run").status, 0);
  const std::string here = "cd /; XDG_RUNTIME_DIR=" + (dir_ / "run").string() + " " + user;
  expect_refused(sh(here + "-- /bin/true"), 125,
                 {"cannot create a cgroup", "--policy python-unlimited"});
  const Outcome unlimited = sh(here + "--policy python-unlimited -- /bin/echo ran");
  EXPECT_EQ(unlimited.status, 0) << unlimited.err;
  EXPECT_EQ(unlimited.out, "ran\n");
  EXPECT_THAT(unlimited.err, testing::HasSubstr("nothing limits memory, processes and CPU"));
}

TEST_F(CliHost, WithoutCgroupsNamesThem) {
  expect_refused(privately("mount -t tmpfs none /sys/fs/cgroup", "$J exec -- /bin/true"), 125,
                 {"cgroup", "/sys/fs/cgroup"});
  expect_refused(
      privately("mount -t tmpfs none /proc", "/proc/nothing 2>/dev/null; $J exec -- /bin/true"),
      125, {"jailrun"});
}

TEST_F(CliHost, WithCgroupsThatCannotBeWrittenNamesThem) {
  const char* read_only =
      "for h in /sys/fs/cgroup /sys/fs/cgroup/*; do mountpoint -q $h && mount -o remount,bind,ro "
      "$h; done; true";
  expect_refused(privately(read_only, "$J exec -- /bin/true"), 125,
                 {"cannot create a cgroup", "Read-only file system"});
}

TEST_F(CliHost, WithARunDirectoryThatOthersMayReadRefusesIt) {
  expect_refused(
      privately("mount -t tmpfs none /run && mkdir -m 777 /run/jailrun", "$J exec -- /bin/true"),
      125, {"/run/jailrun is not private"});
  expect_refused(
      privately("mount -t tmpfs none /run && ln -s /tmp /run/jailrun", "$J exec -- /bin/true"), 125,
      {"/run/jailrun"});
  expect_refused(privately("mount -t tmpfs -o ro none /run", "$J exec -- /bin/true"), 125,
                 {"cannot create /run/jailrun"});
}

TEST_F(CliHost, WithAFullRunDirectoryStillRunsOrNamesIt) {
  const Outcome outcome =
      privately("mount -t tmpfs -o size=4k,nr_inodes=3 none /run", "$J exec -- /bin/true");
  if (outcome.status != 0) expect_refused(outcome, 125, {"run directory"});
}

TEST_F(CliHost, WithoutTheOtherProgramNamesIt) {
  expect_refused(sh("cp $J ./jailrun; ./jailrun exec -- /bin/true"), 125,
                 {"jailrun-full", "beside jailrun"});
  expect_refused(sh("cp $J ./jailrun; ./jailrun doctor"), 125, {"jailrun-full", "beside jailrun"});
}

TEST_F(CliHost, WithACachedPlanThatWasTamperedWithCompilesItAgain) {
  const std::string spoil =
      "mount -t tmpfs none /run; $J exec -- /bin/true; for p in /run/jailrun/plan-*; do "
      "truncate -s 100 $p; done; $J exec -- /bin/echo works";
  EXPECT_EQ(privately("true", spoil).out, "works\n");
}

TEST_F(CliHost, FromADirectoryThatIsGoneStillRuns) {
  EXPECT_EQ(sh("mkdir gone; cd gone; rmdir ../gone; $J exec -- /bin/echo works").out, "works\n");
}

}  // namespace
}  // namespace jailrun::test
