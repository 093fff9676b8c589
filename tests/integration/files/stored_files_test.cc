// `jailrun files`, and stored files in sessions.
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "jail/session/session.h"
#include "tests/integration/cli/cli.h"
#include "tests/integration/jaild/daemon.h"

namespace jailrun::test {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using Json = nlohmann::json;

// No census here: no verb of `files` makes a jail.
class CliFiles : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/jailrun-files-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    write("sales.csv", "region,n\nnorth,1\nsouth,2\n");
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }
  Outcome sh(const std::string& script, const std::string& input = "") const {
    return run_command(
        {.argv = {"/bin/sh", "-c", script},
         .input = input,
         .environment = {"J=" + jailrun_program(), "JAILRUN_STORE=" + (dir_ / "store").string()},
         .directory = dir_});
  }
  // The id that `put` prints, and nothing else.
  std::string put(const std::string& arguments) const {
    const Outcome outcome = sh("$J files put " + arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_THAT(outcome.out, MatchesRegex("[0-9a-f]{32}\n"));
    return outcome.out.substr(0, 32);
  }

  std::filesystem::path dir_;
};

TEST_F(CliFiles, PutsListsShowsGetsAndRemoves) {
  const std::string id = put("sales.csv");
  const Json rows = Json::parse(sh("$J files ls --json").out, nullptr, false);
  ASSERT_EQ(rows.size(), 1u);
  const Json row = Json::parse(sh("$J files info --json " + id).out, nullptr, false);
  EXPECT_EQ(row, rows[0]);
  EXPECT_EQ(row.at("file_id"), id);
  EXPECT_EQ(row.at("filename"), "sales.csv");
  EXPECT_EQ(row.at("file_size"), 25);
  EXPECT_EQ(row.at("file_type"), "csv");
  EXPECT_THAT(row.at("expires_at").get<std::string>(), MatchesRegex(".{10}T.{8}Z"));
  EXPECT_THAT(sh("$J files ls").out, HasSubstr("sales.csv"));
  EXPECT_EQ(sh("$J files get " + id).out, "region,n\nnorth,1\nsouth,2\n");
  EXPECT_EQ(sh("$J files get -o copy " + id + " && cmp copy sales.csv").status, 0);
  EXPECT_EQ(sh("$J files rm " + id).status, 0);
  EXPECT_EQ(sh("$J files ls").out, "");
  expect_refused(sh("$J files get " + id), 125, {"no stored file " + id, "jailrun files ls"});
  expect_refused(sh("$J files rm " + id), 125, {"no stored file " + id});
}

TEST_F(CliFiles, TakesStandardInputUnderANameAndOwnersApart) {
  EXPECT_EQ(sh("$J files put - --name in.txt", "text").status, 0);
  expect_refused(sh("$J files put -", "text"), 125, {"standard input has no name", "--name"});
  const std::string id = put("sales.csv --owner ada");
  EXPECT_EQ(sh("$J files get --owner ada " + id).status, 0);
  expect_refused(sh("$J files get " + id), 125, {"no stored file"});
  EXPECT_EQ(Json::parse(sh("$J files rm --all --json").out, nullptr, false).at("deleted_files"), 1);
  EXPECT_EQ(sh("$J files ls --owner ada").out.substr(0, 32), id);
  expect_refused(sh("$J files rm"), 125, {"no file to remove", "--all"});
}

TEST_F(CliFiles, RefusesWhatCannotBeStoredAndKeepsNothing) {
  expect_refused(sh("truncate -s 51M big && $J files put big"), 125, {"larger than 50 MiB"});
  expect_refused(sh("yes 2>/dev/null | $J files put - --name endless.txt"), 125,
                 {"larger than 50 MiB"});
  expect_refused(sh("$J files put missing"), 125, {"missing", "No such file"});
  expect_refused(sh("mkfifo p && $J files put p"), 125, {"not a regular file"});
  expect_refused(sh("$J files put sales.csv --name ../x"), 125, {"name"});
  expect_refused(sh("FILE_EXPIRATION_HOURS=soon $J files ls"), 125, {"FILE_EXPIRATION_HOURS"});
  expect_refused(sh("JAILRUN_STORE=here $J files ls"), 125, {"JAILRUN_STORE"});
  expect_refused(sh("JAILRUN_STORE=/proc/x $J files ls"), 125, {"/proc/x"});
  EXPECT_EQ(sh("$J files ls").out, "");
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "store/blobs"));
}

