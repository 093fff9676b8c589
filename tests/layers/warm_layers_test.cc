// Each wall of a warm jail, taken away alone from a daemon that lives on: it refuses the jail, or a
// probe or the posture shows it. The second table of jail/LAYERS.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/confinement/posture_text.h"
#include "tests/layers/noticed.h"
#include "tests/layers/warm_layers.h"
#include "tests/support/start.h"
#include "tests/without/supervise.h"

namespace jailrun::test {
namespace {

using testing::IsEmpty;

constexpr int kNoLayer = -1;

// In the jail: answers the battery, and then stands to be looked at, as the zygote made it.
constexpr const char* kGuest = R"(
import os, shutil, subprocess, sys
shutil.copy("/data/probe", "/work/probe")
os.chmod("/work/probe", 0o755)
with open("/work/said", "wb") as said:
    subprocess.run(["/work/probe", "battery", "/data/cases"], stdin=subprocess.DEVNULL, stdout=said)
print(open("/work/said").read(), end="", flush=True)
sys.stdin.readline()
)";

// A jaild that builds each jail when it is asked for, and that a wall can be taken away from.
class Daemon {
 public:
  Daemon() {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) std::abort();
    active_ = static_cast<volatile int*>(page);
    *active_ = kNoLayer;
    std::stringstream policy;
    policy << std::ifstream(JAILRUN_SOURCE_DIR "/policies/python.textproto").rdbuf();
    std::string text = policy.str();
    text.replace(text.find("exec: false"), 11, "exec: true");
    scratch_.file("python.textproto", text);
    script_ = scratch_.file("guest.py", kGuest);
    ::setenv("JAILRUN_SOCKET", (scratch_.path() + "/s").c_str(), 1);
    const std::string program = JAILRUN_BIN_DIR "/jaild";
    live_ = std::make_unique<Live>(
        std::vector<std::string>{program, "--socket", scratch_.path() + "/s", "--on-demand"},
        [this, &program] { become(program); });
  }
  ~Daemon() {
    live_->send(SIGTERM);
    live_->finish();
  }

  // Whether jails come: the interpreter does its imports first.
  bool serves() const {
    for (int i = 0; i < 100; ++i) {
      if (run_command({.argv = client({}), .input = "pass"}).status == 0) return true;
      ::poll(nullptr, 0, 100);
    }
    return false;
  }

  // A jail that stays, and so does what the zygote has entered for it.
  std::unique_ptr<Live> other_jail() const {
    const std::string script = scratch_.file("other.py", "print('ready', flush=True)\ninput()\n");
    auto live = std::make_unique<Live>(client({}, script));
    return live->read_line() == "ready" ? std::move(live) : nullptr;
  }

  Shown show_without(int layer, const std::vector<std::string>& lines) const {
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    const std::string cases = scratch_.file("cases", text);
    Shown shown;
    *active_ = layer;
    Live jail(client({"--file", std::string(JAILRUN_PROBE) + ":probe", "--file", cases + ":cases"},
                     script_));
    bool ready = false;
    for (std::string line; !ready && !(line = jail.read_line()).empty();) {
      ready = line == "ready";
      if (!ready) shown.answers.push_back(line);
    }
    if (ready) {
      const pid_t guest = warm_guest(jail.pid());
      shown.posture = posture_text(live_->pid(), warm_init(guest), guest);
      const pid_t keeper = children(live_->pid()).front();
      for (const char* name : {"user", "pid", "mnt", "ipc", "uts", "cgroup"}) {
        const std::string link = std::string("ns/") + name;
        if (proc_link(guest, link) == proc_link(keeper, link))
          shown.posture.push_back(std::string("namespace ") + name + ": the keeper's");
      }
      std::istringstream maps(proc_file(guest, "maps"));
      for (std::string line; std::getline(maps, line);) {
        if (line.find("/memfd:jailrun-reports") != std::string::npos)
          shown.posture.emplace_back("guest memory: shared with its owner");
      }
      jail.write("\n");
    }
    const Outcome outcome = jail.finish();
    *active_ = kNoLayer;
    shown.status = outcome.status;
    if (!ready)
      shown.refused =
          outcome.err.empty() ? "ended with " + std::to_string(outcome.status) : outcome.err;
    return shown;
  }

 private:
  [[noreturn]] void become(const std::string& program) const {
    ::setenv("JAILRUN_POLICY_DIR", scratch_.path().c_str(), 1);
    hostile_habits();
    static std::vector<without::Feature> features = layers::warm_features(active_);
    std::vector<const without::Feature*> all;
    for (const without::Feature& each : features) all.push_back(&each);
    const std::string socket = scratch_.path() + "/s";
    std::vector<std::string> words = {program, "--socket", socket, "--on-demand"};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::_exit(without::run_lacking(all, argv.data()));
  }

  static std::vector<std::string> client(const std::vector<std::string>& options,
                                         const std::string& script = "-") {
    std::vector<std::string> argv = {jailrun_program(), "run", "--warm", "--timeout", "60s"};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.push_back(script);
    return argv;
  }

  volatile int* active_;
  Scratch scratch_;
  std::string script_;
  std::unique_ptr<Live> live_;
};

// Init and guest give up their rights side by side: which of them fails first, and how its client
// hears of it, is chance.
std::string refusal(const std::string& said) {
  const std::string line = cause(said);
  if (line.find("the jail is not what was asked for") == std::string::npos)
    return "a step of set-up fails";
  return line.substr(0, line.find(" (BuildFailed)"));
}

TEST(WarmLayers, EachTakenAwayAloneIsNoticed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto neighbour = waiting_jail({"listen-abstract", neighbour_name()});
  ASSERT_NE(neighbour, nullptr);
  const Daemon daemon;
  ASSERT_TRUE(daemon.serves());
  const std::vector<Line> battery = attempts();
  const Shown whole = daemon.show_without(kNoLayer, texts(battery));
  ASSERT_EQ(whole.refused, "");
  ASSERT_EQ(whole.answers.size(), battery.size());
  Noticed nothing;
  compare(whole, whole, battery, nothing);
  ASSERT_THAT(nothing.probes, IsEmpty()) << "the twin: with all walls nothing is noticed";

  std::string table;
  for (int i = 0; layers::kWarmLayers[i].name != nullptr; ++i) {
    const layers::Layer& layer = layers::kWarmLayers[i];
    // A daemon whose jails keep failing starts a new world.
    ASSERT_TRUE(daemon.serves()) << "before " << layer.name;
    const bool of_zygote = std::string_view(layer.name) == "born in the slot";
    const auto other = of_zygote ? daemon.other_jail() : nullptr;
    ASSERT_EQ(other != nullptr, of_zygote);
    const Shown shown = daemon.show_without(i, texts(battery));
    Noticed noticed;
    if (!shown.refused.empty()) noticed.builder = refusal(shown.refused);
    compare(whole, shown, battery, noticed);
    EXPECT_TRUE(noticed.anything()) << layer.name;
    table += row(layer.name, layer.removed, noticed);
  }
  expect_section("Walls of warm jails", table);
}

}  // namespace
}  // namespace jailrun::test
