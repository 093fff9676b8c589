// What cells leave in /work and write: all of it is bounded, and told.
#include "tests/integration/jaild/hostile_cells.h"

namespace jailrun::test {
namespace {

class HostileOutput : public HostileCells {};

using testing::AnyOf;
using testing::HasSubstr;

// --- /work --------------------------------------------------------------------------------------

std::vector<std::string> names_in(const CellAnswer& answer, const char* list) {
  std::vector<std::string> names;
  for (const Json& each : answer.head.value(list, Json::array()))
    names.push_back(text_of(each, "name"));
  return names;
}

TEST_F(HostileOutput, WhoseFilesAreNoFilesAreTellingWhatTheyAre) {
  Session session = make_session(client_);
  const CellAnswer answer = run_cell(session, R"(
import os, socket
os.chdir('/work')
os.symlink('/etc/passwd', 'passwd'); os.symlink('loop', 'loop'); os.symlink('/proc', 'proc')
os.mkfifo('fifo')
try: socket.socket(socket.AF_UNIX).bind('socket')
except OSError: os.mkfifo('socket')
refused = 0
for kind in (0o020666, 0o060666):
    try: os.mknod('device', kind, os.makedev(1, 3))
    except PermissionError: refused += 1

open('good', 'w').write('good'); open('shut', 'w').write('x'); os.chmod('shut', 0)
for name in (b'new\nline', b'\x1b[31mred', b'\xff\xfe', '\u202egpj.exe'.encode()):
    open(name, 'w').close()

refused)");
  EXPECT_EQ(outcome_of(answer), "ok") << answer.head.dump();
  EXPECT_EQ(text_of(answer.displays.at(0).head["data"], "text/plain"), "2");
  EXPECT_THAT(names_in(answer, "files"), testing::UnorderedElementsAre("good", "shut"));
  EXPECT_THAT(
      names_in(answer, "files_skipped"),
      testing::UnorderedElementsAre("passwd", "loop", "proc", "fifo", "socket", "new\\x0aline",
                                    "\\x1b[31mred", "\\xff\\xfe", "\\xe2\\x80\\xaegpj.exe"));
  for (const char* name : {"loop", "proc", "fifo", "socket", "shut", "../work/../etc/shadow"})
    EXPECT_FALSE(session.get(name)) << name;
  EXPECT_EQ(session.get("good").value_or(""), "good");
  EXPECT_TRUE(session.close());
}

TEST_F(HostileOutput, WithHolesOfATerabyteCostWhatIsInThem) {
  Session session = make_session(client_);
  run_cell(session, R"(
import os
def hole(name, size):
    with open(name, 'wb') as file:
        file.write(b'begin')
        for end in (size, 1 << 40):
            try: file.truncate(end)
            except OSError: pass
        file.seek(100 << 20); file.write(b'middle')
    return os.path.getsize(name)

size = hole('/work/hole', 200 << 20))");
  const std::int64_t begun = monotonic_ns();
  for (int i = 0; i < 3; ++i) {  // in memory they would not fit, nor once in what the jail has
    const auto state = session.savepoint();
    ASSERT_TRUE(state) << state.error().line();
    run_cell(session, "os.truncate('/work/hole', 3)");
    const auto back = session.rollback(*state);
    ASSERT_TRUE(back) << back.error().line();
  }
  EXPECT_LT(seconds_since(begun), 5);
  EXPECT_EQ(value_of(session, R"(
file = open('/work/hole', 'rb'); first = file.read(6); file.seek((100 << 20) - 1)
(os.path.getsize('/work/hole') == size, os.stat('/work/hole').st_blocks < 100, first, file.read(7)))"),
            "(True, True, b'begin\\x00', b'\\x00middle')");
  run_cell(session, "os.truncate('/work/hole', 240 << 20)");
  const auto got = session.get("hole");
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().line(), HasSubstr("more than 200 MiB"));
  EXPECT_TRUE(session.close());
}

TEST_F(HostileOutput, ThatMakeAMillionFilesGetAsManyAsTheirPolicyHas) {
  Session session = make_session(client_);
  const auto state = session.savepoint();
  ASSERT_TRUE(state);
  const CellAnswer answer = run_cell(session, R"(
import os, errno
os.chdir('/work')
try:
    for made in range(1_000_000): os.close(os.open(str(made), os.O_CREAT | os.O_WRONLY))
except OSError as error:
    why = errno.errorcode[error.errno]
)");
  EXPECT_EQ(outcome_of(answer), "ok") << answer.head.dump();
  EXPECT_EQ(answer.head["files"].size(), 1000u);
  EXPECT_THAT(answer.head["files_skipped"].dump(), HasSubstr("more entries"));
  EXPECT_EQ(value_of(session, "(why, 10_000 < made < 16_384)"), "('ENOSPC', True)");
  std::int64_t begun = monotonic_ns();
  EXPECT_EQ(value_of(session, "1"), "1");
  EXPECT_LT(seconds_since(begun), 2);
  begun = monotonic_ns();
  const auto full = session.savepoint();
  ASSERT_TRUE(full) << full.error().line();
  run_cell(session, "for i in range(made): os.unlink(str(i))");
  ASSERT_TRUE(session.rollback(*full));
  EXPECT_EQ(value_of(session, "len(os.listdir('/work')) == made"), "True");
  ASSERT_TRUE(session.rollback(*state));
  EXPECT_EQ(value_of(session, "import os; os.listdir('/work')"), "[]");
  EXPECT_LT(seconds_since(begun), 10);
  EXPECT_TRUE(session.close());
}

TEST_F(HostileOutput, WithATreeDeeperThanAnyPathAreRolledBackAllTheSame) {
  Session session = make_session(client_);
  run_cell(session, "import os; open('/work/kept', 'w').write('kept')");
  const auto state = session.savepoint();
  ASSERT_TRUE(state);
  const CellAnswer deep = run_cell(session,
                                   "os.chdir('/work')\ndepth = 0\n"
                                   "while True: os.mkdir('d'); os.chdir('d'); depth += 1",
                                   {.wall_ns = 1500 * kMillisecond});
  EXPECT_THAT(outcome_of(deep), AnyOf("interrupted", "error"));
  EXPECT_EQ(value_of(session, "depth > 2500"), "True");
  const std::int64_t begun = monotonic_ns();
  const auto refused = session.savepoint();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().line(), HasSubstr("cannot save"));
  const auto back = session.rollback(*state);
  ASSERT_TRUE(back) << back.error().line();
  EXPECT_EQ(value_of(session, "os.listdir('/work')"), "['kept']");
  EXPECT_LT(seconds_since(begun), 10);
  EXPECT_TRUE(session.close());
}

