// The file store: owners, quotas, expiry, contents that are there once. What happens to it when its
// processes are killed is store_kill_test.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <fstream>
#include <regex>
#include <set>

#include "agent/store/file_types.h"
#include "tests/unit/store_support.h"

namespace jailrun::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Store : public StoreTest {};

TEST_F(Store, GivesBackWhatWasPutWithAllThatIsKnownOfIt) {
  FileStore store = open();
  const Expected<StoredFile> put_file = put(store, "ada", "sales.csv", "a,b\n1,2\n");
  ASSERT_TRUE(put_file) << put_file.error().line();
  const Expected<Opened> opened = store.get("ada", put_file->id);
  ASSERT_TRUE(opened) << opened.error().line();
  EXPECT_EQ(read(opened->content), "a,b\n1,2\n");
  const StoredFile& file = opened->file;
  EXPECT_EQ(file.name, "sales.csv");
  EXPECT_EQ(file.owner, "ada");
  EXPECT_EQ(file.type, "csv");
  EXPECT_EQ(file.media_type, "text/csv");
  EXPECT_EQ(file.kind, "upload");
  EXPECT_EQ(file.bytes, 8u);
  EXPECT_EQ(file.sha256, "492d5ea496056f1a6a6592241032fab764c321596317930b4fa0e1e8bc3b7470");
  EXPECT_EQ(file.uploaded_s, clock_);
  EXPECT_EQ(file.expires_s, clock_ + 48 * 3600);
}

TEST_F(Store, HasIdsThatNobodyGuesses) {
  FileStore store = open();
  std::set<std::string> ids;
  for (int i = 0; i < 10; ++i) ids.insert(put(store, "ada", "x", "same")->id);
  EXPECT_EQ(ids.size(), 10u);
  for (const std::string& id : ids) EXPECT_TRUE(std::regex_match(id, std::regex("[0-9a-f]{32}")));
}

TEST_F(Store, KnowsAFileToItsOwnerAlone) {
  FileStore store = open();
  const std::string id = put(store, "ada", "secret.txt", "x")->id;
  EXPECT_EQ(store.info("eve", id).error().errno_value, ENOENT);
  EXPECT_EQ(store.get("eve", id).error().errno_value, ENOENT);
  EXPECT_EQ(store.get("eve", id).error().line(), store.get("eve", std::string(id)).error().line());
  EXPECT_FALSE(store.remove("eve", id).value());
  EXPECT_EQ(store.remove_all("eve").value(), 0u);
  EXPECT_THAT(names(store, "eve"), IsEmpty());
  for (const std::string strange : {"' OR 1=1 --", "%", "_", "ADA", "ada "})
    EXPECT_THAT(names(store, strange), IsEmpty()) << strange;
  EXPECT_TRUE(store.get("ada", id));  // the twin
}

TEST_F(Store, ExpiresFilesAfter48HoursAndSaysSoOnlyToASweep) {
  FileStore store = open();
  const std::string id = put(store, "ada", "old.txt", "x")->id;
  clock_ += 48 * 3600 - 1;
  EXPECT_THAT(names(store, "ada"), ElementsAre("old.txt"));
  EXPECT_EQ(store.sweep()->expired, 0u);
  clock_ += 1;
  EXPECT_THAT(names(store, "ada"), IsEmpty());
  EXPECT_FALSE(store.get("ada", id));
  EXPECT_FALSE(store.remove("ada", id).value());
  EXPECT_EQ(blobs(), 1u);
  const Swept swept = store.sweep().value();
  EXPECT_EQ(swept.expired, 1u);
  EXPECT_EQ(swept.blobs, 1u);
  EXPECT_EQ(blobs(), 0u);
  EXPECT_EQ(store.sweep()->expired, 0u);
}

TEST_F(Store, KeepsFilesForEverWhereItIsToldTo) {
  options_.keep_s = std::nullopt;
  FileStore store = open();
  EXPECT_FALSE(put(store, "ada", "x.txt", "x")->expires_s);
  clock_ += 1'000'000'000;
  EXPECT_EQ(store.sweep()->expired, 0u);
  EXPECT_THAT(names(store, "ada"), ElementsAre("x.txt"));
}

