// The record: what is kept of a question, for whom, without which keys, and what is left of it
// after a deletion or a kill.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "agent/llm/json.h"
#include "agent/record/export.h"
#include "agent/record/record.h"
#include "agent/record/writer.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kKey = "sk-live-0123456789abcdefXYZ";

class Kept : public testing::Test {
 protected:
  Kept() {
    std::string pattern = (fs::temp_directory_path() / "record-XXXXXX").string();
    dir = mkdtemp(pattern.data());
  }
  ~Kept() override { fs::remove_all(dir); }
  std::string path() const { return (dir / "record.db").string(); }
  Record record(Redactor redactor = {}) const {
    auto opened = Record::open(path(), std::move(redactor));
    EXPECT_TRUE(opened) << opened.error().line();
    return std::move(*opened);
  }
  // All that is on the disk of it.
  std::string bytes() const {
    std::ostringstream all;
    for (const auto& entry : fs::directory_iterator(dir))
      all << std::ifstream(entry.path()).rdbuf();
    return all.str();
  }
  static Captured answer(const std::string& text, const std::string& content = "picture") {
    Captured out;
    out.capsule = {{"status", "succeeded"},
                   {"answer", text},
                   {"exec_time_ms", 12},
                   {"steps",
                    {{{"number", 1},
                      {"code", "print('" + text + "')"},
                      {"verdict", "ok"},
                      {"stdout", text},
                      {"files", {{{"name", "p.png"}, {"kept", true}}}}}}}};
    out.files = {{1, "p.png", "image/png", content}};
    return out;
  }
  static std::string ask(Record& record, const std::string& owner, const std::string& thread,
                         const std::string& question, Captured captured) {
    const auto id = record.begin({owner, thread, question});
    EXPECT_TRUE(id) << id.error().line();
    const auto done = record.end(owner, *id, std::move(captured));
    EXPECT_TRUE(done) << done.error().line();
    return *id;
  }
  fs::path dir;
};

TEST_F(Kept, RunIsThereWithItsFilesForItsOwnerAlone) {
  auto record = this->record();
  ASSERT_TRUE(record.thread("ada", "t"));
  const auto id = ask(record, "ada", "t", "how many?", answer("four"));
  const auto capsule = record.capsule("ada", id);
  ASSERT_TRUE(capsule && *capsule);
  EXPECT_EQ((**capsule)["question"], "how many?");
  EXPECT_EQ((**capsule)["status"], "succeeded");
  EXPECT_EQ((*record.file("ada", id, 1, "p.png"))->content, "picture");
  EXPECT_EQ(record.runs("ada", 10)->size(), 1U);
  EXPECT_EQ(record.messages("ada", "t", 10)->size(), 2U);
  for (const char* other : {"bob", "", "ada:"}) {
    EXPECT_FALSE(*record.capsule(other, id));
    EXPECT_FALSE(*record.status(other, id));
    EXPECT_FALSE(*record.file(other, id, 1, "p.png"));
    EXPECT_TRUE(record.files(other, id)->empty());
    EXPECT_TRUE(record.messages(other, "t", 10)->empty());
    EXPECT_FALSE(*record.remove(other, id));
    EXPECT_FALSE(*record.remove_thread(other, "t"));
    ASSERT_TRUE(record.end(other, id, answer("forged")));
  }
  EXPECT_EQ((**record.capsule("ada", id))["answer"], "four");
  struct stat status{};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(Kept, FileThatOthersMayReadIsRefused) {
  std::ofstream(path()) << "";
  chmod(path().c_str(), 0644);
  const auto opened = Record::open(path(), {});
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().line(), HasSubstr("0600"));
}

TEST_F(Kept, HistoryIsTheLastTwelveAndBeginsWithAQuestion) {
  auto record = this->record();
  ASSERT_TRUE(record.thread("ada", "t"));
  for (int i = 0; i < 9; ++i)
    ask(record, "ada", "t", "q" + std::to_string(i), answer("a" + std::to_string(i)));
  const auto past = record.history("ada", "t");
  ASSERT_TRUE(past);
  ASSERT_EQ(past->size(), 12U);
  EXPECT_EQ(past->front().text, "q3") << "the thirteenth from the end is not told";
  EXPECT_EQ(past->front().role, Role::User);
  EXPECT_THAT(past->back().text, HasSubstr("a8"));
  EXPECT_THAT(past->back().text, HasSubstr("print('a8')")) << "what computed it is";
  setenv("THREAD_HISTORY_WINDOW", "4", 1);
  EXPECT_EQ(record.history("ada", "t")->size(), 4U);
  setenv("THREAD_HISTORY_WINDOW", "0", 1);
  EXPECT_EQ(record.history("ada", "t")->size(), 2U);
  unsetenv("THREAD_HISTORY_WINDOW");
}

