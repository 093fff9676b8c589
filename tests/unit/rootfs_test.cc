// The store of images: keys, manifests, verification, interrupted builds. On small real trees and
// with real builders: a recipe directory whose build.py is a few lines long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "rootfs/build.h"
#include "rootfs/manifest.h"
#include "rootfs/recipe.h"
#include "rootfs/store.h"

namespace jailrun::rootfs {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// A builder that does what the real one does as far as the store can see.
constexpr std::string_view kBuilder = R"(
import json, os, sys
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
tree = args['--tree']
os.makedirs(tree + '/etc')
with open(tree + '/etc/hostname', 'w') as file:
    file.write('jail\n')
os.symlink('etc', tree + '/link')
print('made a tree')
EXTRA
with open(args['--report'], 'w') as file:
    json.dump({'python': '3.13.5', 'debian': [],
               'wheel': [{'name': 'pandas', 'version': '2.3.3', 'license': 'BSD'}]}, file)
)";

class Rootfs : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "jailrun-rootfs-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    // A key of its own for every test: whether a generation is in use is seen in the mounts of all
    // processes, by its name, and the tests run side by side.
    for (const char* input : {"recipe.toml", "requirements.lock", "common.py", "debian.py",
                              "wheels.py", "guest/site/one.py", "guest/bake/two.py"})
      write(recipe() / input, "# " + pattern + " " + input + "\n");
    builder("");
  }
  void TearDown() override { fs::remove_all(root_); }

  // `extra` runs when the tree is there and the report is not.
  void builder(std::string_view extra) {
    std::string text(kBuilder);
    text.replace(text.find("EXTRA"), 5, extra);
    write(recipe() / "build.py", text);
  }

  fs::path recipe() const { return root_ / "recipe"; }
  Store store() const { return Store((root_ / "state").string()); }
  fs::path images() const { return root_ / "state/rootfs"; }
  std::string key() const { return recipe_key(recipe()).value(); }

  Expected<Built> make(BuildOptions options = {}) const {
    return build(store(), recipe(), options);
  }

  // Names in the directory of images, without the lock.
  std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& item : fs::directory_iterator(images()))
      if (item.path().filename() != ".lock") names.push_back(item.path().filename());
    std::ranges::sort(names);
    return names;
  }

  // A build in a process of its own; its wait status.
  int make_in_child() const {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(make() ? 0 : 1);
    int status = 0;
    ::waitpid(pid, &status, 0);
    return status;
  }

  std::vector<std::string> differences() const {
    const Generation generation = store().current("python").value();
    const Manifest manifest = read_manifest(generation).value();
    std::vector<std::string> lines;
    for (const Difference& d : compare(manifest.entries, scan(generation.path + "/tree").value()))
      lines.push_back(d.path + ": " + d.what);
    return lines;
  }

  fs::path root_;
};

TEST_F(Rootfs, ABuildMakesACurrentGenerationWithItsManifest) {
  std::vector<std::string> lines;
  const Expected<Built> built =
      make({.progress = [&](std::string_view line) { lines.emplace_back(line); }});
  ASSERT_TRUE(built) << built.error().line();
  EXPECT_FALSE(built->up_to_date);
  EXPECT_THAT(listing(), ElementsAre("python", "python-" + key()));
  EXPECT_EQ(fs::read_symlink(images() / "python"), "python-" + key());
  EXPECT_THAT(lines, ElementsAre("made a tree", "hashing every file"));
  const Manifest manifest = read_manifest(built->generation).value();
  EXPECT_EQ(manifest.key, key());
  EXPECT_EQ(manifest.bytes, 5u);
  EXPECT_EQ(version_of(manifest, "pandas"), "2.3.3");
  EXPECT_EQ(manifest.entries.size(), 4u);  // the root, etc, etc/hostname, link
  EXPECT_THAT(differences(), IsEmpty());
}

TEST_F(Rootfs, ASecondBuildDoesNothing) {
  ASSERT_TRUE(make());
  write(images() / "python/tree/mark", "still here");
  const Expected<Built> again = make();
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->up_to_date);
  EXPECT_TRUE(fs::exists(images() / "python/tree/mark"));
}

TEST_F(Rootfs, ARebuildOfTheSameRecipeReplacesTheTree) {
  ASSERT_TRUE(make());
  write(images() / "python/tree/mark", "damage");
  const Expected<Built> again = make({.rebuild = true});
  ASSERT_TRUE(again) << again.error().line();
  EXPECT_FALSE(again->up_to_date);
  EXPECT_THAT(differences(), IsEmpty());
  EXPECT_THAT(listing(), ElementsAre("python", "python-" + key()));
}