TEST_F(Store, TakesItsLimitsFromTheEnvironmentOrSaysWhatIsWrongThere) {
  const auto with = [](const char* hours, const char* files) {
    ::setenv("FILE_EXPIRATION_HOURS", hours, 1);
    ::setenv("MAX_FILES_PER_USER", files, 1);
    auto options = StoreOptions::from_environment();
    ::unsetenv("FILE_EXPIRATION_HOURS");
    ::unsetenv("MAX_FILES_PER_USER");
    return options;
  };
  EXPECT_EQ(with("", "")->keep_s, 48 * 3600);
  EXPECT_EQ(with("1", "3")->keep_s, 3600);
  EXPECT_EQ(with("1", "3")->owner_files, 3u);
  EXPECT_FALSE(with("-1", "")->keep_s);
  for (const char* bad : {"0", "-2", "two", "1h", "99999999999999999999", "2000000"})
    EXPECT_THAT(with(bad, "").error().line(), HasSubstr("FILE_EXPIRATION_HOURS")) << bad;
  EXPECT_THAT(with("", "0").error().line(), HasSubstr("MAX_FILES_PER_USER"));
  ::setenv("MAX_FILE_SIZE_MB", "3", 1);
  EXPECT_EQ(with("", "")->file_bytes, 3u << 20);
  ::setenv("MAX_FILE_SIZE_MB", "0", 1);
  EXPECT_THAT(with("", "").error().line(), HasSubstr("MAX_FILE_SIZE_MB"));
  ::unsetenv("MAX_FILE_SIZE_MB");
}