// --- output -------------------------------------------------------------------------------------

TEST_F(HostileOutput, ThatPrintTenGigabytesKeepTheirStateAndAreCut) {
  Session session = make_session(client_);
  const std::int64_t begun = monotonic_ns();
  const CellAnswer answer = run_cell(session, R"(
import os
piece, written = bytes(1 << 20), 0
while written < 10_000_000_000: written += os.write(1 + written % 2, piece)
)");
  EXPECT_THAT(outcome_of(answer), AnyOf("ok", "interrupted"));
  RecordProperty("seconds", static_cast<int>(seconds_since(begun)));
  EXPECT_TRUE(answer.out_truncated);
  EXPECT_EQ(answer.out.size(), 1u << 20);
  EXPECT_LE(answer.err.size(), 1u << 20);
  EXPECT_EQ(value_of(session, "written >= 10_000_000_000"), "True");
  EXPECT_LT(own_.mib(), 100u);
  EXPECT_TRUE(session.close());
}

TEST_F(HostileOutput, ThatDisplayAHundredThousandTimesAreCutAndTold) {
  Session session = make_session(client_);
  const CellAnswer polite = run_cell(session, "for i in range(100_000): display(i)");
  EXPECT_EQ(outcome_of(polite), "ok");
  EXPECT_EQ(polite.displays.size(), 100u);
  EXPECT_EQ(number_of(polite.head, "displays_dropped"), 99'900u);
  // Not by display(): whole frames of the request that is being served.
  const CellAnswer forged = run_cell(session, R"(
import gc, json, os, struct, sys
number = next(o.request for o in gc.get_objects() if type(o).__name__ == 'Session')
head = json.dumps({'kind': 'display', 'id': number, 'n': 1, 'data': {}}).encode()
frame = struct.pack('<III', 0x3172726a, len(head), 0) + head
whole = frame * 1000
for _ in range(100):
    part = memoryview(whole)
    while part: part = part[os.write(4, part):]
)");
  EXPECT_EQ(outcome_of(forged), "ok");
  EXPECT_EQ(forged.displays.size() + forged.displays_dropped, 100'000u);
  EXPECT_LE(forged.displays.size(), 1000u);
  EXPECT_TRUE(session.close());
}

TEST_F(HostileOutput, ThatDisplayAGigabyteSpoilOnlyTheirOwn) {
  Session session = make_session(client_);
  const CellAnswer cut = run_cell(session, R"(
class Page:
    def _repr_html_(self): return 'x' * (100 << 20)
    def __repr__(self): return 'y' * (100 << 20)
display(Page()))");
  EXPECT_EQ(outcome_of(cut), "ok");
  EXPECT_THAT(cut.displays.at(0).head["cut"].dump(), HasSubstr("over the cap"));
  // What no reader takes is passed over, and the answer behind it found.
  const CellAnswer huge = run_cell(session, R"(
import os, struct
os.write(4, struct.pack('<III', 0x3172726a, 100, 1 << 30))
for _ in range(1 << 10): os.write(4, bytes(1 << 20))
)");
  EXPECT_EQ(outcome_of(huge), "ok");
  EXPECT_EQ(huge.displays.size(), 0u);
  EXPECT_LT(own_.mib(), 150u);
  const CellAnswer memory = run_cell(session,
                                     "Page._repr_html_ = lambda _: 'x' * (1 << 30)\n"
                                     "display(Page())");
  EXPECT_THAT(outcome_of(memory), AnyOf("ok", "ended: out_of_memory"));
  EXPECT_TRUE(session.close());
}

TEST_F(HostileOutput, WithFramesAsLargeAsTheyMayBeHaveABoundedReader) {
  Session session = make_session(client_);
  const CellAnswer large = run_cell(session, R"(
import gc, json, os, struct
session = next(o for o in gc.get_objects() if type(o).__name__ == 'Session')
def forge(head, body):
    os.write(4, struct.pack('<III', 0x3172726a, len(head), body)); rest = memoryview(head)
    while rest: rest = rest[os.write(4, rest):]
    for _ in range(body >> 20): os.write(4, bytes(1 << 20))

for _ in range(3):
    forge(json.dumps({'kind': 'display', 'id': session.request}).encode(), 60 << 20)
    deep = b'[' * 190 + b'[],' * (2 << 20) + b'[]' + b']' * 190
    forge(b'{"kind":"display","id":%d,"a":%s}' % (session.request, deep), 0)
)",
                                    {.wall_ns = 20'000 * kMillisecond});
  EXPECT_EQ(outcome_of(large), "ok");
  EXPECT_GT(large.displays_dropped, 0u);
  EXPECT_TRUE(session.close());
}

}  // namespace
}  // namespace jailrun::test