TEST_F(Kept, NoKeyInQuestionCodeOutputOrFiles) {
  setenv("SOME_API_TOKEN", "value-of-the-token", 1);
  auto redactor = Redactor::from_environment();
  unsetenv("SOME_API_TOKEN");
  redactor.add("a secret of the settings");
  auto record = this->record(redactor);
  auto captured = answer(std::string("the key is ") + kKey, "value-of-the-token");
  captured.capsule["messages"] = {{{"role", "tool"}, {"text", "Bearer abcdefghijklmnopqrst"}}};
  captured.capsule["value-of-the-token"] = {"a secret of the settings"};
  const auto id = ask(record, "ada", "", std::string("why does ") + kKey + " fail?", captured);
  const auto all = bytes();
  for (const char* secret :
       {kKey, "value-of-the-token", "a secret of the settings", "abcdefghijklmnopqrst"})
    EXPECT_THAT(all, Not(HasSubstr(secret)));
  const auto capsule = **record.capsule("ada", id);
  EXPECT_EQ(capsule["question"], "why does [key] fail?");
  EXPECT_EQ(capsule["steps"][0]["files"][0]["kept"], false);
  EXPECT_EQ(capsule["answer"], "the key is [key]");
  // What merely begins like one stays.
  EXPECT_EQ(redactor.text("task-force sk-learn ask-me"), "task-force sk-learn ask-me");
}

TEST_F(Kept, NothingOfADeletedRunOrThreadStaysOnTheDisk) {
  auto record = this->record();
  ASSERT_TRUE(record.thread("ada", "t"));
  const auto gone = ask(record, "ada", "", "secretive", answer("only-here", "content-only-here"));
  ask(record, "ada", "t", "threaded", answer("in-thread"));
  const auto stays = ask(record, "bob", "", "question of bob", answer("other"));
  EXPECT_THAT(bytes(), HasSubstr("only-here"));
  EXPECT_TRUE(*record.remove("ada", gone));
  EXPECT_FALSE(*record.remove("ada", gone));
  EXPECT_TRUE(*record.remove_thread("ada", "t"));
  for (const char* text : {"only-here", "secretive", "in-thread", "threaded"})
    EXPECT_THAT(bytes(), Not(HasSubstr(text)));
  EXPECT_EQ(**record.status("bob", stays), "succeeded");
  EXPECT_EQ(*record.remove_all("bob"), 1U);
  EXPECT_THAT(bytes(), Not(HasSubstr("question of bob")));
}

