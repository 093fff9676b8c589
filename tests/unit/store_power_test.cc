// The stores when power fails or the disk is full. Power: at hundreds of instants of one life an
// image is made of what the disk may hold then; in each the stores open, are sound, and have all
// that was acknowledged by that instant, whole.
#include <dlfcn.h>
#include <sched.h>
#include <sys/mount.h>

#include "agent/record/record.h"
#include "agent/service/service.h"
#include "agent/store/database.h"
#include "tests/unit/store_power.h"
#include "tests/unit/store_support.h"

namespace {

jailrun::store::Disk* disk = nullptr;

template <typename Call>
Call* real(Call*, const char* name) {
  return reinterpret_cast<Call*>(::dlsym(RTLD_NEXT, name));
}

bool hears(int fd) {
  if (disk == nullptr || !disk->hears(fd)) return false;
  disk->before();
  return true;
}

}  // namespace

// What changes files and what makes changes certain, for this program and the libraries it loads.
extern "C" {

ssize_t write(int fd, const void* data, size_t bytes) {
  static const auto call = real(&write, "write");
  const bool heard = disk != nullptr && hears(fd);
  const auto at = heard ? ::lseek(fd, 0, SEEK_CUR) : 0;
  const ssize_t n = call(fd, data, bytes);
  if (heard && n > 0) disk->wrote(fd, static_cast<std::uint64_t>(at), data, std::size_t(n));
  return n;
}

ssize_t pwrite64(int fd, const void* data, size_t bytes, off64_t at) {
  static const auto call = real(&pwrite64, "pwrite64");
  const bool heard = hears(fd);
  const ssize_t n = call(fd, data, bytes, at);
  if (heard && n > 0) disk->wrote(fd, static_cast<std::uint64_t>(at), data, std::size_t(n));
  return n;
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t at) {
  return pwrite64(fd, data, bytes, at);
}

int ftruncate64(int fd, off64_t size) noexcept {
  static const auto call = real(&ftruncate64, "ftruncate64");
  const bool heard = hears(fd);
  const int result = call(fd, size);
  if (heard && result == 0) disk->truncated(fd, static_cast<std::uint64_t>(size));
  return result;
}

int ftruncate(int fd, off_t size) noexcept { return ftruncate64(fd, size); }

int fsync(int fd) {
  static const auto call = real(&fsync, "fsync");
  const bool heard = hears(fd);
  const int result = call(fd);
  if (heard && result == 0) disk->synced(fd);
  return result;
}

int fdatasync(int fd) { return fsync(fd); }

}  // extern "C"

namespace jailrun::store {
namespace {

using agent::Record;

constexpr unsigned kSeed = 20268;
constexpr int kRounds = 60;

// What had been acknowledged at an instant.
struct Promised {
  std::map<std::string, std::string> files;  // id: content
  std::set<std::string> gone;
  std::map<std::string, std::string> runs;  // id: answer, empty where it was only begun
  std::set<std::string> gone_runs;
};

class StorePower : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    options_.owner_files = 1'000'000;
  }
  static agent::Captured captured(const std::string& answer) {
    agent::Captured out;
    out.capsule = {{"status", "succeeded"}, {"answer", answer}, {"steps", nlohmann::json::array()}};
    return out;
  }
  FileStore files_in(const std::string& place) {
    root_ = place + "/state/files";
    return open();
  }
  static Record record_in(const std::string& place) {
    return std::move(Record::open(place + "/state/record/record.db", {}).value());
  }
  static std::string integrity(const std::string& path) {
    auto database = Database::open(path);
    auto row = database->prepare("PRAGMA integrity_check");
    return row && row->step().value_or(false) ? row->text(0) : "not to be read";
  }

