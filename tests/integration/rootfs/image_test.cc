// The image as it is built: what is in it, what is not, and that its Python works read-only.
// Programs of the image run rooted in it, without network, as uid 1000, with the environment of the
// policy `python`; the jail itself has its own tests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "rootfs/manifest.h"
#include "rootfs/store.h"

namespace jailrun::rootfs {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kInside = R"(
set -e
tree=$1; script=$2; out=$3
mount --bind "$tree" "$tree"; mount -o remount,bind,ro "$tree"
for place in tmp work dev/shm; do mount -t tmpfs -o mode=1777 tmpfs "$tree/$place"; done
for device in null zero full random urandom; do mount --bind /dev/$device "$tree/dev/$device"; done
mount -t proc proc "$tree/proc"
exec unshare --root="$tree" --wd=/work --setuid 1000 --setgid 1000 -- /usr/bin/env -i PATH=/usr/bin \
  HOME=/tmp LC_ALL=C.UTF-8 MPLBACKEND=Agg PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
  OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 - <"$script" >"$out/out" 2>"$out/err"
)";

struct Outcome {
  int status = -1;
  std::string out, err;
};

std::string slurp(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Image : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: chroots into the image";
    const Expected<Store> store = Store::of_user();
    const Expected<Generation> current = store->current("python");
    if (!current) GTEST_SKIP() << "needs the image: jailrun rootfs build";
    tree_ = current->path + "/tree";
    const Expected<Manifest> manifest = read_manifest(*current);
    ASSERT_TRUE(manifest) << manifest.error().line();
    manifest_ = *manifest;
    std::string pattern = fs::temp_directory_path() / "jailrun-image-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    scratch_ = pattern;
  }
  void TearDown() override {
    if (!scratch_.empty()) fs::remove_all(scratch_);
  }

  Outcome python(const std::string& code) const {
    std::ofstream(scratch_ / "script") << code;
    std::ofstream(scratch_ / "inside.sh") << kInside;
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::execlp("unshare", "unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child",
               "sh", (scratch_ / "inside.sh").c_str(), tree_.c_str(), (scratch_ / "script").c_str(),
               scratch_.c_str(), nullptr);
      ::_exit(127);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, slurp(scratch_ / "out"),
            slurp(scratch_ / "err")};
  }

  fs::path tree_, scratch_;
  Manifest manifest_;
};

TEST_F(Image, ImportsEveryPackageOfTheRecipeWithoutAWordOnStderr) {
  const Outcome run = python(R"(
import importlib
for name in ("numpy pandas pyarrow pyarrow.parquet scipy scipy.stats sklearn sklearn.ensemble statsmodels.api "
             "statsmodels.formula.api matplotlib.pyplot seaborn plotly.express altair duckdb polars openpyxl "
             "PIL.Image sympy networkx Bio.Seq tabulate sqlite3 zoneinfo ssl lzma bz2 ctypes").split():
    importlib.import_module(name)
print("all")
)");
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.out, "all\n");
  EXPECT_EQ(run.err, "");
}

TEST_F(Image, EveryRequirementOfEveryPackageIsMet) {
  const Outcome run = python(R"(
from importlib.metadata import distributions, version
from packaging.requirements import Requirement
for package in distributions():
    for text in package.requires or []:
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            try: met = need.specifier.contains(version(need.name), prereleases=True)
            except Exception: met = False
            if not met: print(package.metadata["Name"], "needs", text)
)");
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_EQ(run.out, "");
}

TEST_F(Image, PlotsAtOnceWithTheFontListOfTheImage) {
  const Outcome run = python(R"(
import time
start = time.perf_counter()
import matplotlib.pyplot as plt
plt.plot([1, 3, 2]); plt.title("größe"); plt.savefig("plot.png")
seconds = time.perf_counter() - start
import os
from matplotlib import font_manager
assert os.path.getsize("plot.png") > 5000
assert not any("fontlist" in name for _, _, names in os.walk("/tmp") for name in names), "built anew"
assert os.path.exists(font_manager.findfont("DejaVu Sans"))
assert any(font.fname.startswith("/usr/share/fonts") for font in font_manager.fontManager.ttflist)
print("fast" if seconds < 1.5 else seconds)
)");
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.out, "fast\n");
  EXPECT_EQ(run.err, "");
}

TEST_F(Image, LoadsDataSetsThatPackagesShip) {
  const Outcome run = python(R"(
import seaborn as sns
for name in ("tips", "iris", "gapminder", "penguins", "titanic"):
    print(name, *sns.load_dataset(name).shape)
print(*sns.load_dataset("tips").columns, sns.load_dataset("tips")["day"].dtype)
for name in sns.get_dataset_names():
    assert len(sns.load_dataset(name)) > 0, name
)");
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.out,
            "tips 244 7\niris 150 5\ngapminder 1704 10\npenguins 344 7\ntitanic 1309 15\n"
            "total_bill tip sex smoker day time size category\n");
  EXPECT_EQ(run.err, "");
}