// Each writer begins and ends runs until it is killed; what it said was ended is whole.
TEST_F(Kept, FileIsWholeWhateverKillsItsWriter) {
  (void)record();
  std::mt19937 random(7);
  std::size_t ended = 0, broken_off = 0;
  for (int round = 0; round < 40; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Fd out(ends[0]), in(ends[1]);
    const pid_t writer = ::fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      auto mine = Record::open(path(), {});
      while (mine) {
        const auto id = mine->begin({"ada", "", "q"});
        if (!id || !mine->end("ada", *id, answer(std::string(20'000, 'x')))) ::_exit(3);
        const auto line = *id + "\n";
        if (write_all(in.get(), line.data(), line.size()) != 0) ::_exit(4);
      }
      ::_exit(5);
    }
    in.reset();
    // Every other one once it has ended a run, the rest at any instant, opening included.
    pollfd first{out.get(), POLLIN, 0};
    if (round % 2 == 0) {
      ASSERT_EQ(::poll(&first, 1, 30'000), 1);
    }
    const timespec wait{.tv_sec = 0, .tv_nsec = static_cast<long>(random() % 20'000'000)};
    ::ppoll(nullptr, 0, &wait, nullptr);
    ASSERT_EQ(::kill(writer, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(writer, &status, 0), writer);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it failed by itself: " << WEXITSTATUS(status);
    std::string told;
    char block[4096];
    for (ssize_t n = 0; (n = ::read(out.get(), block, sizeof block)) > 0;)
      told.append(block, static_cast<std::size_t>(n));
    auto after = record();
    std::istringstream lines(told);
    for (std::string id; std::getline(lines, id) && !lines.eof(); ++ended)
      EXPECT_EQ((**after.capsule("ada", id))["answer"].get<std::string>().size(), 20'000U);
  }
  auto after = record();
  const auto rows = after.runs("ada", 100'000);
  ASSERT_TRUE(rows);
  for (const auto& row : *rows) {
    EXPECT_THAT(row.status, testing::AnyOf("succeeded", "interrupted"));
    broken_off += row.status == "interrupted" ? 1 : 0;
    EXPECT_TRUE(row.status != "succeeded" || after.files("ada", row.run_id)->size() == 1);
  }
  auto database = store::Database::open(path());
  auto check = database->prepare("PRAGMA integrity_check");
  ASSERT_TRUE(check && *check->step());
  EXPECT_EQ(check->text(0), "ok");
  EXPECT_GE(ended, 20U);
  RecordProperty("broken_off", static_cast<int>(broken_off));
}

TEST(Writers, AreToldApartFromThoseWhoDied) {
  EXPECT_TRUE(writer_lives(this_writer()));
  auto other = this_writer();
  // A child of the same clock tick would have the same beginning: not until that one is over.
  const auto begun = std::stoll(other.substr(other.rfind(' ') + 1)) * 1000 / ::sysconf(_SC_CLK_TCK);
  for (timespec now{}; now.tv_sec * 1000 + now.tv_nsec / 1'000'000 < begun + 50;)
    ::clock_gettime(CLOCK_BOOTTIME, &now);
  const pid_t child = ::fork();
  if (child == 0) ::pause();
  const auto mine = " " + std::to_string(::getpid()) + " ";
  other.replace(other.find(mine), mine.size(), " " + std::to_string(child) + " ");
  EXPECT_FALSE(writer_lives(other)) << "another process may have the pid";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  for (const char* none : {"", " ", "x ../../etc 1", "boot 1 1"}) EXPECT_FALSE(writer_lives(none));
}

TEST(Tables, AreReadOutOfWhatProgramsPrint) {
  const auto table =
      table_in("hello\n| day | mean |\n|:----|-----:|\n| Sat | 3.4 |\n| Sun | nan |\n\n2 rows");
  EXPECT_EQ(table["columns"], parse_json(R"(["day", "mean"])"));
  EXPECT_EQ(table["rows"], parse_json(R"([["Sat", 3.4], ["Sun", null]])"));
  EXPECT_EQ(table["row_count"], 2);
  for (const char* none : {"", "| a | b |\n| 1 | 2 |", "||||\n|---|", "|\n|-|"})
    EXPECT_TRUE(table_in(none).is_null()) << none;
}

TEST(Reports, ShowMarkdownAndNoTagOfAnybodyElse) {
  EXPECT_EQ(html_of_markdown("**a** `<b>` c*d"),
            "<p><strong>a</strong> <code>&lt;b&gt;</code> c*d</p>\n");
  EXPECT_THAT(html_of_markdown("| x | y |\n|---|---|\n| 1 | <i> |"),
              HasSubstr("<tr><td>1</td><td>&lt;i&gt;</td></tr>"));
  EXPECT_EQ(html_of_markdown("## T\n- a\n- b"),
            "<h4>T</h4>\n<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n");
  for (const char* text : {"**", "`", "**a", "```\n<script>", "| \n|-", "#", "-", "***"})
    EXPECT_THAT(html_of_markdown(text), Not(HasSubstr("<script")));
  const std::string evil = "\"></iframe><script>alert(1)</script>";
  const json capsule = {{"question", evil},
                        {"answer", "[a](javascript:alert(1)) " + evil},
                        {"run_id", evil},
                        {"notes", {evil}},
                        {"data", {{{"name", evil}, {"sha256", evil}}}},
                        {"steps",
                         {{{"number", 1},
                           {"code", evil},
                           {"stdout", evil},
                           {"stderr", evil},
                           {"verdict", evil},
                           {"reason", evil}}}}};
  const auto page = report_of(parse_json(dump_json(capsule)),
                              {{1, evil + ".html", "text/html", evil},
                               {1, evil + ".svg", "image/svg+xml", "<svg onload=x>"}});
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("<svg")));
  EXPECT_THAT(page, Not(HasSubstr("href=")));
  EXPECT_THAT(page, HasSubstr("<iframe sandbox "));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(Notebooks, HoldWhatWasRunAndHowItEnded) {
  const auto capsule = parse_json(R"({"question": "q", "steps": [
      {"number": 1, "code": "1/0", "verdict": "nonzero_exit", "stderr": "no\n"},
      {"number": 2, "code": "a\nb", "sql": "select 1", "verdict": "ok", "stdout": "x"}]})");
  const auto one = notebook_of(capsule, {{2, "p.png", "image/png", "png"}});
  const auto notebook = parse_json(one);
  EXPECT_EQ(notebook["nbformat"], 4);
  const auto& cells = notebook["cells"];
  ASSERT_EQ(cells.size(), 4U);
  EXPECT_EQ(cells[1]["outputs"][1]["ename"], "nonzero_exit");
  EXPECT_THAT(cells[2]["source"].dump(), HasSubstr("select 1"));
  EXPECT_EQ(cells[3]["source"], parse_json(R"(["a\n", "b"])"));
  EXPECT_EQ(cells[3]["outputs"][1]["data"]["image/png"], "cG5n");
  EXPECT_EQ(parse_json(joined_notebooks({one, one}))["cells"][7]["id"], "cell-8");
}

}  // namespace
}  // namespace jailrun::agent