  void live(const std::string& place, std::mt19937& random, Promised& promised) {
    auto files = std::make_unique<FileStore>(files_in(place));
    auto record = std::make_unique<Record>(record_in(place));
    std::vector<std::string> ids, runs;
    for (int i = 0; i < kRounds; ++i) {
      const std::string text(random() % 6 == 0 ? 70'000 : random() % 3000, char('a' + i % 26));
      const auto file = put(*files, "ada", "f", text);
      ASSERT_TRUE(file) << file.error().line();
      promised.files[file->id] = text;
      ids.push_back(file->id);
      const auto run = record->begin({"ada", "", "question"});
      ASSERT_TRUE(run) << run.error().line();
      promised.runs[*run] = "";
      runs.push_back(*run);
      const std::string answer = "answer " + std::to_string(i) + std::string(random() % 5000, 'x');
      promised.runs.erase(*run);  // either way while it is written
      ASSERT_TRUE(record->end("ada", *run, captured(answer)));
      promised.runs[*run] = answer;
      if (i % 3 == 2) {
        promised.files.erase(ids.front());
        ASSERT_TRUE(files->remove("ada", ids.front()));
        promised.gone.insert(ids.front());
        ids.erase(ids.begin());
        promised.runs.erase(runs.front());
        ASSERT_TRUE(record->remove("ada", runs.front()));
        promised.gone_runs.insert(runs.front());
        runs.erase(runs.begin());
      }
      if (i % 7 == 6) {
        ASSERT_TRUE(files->sweep());
      }
      if (i % 13 == 12) {  // the last one to close takes the log away
        files.reset();
        record.reset();
        files = std::make_unique<FileStore>(files_in(place));
        record = std::make_unique<Record>(record_in(place));
      }
    }
  }

  void look(const std::string& place, const Promised& promised) {
    FileStore files = files_in(place);
    ASSERT_EQ(integrity(root_ + "/files.db"), "ok");
    const Blobs check = Blobs::open(root_).value();
    std::set<std::string> there;
    for (const StoredFile& file : listed(files, "ada")) {
      there.insert(file.id);
      const Expected<Opened> opened = files.get("ada", file.id);
      ASSERT_TRUE(opened) << opened.error().line();
      const std::string text = read(opened->content);
      ::lseek(opened->content.get(), 0, SEEK_SET);
      EXPECT_EQ(check.receive(opened->content.get(), 1 << 20)->sha256(), file.sha256);
      const auto known = promised.files.find(file.id);
      EXPECT_TRUE(known == promised.files.end() || text == known->second);
    }
    for (const auto& [id, text] : promised.files) EXPECT_TRUE(there.contains(id)) << text.size();
    for (const std::string& id : promised.gone) EXPECT_FALSE(there.contains(id));
    EXPECT_TRUE(files.sweep());
    EXPECT_TRUE(put(files, "ada", "next", "works"));

    Record record = record_in(place);
    ASSERT_EQ(integrity(place + "/state/record/record.db"), "ok");
    for (const auto& [id, answer] : promised.runs) {
      const auto capsule = record.capsule("ada", id);
      ASSERT_TRUE(capsule && *capsule);
      EXPECT_TRUE(answer.empty() || (**capsule)["answer"] == answer);
    }
    for (const std::string& id : promised.gone_runs) EXPECT_FALSE(*record.capsule("ada", id));
  }
};

TEST_F(StorePower, CutAtAnyInstantTakesNothingThatWasAcknowledgedAndLeavesNothingHalf) {
  const std::string place = scratch_ + "/live";
  ASSERT_EQ(::mkdir(place.c_str(), 0700), 0);
  std::mt19937 random(kSeed);
  std::vector<std::pair<std::string, Promised>> cuts;
  Promised promised;
  Disk watched(place, kSeed);
  std::size_t calls = 0;
  watched.tick = [&] {
    // All of the beginning, where files and directories are new, then here and there.
    if (++calls > 60 && random() % 8 != 0) return;
    cuts.emplace_back(scratch_ + "/cut-" + std::to_string(cuts.size()), promised);
    watched.image(cuts.back().first);
  };
  disk = &watched;
  std::mt19937 contents(kSeed + 1);
  live(place, contents, promised);
  disk = nullptr;
  EXPECT_GT(cuts.size(), 150u);
  for (const auto& [image, then] : cuts) {
    look(image, then);
    if (HasFailure()) FAIL() << "seed " << kSeed << ", " << image << " of " << cuts.size();
  }
  std::printf("%zu calls, %zu cuts\n", calls, cuts.size());
}

class StoreFull : public StorePower {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    StorePower::SetUp();
    place_ = scratch_ + "/disk";
    ASSERT_EQ(::mkdir(place_.c_str(), 0700), 0);
    // In a mount namespace of this test's own.
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(::mount("none", place_.c_str(), "tmpfs", 0, "size=4m"), 0);
  }
  void TearDown() override {
    if (!place_.empty()) ::umount2(place_.c_str(), MNT_DETACH);
    StorePower::TearDown();
  }
  // Takes the last of the room, but for `pages`.
  void fill(std::size_t pages) const {
    const Fd file(::open((place_ + "/other").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const std::string page(4096, 'x');
    std::size_t count = 0;
    while (::write(file.get(), page.data(), page.size()) == 4096) ++count;
    ASSERT_GT(count, pages);
    ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>((count - pages) * page.size())), 0);
  }
  void make_room() const { ASSERT_EQ(::unlink((place_ + "/other").c_str()), 0); }
  // An honest error: it names the store and what to do, and is a 507 to whoever asks over HTTP.
  void expect_full(const Error& error) const {
    EXPECT_EQ(error.errno_value, ENOSPC) << error.line();
    EXPECT_THAT(error.line(), testing::HasSubstr(place_));
    EXPECT_THAT(error.line(), testing::HasSubstr("room"));
    EXPECT_EQ(service::reply_from(error).status, 507u);
  }
  std::string place_;
};

TEST_F(StoreFull, DiskIsNamedLosesNothingAndIsUsedAgainOnceThereIsRoom) {
  FileStore files = files_in(place_);
  Record record = record_in(place_);
  const auto kept = put(files, "ada", "kept", "kept content");
  ASSERT_TRUE(kept);
  const std::string run = record.begin({"ada", "", "question"}).value();
  ASSERT_TRUE(record.end("ada", run, captured("answer")));
  int refused = 0, refused_runs = 0;
  for (const std::size_t pages : {0, 1, 2, 3, 5, 8, 12, 20}) {
    fill(pages);
    const auto file = put(files, "ada", "more", std::string(9000, 'm'));
    if (!file) ++refused, expect_full(file.error());
    const auto begun = record.begin({"ada", "", std::string(20'000, 'q')});
    if (!begun) ++refused_runs, expect_full(begun.error());
    // What is there can be read while it is full.
    const auto opened = files.get("ada", kept->id);
    ASSERT_TRUE(opened) << opened.error().line();
    EXPECT_EQ(read(opened->content), "kept content");
    EXPECT_EQ((**record.capsule("ada", run))["answer"], "answer");
    make_room();
    const auto again = put(files, "ada", "more", std::string(9000, 'm'));
    ASSERT_TRUE(again) << again.error().line();
    EXPECT_TRUE(files.remove("ada", again->id));
    ASSERT_TRUE(record.begin({"ada", "", "again"}));
    EXPECT_EQ(integrity(root_ + "/files.db"), "ok");
  }
  EXPECT_GT(refused, 2);
  EXPECT_GT(refused_runs, 2);
  ASSERT_TRUE(files.sweep());
}

}  // namespace
}  // namespace jailrun::store