TEST_F(Rootfs, TheKeyChangesWithEveryInputAndWithNothingElse) {
  const std::string before = key();
  const std::vector<std::string> inputs = recipe_inputs(recipe()).value();
  EXPECT_EQ(inputs.size(), 8u);
  for (const std::string& input : inputs) {
    std::ofstream(recipe() / input, std::ios::app) << "x";
    EXPECT_NE(key(), before) << input;
    fs::resize_file(recipe() / input, fs::file_size(recipe() / input) - 1);
    EXPECT_EQ(key(), before) << input;
  }
  write(recipe() / "guest/site/three.py", "");
  EXPECT_NE(key(), before) << "a new file for the guest";
  fs::remove(recipe() / "guest/site/three.py");
  write(recipe() / "README.md", "words");
  write(recipe() / "guest/site/__pycache__/one.cpython-313.pyc", "byte code");
  EXPECT_EQ(key(), before);
}

TEST_F(Rootfs, MovingTextFromOneInputToAnotherChangesTheKey) {
  write(recipe() / "debian.py", "ab");
  write(recipe() / "common.py", "c");
  const std::string before = key();
  write(recipe() / "debian.py", "b");
  write(recipe() / "common.py", "ca");
  EXPECT_NE(key(), before);
}

TEST_F(Rootfs, AMissingInputIsNamed) {
  fs::remove(recipe() / "wheels.py");
  const Expected<Built> built = make();
  ASSERT_FALSE(built);
  EXPECT_THAT(built.error().line(), HasSubstr("wheels.py: No such file or directory"));
}

TEST_F(Rootfs, AChangedRecipeMakesANewGenerationAndRemovesTheOld) {
  ASSERT_TRUE(make());
  const std::string old = "python-" + key();
  write(recipe() / "requirements.lock", "numpy==2.0\n");
  const Expected<Built> built = make();
  ASSERT_TRUE(built) << built.error().line();
  EXPECT_NE("python-" + key(), old);
  EXPECT_THAT(listing(), ElementsAre("python", "python-" + key()));
}

TEST_F(Rootfs, AnOldGenerationStaysWhileAProcessHasItMounted) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts a tree in a namespace of its own";
  ASSERT_TRUE(make());
  const std::string old = "python-" + key();
  int ready[2], done[2];
  ASSERT_EQ(::pipe(ready) + ::pipe(done), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string tree = images() / old / "tree";
    const std::string script = "mount --bind '" + tree + "' '" + tree + "' && echo x >&" +
                               std::to_string(ready[1]) + " && read x <&" + std::to_string(done[0]);
    ::close(ready[0]);
    ::close(done[1]);
    ::execlp("unshare", "unshare", "--mount", "sh", "-c", script.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ready[1]);
  ::close(done[0]);
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1) << "the tree could not be mounted";
  write(recipe() / "recipe.toml", "changed");
  ASSERT_TRUE(make());
  EXPECT_TRUE(fs::exists(images() / old / "manifest.json"));
  ::close(done[1]);
  ::waitpid(pid, nullptr, 0);
  ASSERT_TRUE(make({.rebuild = true}));
  EXPECT_FALSE(fs::exists(images() / old));
  ::close(ready[0]);
}

TEST_F(Rootfs, VerifyFindsAFlippedByte) {
  ASSERT_TRUE(make());
  write(images() / "python/tree/etc/hostname", "Jail\n");
  EXPECT_THAT(differences(), ElementsAre("etc/hostname: content changed"));
}

TEST_F(Rootfs, VerifyFindsExtraAndMissingFiles) {
  ASSERT_TRUE(make());
  write(images() / "python/tree/usr/evil", "");
  fs::remove(images() / "python/tree/etc/hostname");
  EXPECT_THAT(differences(), ElementsAre("etc/hostname: missing", "usr: extra", "usr/evil: extra"));
}

TEST_F(Rootfs, VerifyFindsAChangedMode) {
  ASSERT_TRUE(make());
  ASSERT_EQ(::chmod((images() / "python/tree/etc/hostname").c_str(), 04755), 0);
  EXPECT_THAT(differences(), ElementsAre("etc/hostname: mode was 0644, is 4755"));
}

TEST_F(Rootfs, VerifyFindsAChangedLinkATypeAndAnOwner) {
  ASSERT_TRUE(make());
  const fs::path tree = images() / "python/tree";
  fs::remove(tree / "link");
  fs::create_symlink("/proc", tree / "link");
  fs::remove(tree / "etc/hostname");
  fs::create_directory(tree / "etc/hostname");
  std::vector<std::string> expected = {"etc/hostname: was a file, is a directory",
                                       "link: pointed to etc, points to /proc"};
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown((tree / "etc").c_str(), 1234, 0), 0);
    expected.insert(expected.begin(), "etc: belongs to another user");
  }
  EXPECT_EQ(differences(), expected);
}

