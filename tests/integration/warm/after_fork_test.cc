// Correct after a fork that no libc function made: what must differ differs, what libraries do
// works.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/integration/warm/in_world.h"

namespace jailrun {
namespace {

constexpr int kChildren = 1000, kAtOnce = 16;

std::string guest(const std::string& name) {
  std::ifstream file(std::string(JAILRUN_SOURCE_DIR) + "/tests/guests/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class AfterFork : public InWorld {};

// As many as kAtOnce jails of the world, all parked.
std::vector<std::unique_ptr<WarmJail>> park_many(World& world) {
  std::vector<std::unique_ptr<WarmJail>> jails;
  for (int i = 0; i < kAtOnce; ++i) {
    auto jail = WarmJail::begin(world);
    if (!jail) return {};
    jails.push_back(std::move(*jail));
  }
  for (auto& jail : jails) {
    while (jail->state() != WarmJail::State::Parked) {
      pollfd entry{jail->control_fd(), POLLIN, 0};
      if (::poll(&entry, 1, 20'000) <= 0 || !jail->advance()) return {};
    }
  }
  return jails;
}

TEST_F(AfterFork, RandomNumbersAndNamesDifferInAThousandChildren) {
  const std::string script = guest("warm_unique.py");
  std::map<std::string, std::set<std::string>> seen;
  int children = 0;
  while (children < kChildren) {
    // All are made before one of them runs: none has anything from another.
    std::vector<std::unique_ptr<WarmJail>> jails = park_many(*world_);
    ASSERT_FALSE(jails.empty());
    for (auto& jail : jails) {
      const test::WarmRun run = test::run_in(*world_, *jail, script);
      ASSERT_EQ(run.err, "");
      std::istringstream lines(run.out);
      for (std::string line; std::getline(lines, line);) {
        const std::size_t value = line.rfind(' ');
        seen[line.substr(0, value)].insert(line.substr(value));
      }
      ++children;
    }
  }
  EXPECT_EQ(seen.size(), 8U);
  for (const auto& [source, values] : seen)
    EXPECT_EQ(values.size(), static_cast<std::size_t>(children)) << source;
}

TEST_F(AfterFork, TheHashSecretIsTheZygotes) {
  std::set<std::string> hashes;
  for (int i = 0; i < 4; ++i) {
    const auto jail = test::park(*world_);
    ASSERT_TRUE(jail.has_value());
    hashes.insert(test::run_in(*world_, **jail, "print(hash('text'))").out);
  }
  EXPECT_EQ(hashes.size(), 1U) << "then the documents must say otherwise";
}

TEST_F(AfterFork, LibrariesWithThreadsProcessesAndFilesWork) {
  const auto jail = test::park(*world_);
  ASSERT_TRUE(jail.has_value()) << jail.error().line();
  const test::WarmRun run = test::run_in(*world_, **jail, guest("warm_libraries.py"));
  EXPECT_EQ(run.out,
            "lapack\npool\nmanager\njoblib\nkmeans\nduckdb\npolars\nparquet\nmatplotlib\n");
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(run.result.verdict, Verdict::Ok);
}

// Its own database is open before the fork: nobody pays for it who does not use it, and nobody has
// random numbers, tables or threads in common with another child.
TEST_F(AfterFork, DuckDbIsThereBeforeTheFirstLineAndEachChildHasADatabaseOfItsOwn) {
  const std::string script =
      "import os, sys\n"
      "early, threads = 'duckdb' in sys.modules, lambda: len(os.listdir('/proc/self/task'))\n"
      "import duckdb\n"
      "print(early, threads(), type(duckdb), *duckdb.sql('select 6 * 7').fetchall()[0], "
      "threads())\n"
      "print(*duckdb.execute(\"select current_setting('memory_limit'), \"\n"
      "    \"current_setting('temp_directory')\").fetchone())\n"
      "duckdb.execute('create table mine as select 1 as x')\n"
      "count = 'select count(*) from duckdb_tables()'\n"
      "print(*duckdb.sql(count).fetchall()[0], *duckdb.connect().execute(count).fetchone())\n"
      "print(duckdb.sql('select random(), uuid()').fetchall(), file=sys.stderr)\n";
  std::set<std::string> drawn;
  for (int i = 0; i < 3; ++i) {
    const auto jail = test::park(*world_);
    ASSERT_TRUE(jail.has_value()) << jail.error().line();
    const test::WarmRun run = test::run_in(*world_, **jail, script);
    EXPECT_EQ(run.out, "True 1 <class 'module'> 42 1\n307.1 MiB /work/.duckdb\n1 0\n");
    drawn.insert(run.err);
  }
  EXPECT_EQ(drawn.size(), 3u);
}

TEST_F(AfterFork, TheScriptIsAnOrdinaryProcessOfItsOwnSession) {
  const auto jail = test::park(*world_);
  ASSERT_TRUE(jail.has_value());
  const test::WarmRun run = test::run_in(
      *world_, **jail,
      "import os, signal, threading\n"
      "print(os.getpid() != 1, os.getpid() == threading.main_thread().native_id,\n"
      "      os.getsid(0) == os.getpid(), os.listdir('/proc/self/task') == [str(os.getpid())])\n"
      "os.kill(os.getpid(), signal.SIGTERM)\n");
  EXPECT_EQ(run.out, "True True True True\n");
  EXPECT_EQ(run.result.verdict, Verdict::Signalled);
}

}  // namespace
}  // namespace jailrun