TEST_F(Image, NamesTheDataSetsThatThereAreWhenAskedForAnother) {
  const Outcome run = python("import seaborn as sns\nsns.load_dataset('diamonds')\n");
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.err,
              HasSubstr("ValueError: data set 'diamonds' is not in this image, and there is no "
                        "network to fetch it; available: anes96, "));
  EXPECT_THAT(run.err, HasSubstr("gapminder"));
  EXPECT_THAT(run.err, HasSubstr("tips"));
}

TEST_F(Image, HasAUserANameAndZoneInformation) {
  const Outcome run = python(R"(
import os, pwd, socket, zoneinfo, datetime, locale
user = pwd.getpwuid(os.getuid())
print(user.pw_name, user.pw_uid, user.pw_gid, user.pw_dir, os.getcwd())
print(zoneinfo.ZoneInfo("Europe/Berlin").utcoffset(datetime.datetime(2024, 7, 1)))
print(open("/etc/hostname").read().strip(), locale.getpreferredencoding())
)");
  EXPECT_EQ(run.out, "sandbox 1000 1000 /tmp /work\n2:00:00\njail UTF-8\n") << run.err;
}

TEST_F(Image, EveryModuleHasByteCodeThatIsNeverCheckedAgainstItsSource) {
  const Outcome run = python(R"(
import glob, importlib.util, json, os, struct, sys
for name in ("json", "numpy", "pandas", "matplotlib.font_manager", "seaborn.utils", "jailrun_datasets"):
    cached = importlib.util.find_spec(name).cached
    flags = struct.unpack("<I", open(cached, "rb").read(8)[4:])[0]
    print(name, flags)
)");
  EXPECT_EQ(
      run.out,
      "json 1\nnumpy 1\npandas 1\nmatplotlib.font_manager 1\nseaborn.utils 1\njailrun_datasets 1\n")
      << run.err;
}

TEST_F(Image, IsOwnedByRootAndHasNothingSetuidOrWritableByOthers) {
  std::vector<std::string> bad;
  std::size_t seen = 0;
  for (const auto& item : fs::recursive_directory_iterator(tree_)) {
    struct stat status;
    ASSERT_EQ(::lstat(item.path().c_str(), &status), 0);
    ++seen;
    const bool link = S_ISLNK(status.st_mode);
    if (!link && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) bad.push_back(item.path());
    if (status.st_uid != 0 || status.st_gid != 0) bad.push_back(item.path());
    if (!link && (status.st_mode & 07022) != 0) bad.push_back(item.path());
  }
  EXPECT_GT(seen, 10000u);
  EXPECT_THAT(bad, IsEmpty());
}

TEST_F(Image, HasNoPackageManagerAndNoToolThatAGuestHasNoUseFor) {
  for (const char* name :
       {"apt",    "apt-get", "dpkg",     "dpkg-deb", "pip",     "pip3",    "perl",   "mount",
        "umount", "su",      "sudo",     "nc",       "ncat",    "curl",    "wget",   "ssh",
        "gcc",    "cc",      "ldconfig", "chroot",   "unshare", "nsenter", "newgrp", "passwd"})
    for (const char* place : {"usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"})
      EXPECT_FALSE(fs::exists(tree_ / place / name)) << place << "/" << name;
  for (const char* place :
       {"var/lib/dpkg", "var/lib/apt", "etc/apt", "var/cache", "var/log", "root", "home"})
    EXPECT_FALSE(fs::exists(tree_ / place)) << place;
  EXPECT_TRUE(fs::exists(tree_ / "usr/bin/python3")) << "the twin: what is there is found";
}

TEST_F(Image, HasEmptyMountPointsAndBindTargets) {
  for (const char* place : {"proc", "tmp", "work", "data", "run", "dev/shm"}) {
    EXPECT_TRUE(fs::is_directory(tree_ / place)) << place;
    EXPECT_TRUE(fs::is_empty(tree_ / place)) << place;
  }
  for (const char* device : {"null", "zero", "full", "random", "urandom"}) {
    EXPECT_TRUE(fs::is_regular_file(tree_ / "dev" / device)) << device;
    EXPECT_EQ(fs::file_size(tree_ / "dev" / device), 0u) << device;
  }
  EXPECT_EQ(fs::read_symlink(tree_ / "dev/fd"), "/proc/self/fd");
  EXPECT_EQ(fs::read_symlink(tree_ / "dev/stdin"), "/proc/self/fd/0");
  EXPECT_EQ(fs::read_symlink(tree_ / "dev/stdout"), "/proc/self/fd/1");
  EXPECT_EQ(fs::read_symlink(tree_ / "dev/stderr"), "/proc/self/fd/2");
}

TEST_F(Image, ItsManifestNamesEveryPackageWithALicence) {
  std::set<std::string> names;
  for (const Package& package : manifest_.packages) {
    names.insert(package.name);
    EXPECT_NE(package.version, "") << package.name;
    EXPECT_NE(package.license, "") << package.name;
    EXPECT_NE(package.license, "unknown") << package.name;
  }
  for (const char* name : {"pandas", "numpy", "python3.13", "libc6"})
    EXPECT_TRUE(names.contains(name)) << name;
  EXPECT_TRUE(version_of(manifest_, "pandas").starts_with("2.")) << version_of(manifest_, "pandas");
}

}  // namespace
}  // namespace jailrun::rootfs