TEST_F(Rootfs, ManifestsThatAreNoneAreErrorsThatNameTheFile) {
  for (const char* text :
       {"", "[]", "{\"format\":2}", "{\"format\":1,\"entries\":[]}", "{\"format\":1",
        "{\"format\":1,\"entries\":[{\"path\":\"a\",\"type\":\"x\"}]}",
        "{\"format\":1,\"entries\":[17]}"}) {
    const Expected<Manifest> manifest = from_json(text, "some/manifest.json");
    ASSERT_FALSE(manifest) << text;
    EXPECT_THAT(manifest.error().line(), HasSubstr("some/manifest.json")) << text;
    EXPECT_THAT(manifest.error().remedy, HasSubstr("build the image anew"));
  }
}

TEST_F(Rootfs, AKilledBuildPublishesNothingAndIsSweptByTheNext) {
  ASSERT_TRUE(make());
  const std::string old = "python-" + key();
  builder("import signal\nos.kill(os.getppid(), signal.SIGKILL)");
  const int status = make_in_child();
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(fs::read_symlink(images() / "python"), old);
  EXPECT_THAT(listing(), ElementsAre(HasSubstr(".building-python-"), "python", old));

  builder("");
  const Expected<Built> again = make({.rebuild = true});
  ASSERT_TRUE(again) << again.error().line();
  EXPECT_THAT(listing(), ElementsAre("python", old));
  EXPECT_THAT(differences(), IsEmpty());
}

TEST_F(Rootfs, AnInterruptedBuildCleansUpAtOnce) {
  builder(
      "import signal, threading\n"
      "os.kill(os.getppid(), signal.SIGINT)\n"
      "threading.Event().wait()");  // ends only because the interruption is handed on
  const Expected<Built> built = make();
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().errno_value, EINTR);
  EXPECT_THAT(listing(), IsEmpty());
}

TEST_F(Rootfs, AFailedBuildTellsTheBuildersReasonAndLeavesNothing) {
  builder(
      "with open(args['--report'], 'w') as file:\n"
      "    json.dump({'error': 'mmdebstrap missing', 'remedy': 'apt install mmdebstrap'}, file)\n"
      "sys.exit(1)");
  const Expected<Built> built = make();
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().line(), "mmdebstrap missing; apt install mmdebstrap");
  EXPECT_THAT(listing(), IsEmpty());
}

TEST_F(Rootfs, ABuilderThatDiesWithoutAWordIsAnErrorToo) {
  builder("os._exit(3)");
  const Expected<Built> built = make();
  ASSERT_FALSE(built);
  EXPECT_THAT(built.error().line(), HasSubstr("the builder ended without an image"));
  EXPECT_THAT(listing(), IsEmpty());
}

TEST_F(Rootfs, MountsOfTheBuilderDoNotReachTheHost) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: the builder mounts";
  builder(
      "import subprocess\nsubprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', tree + '/etc'])\n"
      "open(tree + '/etc/only-in-the-tmpfs', 'w').close()");
  const Expected<Built> built = make();
  ASSERT_TRUE(built) << built.error().line();
  EXPECT_THAT(differences(), IsEmpty());
  EXPECT_FALSE(fs::exists(images() / "python/tree/etc/only-in-the-tmpfs"));
}

TEST_F(Rootfs, TheStoreIsLockedWhileABuilderRunsAndFreeAfterwards) {
  builder(
      "import fcntl\nother = os.open(args['--tree'] + '/../../.lock', os.O_RDWR)\n"
      "try:\n    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    os._exit(9)\n"
      "except BlockingIOError: pass");
  const Expected<Built> built = make();
  ASSERT_TRUE(built) << built.error().line();
  const Fd lock(::open((images() / ".lock").c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(::flock(lock.get(), LOCK_EX | LOCK_NB), 0) << "free once the build is over";
}

TEST_F(Rootfs, AMissingImageIsAnErrorWithTheCommandThatBuildsIt) {
  const Expected<Generation> generation = store().current("python");
  ASSERT_FALSE(generation);
  EXPECT_THAT(generation.error().line(), HasSubstr("jailrun rootfs build"));
}

TEST_F(Rootfs, ImageNamesCannotLeaveTheStore) {
  EXPECT_TRUE(valid_image_name("python"));
  EXPECT_TRUE(valid_image_name("python-3_13"));
  for (const char* name : {"", "../x", "a/b", ".x", "-x", "A", "1", "a b"})
    EXPECT_FALSE(valid_image_name(name)) << name;
}

}  // namespace
}  // namespace jailrun::rootfs