TEST_F(Store, TakesANamelessFileOfItsDiskAsItIsAndCopiesEveryOther) {
  options_.file_bytes = 8;
  FileStore store = open();
  const auto nameless = [this](const std::string& text, off_t at) {
    Fd file(::open(root_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    EXPECT_EQ(write_all(file.get(), text.data(), text.size()), 0);
    ::lseek(file.get(), at, SEEK_SET);
    return file;
  };
  const auto stored = [&](const Fd& source, const std::string& name) {
    const Expected<StoredFile> kept = store.put("ada", name, source.get());
    return kept ? store.get("ada", kept->id) : std::unexpected(kept.error());
  };
  const auto inode = [](const Fd& file) {
    struct stat st{};
    ::fstat(file.get(), &st);
    EXPECT_EQ(st.st_mode & 0777, 0400u);
    return st.st_ino;
  };
  const Fd whole = nameless("a,b\n1,2\n", 0);
  const auto taken = stored(whole, "taken.csv");
  ASSERT_TRUE(taken) << taken.error().line();
  EXPECT_EQ(inode(taken->content), inode(whole));
  EXPECT_EQ(taken->file.sha256, "492d5ea496056f1a6a6592241032fab764c321596317930b4fa0e1e8bc3b7470");
  EXPECT_EQ(read(taken->content), "a,b\n1,2\n");
  // Twins: the same content once more, half a file, one that is too large.
  EXPECT_EQ(inode(stored(nameless("a,b\n1,2\n", 0), "again.csv")->content), inode(whole));
  EXPECT_EQ(read(stored(nameless("a,b\n1,2\n", 4), "half.csv")->content), "1,2\n");
  EXPECT_EQ(stored(nameless("too large", 0), "large.csv").error().errno_value, EFBIG);
  EXPECT_EQ(blobs(), 2u);
}

TEST_F(Store, RefusesAFileThatIsTooLargeAndKeepsNothingOfIt) {
  options_.file_bytes = 1000;
  FileStore store = open();
  EXPECT_TRUE(put(store, "ada", "fits.bin", std::string(1000, 'x')));
  const auto large = put(store, "ada", "large.bin", std::string(1001, 'x'));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().errno_value, EFBIG);
  EXPECT_THAT(large.error().line(), HasSubstr("larger than 1000 B"));
  // Of a size that nobody knows before: a pipe.
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd out(ends[0]), in(ends[1]);
  const std::string text(5000, 'x');
  ASSERT_EQ(write_all(in.get(), text.data(), text.size()), 0);
  in.reset();
  EXPECT_EQ(store.put("ada", "pipe.bin", out.get()).error().errno_value, EFBIG);
  EXPECT_EQ(blobs(), 1u);
  EXPECT_THAT(names(store, "ada"), ElementsAre("fits.bin"));
}

TEST_F(Store, TakesFiftyMebibytesByDefaultAndNotAByteMore) {
  FileStore store = open();
  const Fd file(::memfd_create("large", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 50 << 20), 0);
  EXPECT_TRUE(store.put("ada", "most.bin", file.get()));
  ASSERT_EQ(::ftruncate(file.get(), (50 << 20) + 1), 0);
  ::lseek(file.get(), 0, SEEK_SET);
  EXPECT_EQ(store.put("ada", "more.bin", file.get()).error().errno_value, EFBIG);
}

TEST_F(Store, DropsTheOldestOfAnOwnersFilesForTheTwentyFirst) {
  FileStore store = open();
  put(store, "bob", "his.txt", "0").value();
  for (int i = 0; i < 20; ++i)
    put(store, "ada", "f" + std::to_string(i), std::to_string(i)).value();
  EXPECT_EQ(names(store, "ada").size(), 20u);
  put(store, "ada", "f20", "20").value();
  const auto left = names(store, "ada");
  EXPECT_EQ(left.size(), 20u);
  EXPECT_EQ(left.front(), "f20");
  EXPECT_EQ(left.back(), "f1");
  EXPECT_THAT(names(store, "bob"), ElementsAre("his.txt"));
  EXPECT_EQ(blobs(), 21u) << "the content of f0 is bob's, too";
}

TEST_F(Store, CountsExpiredFilesInNoQuota) {
  options_.owner_files = 2;
  FileStore store = open();
  put(store, "ada", "old1", "1").value();
  put(store, "ada", "old2", "2").value();
  clock_ += 49 * 3600;
  put(store, "ada", "new1", "3").value();
  put(store, "ada", "new2", "4").value();
  EXPECT_THAT(names(store, "ada"), ElementsAre("new2", "new1"));
  EXPECT_EQ(blobs(), 2u);
}

TEST_F(Store, HoldsAContentOnceAndAsLongAsSomebodyHasIt) {
  FileStore store = open();
  const std::string first = put(store, "ada", "a.txt", "same")->id;
  const std::string second = put(store, "bob", "b.txt", "same")->id;
  EXPECT_EQ(blobs(), 1u);
  EXPECT_TRUE(store.remove("ada", first).value());
  EXPECT_FALSE(store.remove("ada", first).value());
  EXPECT_EQ(read(store.get("bob", second)->content), "same");
  EXPECT_EQ(store.remove_all("bob").value(), 1u);
  EXPECT_EQ(blobs(), 0u);
}

TEST_F(Store, HidesAnOpenFileFromNobodyWhoHasItOpen) {
  FileStore store = open();
  const std::string id = put(store, "ada", "a.txt", "still here")->id;
  const Opened opened = store.get("ada", id).value();
  store.remove("ada", id).value();
  EXPECT_EQ(read(opened.content), "still here");
}

TEST_F(Store, RefusesNamesThatAreNone) {
  FileStore store = open();
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("a\nb"),
        std::string("a\0b", 3), std::string("\x1b[31m"), std::string("\xff"),
        std::string("\xc0\xaf"), std::string("\xed\xa0\x80"), std::string("\xc2\x9b"),
        std::string("x\u202eslx.exe"), std::string(256, 'x')}) {
    EXPECT_FALSE(put(store, "ada", name, "x")) << testing::PrintToString(name);
    EXPECT_FALSE(put(store, name, "x", "x")) << testing::PrintToString(name);
  }
  for (const std::string& name : {std::string("ü 数据.csv"), std::string("-rf"), std::string("😀"),
                                  std::string("'; DROP TABLE files; --"), std::string(255, 'x')})
    EXPECT_EQ(put(store, "ada", name, "x")->name, name);
  EXPECT_EQ(blobs(), 1u);
}

TEST_F(Store, MendsABlobOfTheWrongSizeWhenTheContentComesAgainAndNamesIt) {
  FileStore store = open();
  const StoredFile file = put(store, "ada", "a.txt", "whole content").value();
  std::ofstream(root_ + "/blobs/" + file.sha256, std::ios::trunc) << "half";
  EXPECT_THAT(store.get("ada", file.id).error().line(), HasSubstr("damaged"));
  put(store, "ada", "again.txt", "whole content").value();
  EXPECT_EQ(read(store.get("ada", file.id)->content), "whole content");
}

TEST_F(Store, SweepsWhatNobodyKnowsAndLeavesWhatSomebodyWrites) {
  FileStore store = open();
  put(store, "ada", "a.txt", "mine").value();
  std::ofstream(root_ + "/blobs/" + std::string(64, 'a')) << "an orphan";
  std::ofstream(root_ + "/blobs/incoming-dead") << "half";
  const Blobs blobs_here = Blobs::open(root_).value();
  {
    const Incoming live = blobs_here.receive(content("being written").get(), 1000).value();
    EXPECT_EQ(store.sweep()->blobs, 2u);
    EXPECT_EQ(blobs(), 2u);
  }
  EXPECT_EQ(blobs(), 1u) << "what was not kept is gone";
  EXPECT_THAT(names(store, "ada"), ElementsAre("a.txt"));
}

