// The file store under kill -9: a writer that puts, replaces, removes and sweeps is killed at a
// random instant, a few hundred times. Whatever it had promised holds: no row without its whole
// blob, and a file that was reported as stored is there; the rest goes with the next sweep.
#include <poll.h>
#include <sys/wait.h>

#include <csignal>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "tests/unit/store_support.h"

namespace jailrun::store {
namespace {

constexpr int kRounds = 300;
constexpr unsigned kSeed = 20240;

class StoreKilled : public StoreTest {
 protected:
  // Writes lines to `report`: "+ID NAME" after a put has returned, "?ID" before a removal begins.
  // Never returns.
  [[noreturn]] void write_until_killed(int round, int report) const {
    FileStore store = open();
    std::mt19937 random(kSeed + static_cast<unsigned>(round));
    std::vector<std::string> mine;
    const auto say = [report](const std::string& line) {
      if (write_all(report, line.data(), line.size()) != 0) ::_exit(0);
    };
    for (int i = 0;; ++i) {
      // Some contents are large, some come again and again.
      const std::size_t size = random() % 4 == 0 ? 100'000 : random() % 3000;
      const std::string text(size, static_cast<char>('a' + random() % 3));
      const auto file = put(store, "ada", "f" + std::to_string(i), text);
      if (!file) ::_exit(3);
      mine.push_back(file->id);
      say("+" + file->id + " " + std::to_string(size) + "\n");
      if (mine.size() > 4) {
        say("?" + mine.front() + "\n");
        if (!store.remove("ada", mine.front())) ::_exit(4);
        mine.erase(mine.begin());
      }
      if (i % 7 == 6 && !store.sweep()) ::_exit(5);
    }
  }

  // What it reported until it died: {id: size} of the files that must be there.
  static std::map<std::string, std::uint64_t> promised(const std::string& report) {
    std::map<std::string, std::uint64_t> files;
    std::istringstream lines(report);
    std::string line;
    while (std::getline(lines, line)) {
      if (lines.eof()) break;  // cut in the middle
      if (line[0] == '?') files.erase(line.substr(1));
      if (line[0] == '+') files[line.substr(1, 32)] = std::stoull(line.substr(34));
    }
    return files;
  }
};

TEST_F(StoreKilled, LosesNoStoredFileAndKeepsNoHalfOne) {
  options_.owner_files = 1'000'000;
  std::mt19937 random(kSeed);
  std::map<std::string, std::uint64_t> expected;
  std::set<std::string> whole;  // contents that were read and are what they are called
  std::uint64_t leftovers = 0;
  for (int round = 0; round < kRounds; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Fd out(ends[0]), in(ends[1]);
    const pid_t writer = ::fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) write_until_killed(round, in.get());
    in.reset();
    // Up to 10 ms after its start: in the middle of anything, opening included.
    const timespec wait{.tv_sec = 0, .tv_nsec = static_cast<long>(random() % 10'000'000)};
    ::ppoll(nullptr, 0, &wait, nullptr);
    ASSERT_EQ(::kill(writer, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(writer, &status, 0), writer);
    ASSERT_TRUE(WIFSIGNALED(status)) << "round " << round << ": status " << WEXITSTATUS(status);
    expected.merge(promised(read(out)));

    FileStore store = open();
    const Blobs check = Blobs::open(root_).value();
    std::set<std::string> there, digests;
    for (const StoredFile& file : listed(store, "ada")) {
      there.insert(file.id);
      if (!digests.insert(file.sha256).second) continue;
      const Expected<Opened> opened = store.get("ada", file.id);
      ASSERT_TRUE(opened) << "round " << round << ": " << opened.error().line();
      if (!whole.insert(file.sha256).second) continue;
      EXPECT_EQ(check.receive(opened->content.get(), 1 << 20)->sha256(), file.sha256);
    }
    for (const auto& [id, size] : expected) ASSERT_TRUE(there.contains(id)) << "round " << round;
    leftovers += store.sweep()->blobs;
    EXPECT_EQ(blobs(), digests.size()) << "round " << round;
    // Small again, so that each round costs the same.
    if (round % 10 == 9) {
      store.remove_all("ada").value();
      expected.clear();
      whole.clear();
      EXPECT_EQ(blobs(), 0u);
    }
  }
  // Else nobody was ever killed in the middle, and the test proves nothing.
  EXPECT_GT(leftovers, 10u);
}

}  // namespace
}  // namespace jailrun::store