TEST_F(CliFiles, SweepsFilesWhoseTimeHasCome) {
  put("sales.csv");
  const std::string old =
      "python3 -c 'import sqlite3; d = sqlite3.connect(\"store/files.db\"); "
      "d.execute(\"UPDATE files SET expires_at = 1000\"); d.commit()'";
  ASSERT_EQ(sh(old).status, 0);
  EXPECT_EQ(sh("$J files ls").out, "");
  const Json swept = Json::parse(sh("$J files sweep --json").out, nullptr, false);
  EXPECT_EQ(swept, (Json{{"deleted_files", 1}, {"deleted_blobs", 1}}));
  EXPECT_EQ(
      sh("FILE_EXPIRATION_HOURS=-1 $J files put --json sales.csv | grep -c 'expires_at\":null'")
          .out,
      "1\n");
}

TEST_F(CliFiles, GivesStoredFilesToRunAndExec) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string id = put("sales.csv");
  const Outcome run = sh("$J run --cold --file=store:" + id + " -",
                         "from jailrun_files import *\nprint(list(FILES), load_file('" + id +
                             "').shape, get_file_path('sales.csv'))");
  EXPECT_EQ(run.out, "['" + id + "'] (2, 2) /data/sales.csv\n");
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(sh("$J exec -fstore:" + id + ":other -- cat /data/other").out,
            "region,n\nnorth,1\nsouth,2\n");
  EXPECT_EQ(sh("$J exec -- /bin/echo -f store:" + id).out, "-f store:" + id + "\n");
  expect_refused(sh("$J run -f store:nope -", "print(1)"), 125, {"no stored file nope"});
  expect_refused(sh("$J exec -f store:" + id + ":a:b -- /bin/true"), 125, {"':'"});
}

// Stored files in sessions of a jaild.
class StoredFiles : public CliFiles {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0) return;
    daemon_ = new Daemon();
    // A busy machine may take longer to start an interpreter than `session new` waits for one.
    ASSERT_TRUE(soon([] { return daemon_->metric("jaild_parked") >= 1; }));
  }
  static void TearDownTestSuite() { delete std::exchange(daemon_, nullptr); }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    CliFiles::SetUp();
  }
  std::string begin(const std::string& options) const {
    const Outcome outcome =
        sh("JAILRUN_SOCKET=" + daemon_->socket() + " $J session new " + options);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out.substr(0, outcome.out.find('\n'));
  }
  Outcome cell(const std::string& session, const std::string& code) const {
    return sh("JAILRUN_SOCKET=" + daemon_->socket() + " $J session exec " + session + " -", code);
  }

  static Daemon* daemon_;
};
Daemon* StoredFiles::daemon_ = nullptr;

TEST_F(StoredFiles, AreLoadedByIdAndByNameWithoutAnImport) {
  const std::string id = put("sales.csv");
  const std::string session = begin("--file store:" + id + " --file sales.csv:plain.csv");
  ASSERT_FALSE(session.empty());
  const Outcome first = cell(session, "print(list(FILES), load_file('" + id +
                                          "').shape, load_file('sales.csv').n.sum(),"
                                          " get_file_path('" +
                                          id + "'), load_file('plain.csv').shape)");
  EXPECT_EQ(first.out, "['" + id + "', 'plain.csv'] (2, 2) 3 /data/sales.csv (2, 2)\n")
      << first.err;
  const Outcome write = cell(session, "open(FILES['" + id + "'], 'w')");
  EXPECT_THAT(write.err, HasSubstr("Read-only file system"));
  const Outcome saved = cell(session, "save({'a': 1}, 'made')");
  EXPECT_THAT(saved.out, HasSubstr("/work/made.json")) << saved.err;
  EXPECT_THAT(saved.err, HasSubstr("file made.json"));
  const Outcome missing = cell(session, "load_file('sale.csv')");
  EXPECT_THAT(missing.err, HasSubstr("did you mean 'sales.csv'?"));
  // The content stays for whoever has it, whatever becomes of the store.
  EXPECT_EQ(sh("$J files rm --all").status, 0);
  EXPECT_EQ(cell(session, "print(len(load_file('" + id + "')))").out, "2\n");
  EXPECT_EQ(sh("JAILRUN_SOCKET=" + daemon_->socket() + " $J session rm " + session).status, 0);
}

TEST_F(StoredFiles, OfOthersAreRefusedBeforeASessionBegins) {
  const std::string id = put("sales.csv --owner ada");
  const Outcome refused =
      sh("JAILRUN_SOCKET=" + daemon_->socket() + " $J session new --file store:" + id);
  expect_refused(refused, 125, {"no stored file " + id});
  EXPECT_EQ(sh("JAILRUN_SOCKET=" + daemon_->socket() + " $J session ls").out, "");
}

}  // namespace
}  // namespace jailrun::test