TEST_F(Store, IsPrivateAndRefusesDirectoriesOfOthers) {
  FileStore store = open();
  put(store, "ada", "a.txt", "x").value();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
    struct stat st{};
    ASSERT_EQ(::stat(entry.path().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 077, 0u) << entry.path();
  }
  ASSERT_EQ(::chmod(root_.c_str(), 0777), 0);
  EXPECT_THAT(FileStore::open(root_).error().line(), HasSubstr("others"));
  ASSERT_EQ(::chmod(root_.c_str(), 0700), 0);
  EXPECT_TRUE(FileStore::open(root_));
  std::ofstream(scratch_ + "/file") << "x";
  EXPECT_FALSE(FileStore::open(scratch_ + "/file"));
}

TEST_F(Store, SaysThatADatabaseIsNone) {
  {
    FileStore store = open();
  }
  std::ofstream(root_ + "/files.db", std::ios::trunc) << std::string(4096, 'x');
  const auto broken = FileStore::open(root_, options_);
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().line(), HasSubstr("files.db"));
}

TEST_F(Store, IsUsedBySeveralProcessesAtOnce) {
  constexpr int kProcesses = 6, kFiles = 12;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      bool good = true;
      FileStore store = open();
      const std::string owner = "owner" + std::to_string(p);
      for (int i = 0; i < kFiles; ++i) {
        // Contents that all share, so that removals and puts of others cross.
        const auto file =
            put(store, owner, "f" + std::to_string(i), "content " + std::to_string(i));
        good = good && file && store.get(owner, file->id);
        if (i % 2 == 0) good = good && file && store.remove(owner, file->id).value_or(false);
        if (i % 4 == 0) good = good && store.sweep();
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  FileStore store = open();
  for (int p = 0; p < kProcesses; ++p) {
    const auto files = store.list("owner" + std::to_string(p)).value();
    EXPECT_EQ(files.size(), static_cast<std::size_t>(kFiles / 2));
    for (const StoredFile& file : files) EXPECT_TRUE(store.get(file.owner, file.id));
  }
  EXPECT_EQ(blobs(), static_cast<std::size_t>(kFiles / 2));
}

TEST(FileTypes, KnowTheExtensionsAndCallTheRestBinary) {
  EXPECT_GE(known_extensions(), 180u);
  for (const auto& [name, type, media] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"a.csv", "csv", "text/csv"},
           {"a.TSV", "tsv", "text/tab-separated-values"},
           {"a.xlsx", "excel", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
           {"a.xls", "excel", "application/vnd.ms-excel"},
           {"a.ods", "ods", "application/vnd.oasis.opendocument.spreadsheet"},
           {"a.json", "json", "application/json"},
           {"a.jsonl", "jsonl", "application/x-ndjson"},
           {"a.parquet", "parquet", "application/vnd.apache.parquet"},
           {"a.feather", "feather", "application/vnd.apache.arrow.file"},
           {"a.pkl", "pickle", "application/octet-stream"},
           {"a.npy", "numpy", "application/octet-stream"},
           {"a.db", "sqlite", "application/vnd.sqlite3"},
           {"a.yml", "yaml", "application/yaml"},
           {"a.toml", "toml", "application/toml"},
           {"a.xml", "xml", "application/xml"},
           {"a.py", "code", "text/x-python"},
           {"a.html", "html", "text/html"},
           {"a.pdf", "pdf", "application/pdf"},
           {"a.b.png", "image", "image/png"},
           {"a.tar.gz", "archive", "application/gzip"},
           {"a.mp3", "audio", "audio/mpeg"},
           {"a.unknown", "binary", "application/octet-stream"},
           {"noextension", "binary", "application/octet-stream"},
           {"a.", "binary", "application/octet-stream"},
           {"a.csv tsv", "binary", "application/octet-stream"},
           {"a. ", "binary", "application/octet-stream"}}) {
    EXPECT_EQ(type_of(name).type, type) << name;
    EXPECT_EQ(type_of(name).media, media) << name;
  }
}

}  // namespace
}  // namespace jailrun::store
