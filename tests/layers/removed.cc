#include "tests/layers/removed.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "tests/confinement/posture_text.h"

namespace jailrun::test {

void hostile_habits() {
  for (const int signal : {SIGHUP, SIGUSR1, 40}) ::signal(signal, SIG_IGN);
  sigset_t some;
  ::sigemptyset(&some);
  ::sigaddset(&some, SIGUSR2);
  ::sigprocmask(SIG_BLOCK, &some, nullptr);
  const gid_t groups[] = {4, 24, 27};
  ::setgroups(3, groups);
  ::personality(ADDR_NO_RANDOMIZE);
  ::setpriority(PRIO_PROCESS, 0, -5);
  constexpr int kRealTime = 1 << 13 | 4;
  ::syscall(SYS_ioprio_set, 1, 0, kRealTime);
  for (const auto resource :
       {RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_CORE, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE,
        RLIMIT_SIGPENDING, RLIMIT_STACK, RLIMIT_NICE, RLIMIT_RTPRIO}) {
    const bool counted = resource == RLIMIT_NOFILE;
    const bool pages = resource == RLIMIT_STACK;
    const rlim_t much = counted ? 4096 : pages ? 64 << 20 : RLIM_INFINITY;
    const rlimit limit{much, much};
    ::setrlimit(resource, &limit);
  }
  ::umask(0);
  ::setenv("JAILRUN_TEST_SECRET", "leaked", 1);
  ::dup2(::open("/etc", O_RDONLY), 100);
  ::dup2(::open("/etc/passwd", O_RDONLY), 200);
}

namespace {

std::vector<std::string> command(const std::string& layer, Builder builder,
                                 const std::string& cases, std::size_t lines) {
  std::vector<std::string> words = {JAILRUN_WITHOUT_LAYER, layer};
  // Without that wall its builder waits for as long as the jail may live.
  const std::string wall =
      layer == "init's descriptors closed" ? "limits.wall=2s" : "limits.wall=60s";
  const std::string probe = std::string(JAILRUN_PROBE) + ":probe", input = cases + ":cases";
  // Where nothing in /work may be executed the battery cannot be either: Python waits instead,
  // which leaves its signals as they are (a shell does not) and an end of its input alone.
  const bool noexec = lines == 0;
  const std::string exec = noexec ? "files.exec=false" : "files.exec=true";
  if (builder == Builder::Jailrun) {
    for (const std::string& word :
         {jailrun_program(), std::string("exec"), std::string("--policy"), std::string("python"),
          std::string("--set"), exec, std::string("--set"), wall, std::string("--file"), probe,
          std::string("--file"), input})
      words.push_back(word);
  } else {
    for (const std::string& word : {std::string(JAILRUN_UNATTESTED), exec, wall, probe, input})
      words.push_back(word);
  }
  words.emplace_back("--");
  if (noexec) {
    for (const char* word :
         {"/usr/bin/python3", "-Sc",
          "import sys, time\nprint('ready', flush=True)\nsys.stdin.readline() or time.sleep(1000)"})
      words.emplace_back(word);
  } else {
    for (const char* word :
         {"/bin/sh", "-c", "cp /data/probe /work/probe && exec /work/probe battery /data/cases"})
      words.emplace_back(word);
  }
  return words;
}

}  // namespace

Shown show_without(const std::string& layer, Builder builder, const std::vector<std::string>& lines,
                   const std::function<void(const Live&)>& looked_at) {
  const Scratch scratch;
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  const std::string cases = scratch.file("cases", text);
  Shown shown;
  Live jail(command(layer, builder, cases, lines.size()), hostile_habits);
  bool ready = false;
  for (std::string line; !ready && !(line = jail.read_line()).empty();) {
    ready = line == "ready";
    if (!ready) shown.answers.push_back(line);
  }
  if (ready) {
    shown.posture = posture_text(jail.pid(), jail.init(), jail.guest());
    if (looked_at) looked_at(jail);
    jail.write("\n");
  }
  const Outcome outcome = jail.finish();
  shown.status = outcome.status;
  if (!ready)
    shown.refused =
        outcome.err.empty() ? "ended with " + std::to_string(outcome.status) : outcome.err;
  return shown;
}

}  // namespace jailrun::test
