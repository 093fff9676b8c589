#include "tests/confinement/posture_text.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "jail/confine/ids.h"
#include "tests/support/live.h"
#include "tests/support/start.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

class Reader {
 public:
  Reader(pid_t owner, pid_t init, pid_t guest) : owner_(owner), init_(init), guest_(guest) {
    const unsigned long uid = number_of(status_field(guest, "Uid"));
    const GuestIds ids = guest_ids();
    if (uid >= ids.first && uid < ids.first + ids.count) uid_ = std::to_string(uid);
  }

  std::vector<std::string> read() {
    process("init", init_, std::to_string(init_));
    descriptors("init", init_);
    limits("init", init_);
    process("guest", guest_, std::to_string(guest_));
    threads();
    descriptors("guest", guest_);
    limits("guest", guest_);
    environment();
    namespaces();
    mounts();
    network();
    cgroup();
    return std::move(lines_);
  }

 private:
  void add(const std::string& who, const std::string& what, const std::string& value) {
    lines_.push_back(who + " " + what + ": " + value);
  }

  static unsigned long number_of(const std::string& text) {
    return std::strtoul(text.c_str(), nullptr, 10);
  }

  // Of this jail alone: "own".
  std::string id(const std::string& number) const {
    return !uid_.empty() && number == uid_ ? "own" : number;
  }

  std::string ids(const std::string& fields) const {
    std::string all;
    for (const std::string& each : split(fields, '\t')) all += (all.empty() ? "" : " ") + id(each);
    return all;
  }

  void process(const std::string& who, pid_t pid, const std::string& task) {
    const auto field = [&](const char* name) { return status_of(pid, task, name); };
    add(who, "uid", ids(field("Uid")));
    add(who, "gid", ids(field("Gid")));
    add(who, "groups", field("Groups"));
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
      add(who, set, field(set));
    add(who, "no new privileges", field("NoNewPrivs"));
    add(who, "seccomp",
        field("Seccomp") + ", filters of its own: " +
            std::to_string(std::stoi("0" + field("Seccomp_filters")) -
                           std::stoi("0" + status_field(owner_, "Seccomp_filters"))));
    // Init waits for SIGCHLD and is sent nothing: what it ignores is its builder's.
    if (pid != init_) {
      for (const char* signals : {"SigBlk", "SigIgn"}) add(who, signals, field(signals));
    }
    add(who, "umask", field("Umask"));
    add(who, "CPUs", std::to_string(bits_of(field("Cpus_allowed"))));
    add(who, "tracer", field("TracerPid"));
    schedule(who, pid, task);
    add(who, "personality", trimmed(task_file(pid, task, "personality")));
    const std::string score = trimmed(task_file(pid, task, "oom_score_adj"));
    const int owners = std::stoi("0" + trimmed(proc_file(owner_, "oom_score_adj")));
    add(who, "oom_score_adj",
        score == std::to_string(std::max(0, owners)) ? "the owner's, at least 0" : score);
    struct stat st{};
    ::stat(("/proc/" + std::to_string(pid) + "/maps").c_str(), &st);
    const bool of_world =
        st.st_uid >= kUidBase + kUidCount && (st.st_uid - kUidBase - kUidCount) % kWorldUids == 0;
    add(who, "its /proc belongs to",
        st.st_uid == 0 ? "root"
        : of_world     ? "the world's root"
                       : id(std::to_string(st.st_uid)));
    add(who, "root", proc_link(pid, "root"));
    add(who, "cwd", proc_link(pid, "cwd"));
  }

  void schedule(const std::string& who, pid_t pid, const std::string& task) {
    const std::string stat = task_file(pid, task, "stat");
    const auto fields = split(stat.substr(std::min(stat.rfind(')') + 2, stat.size())), ' ');
    if (fields.size() < 39) return;
    const auto relation = [&](const std::string& number) {
      return number == std::to_string(pid) ? std::string("itself") : "another's";
    };
    add(who, "process group and session", relation(fields[2]) + ", " + relation(fields[3]));
    add(who, "terminal", fields[4]);
    add(who, "nice and policy", fields[16] + ", " + fields[38]);
    const long io = ::syscall(SYS_ioprio_get, 1, std::stoi(task));
    add(who, "I/O class", std::to_string(io >> 13));
  }

  // Every thread that the guest has beside its first one, which must be as that one is.
  void threads() {
    Reader first(owner_, init_, guest_), other(owner_, init_, guest_);
    first.process("", guest_, std::to_string(guest_));
    int same = 0, different = 0;
    std::error_code error;
    for (const auto& entry :
         fs::directory_iterator("/proc/" + std::to_string(guest_) + "/task", error)) {
      other.lines_.clear();
      other.process("", guest_, entry.path().filename().string());
      ++(without_cpu(other.lines_) == without_cpu(first.lines_) ? same : different);
    }
    add("guest", "threads that stand otherwise than its first", std::to_string(different));
    if (same == 0) add("guest", "threads", "none was read");
  }

  static std::vector<std::string> without_cpu(std::vector<std::string> lines) {
    std::erase_if(lines, [](const std::string& line) { return line.starts_with(" SigBlk"); });
    return lines;
  }

  void descriptors(const std::string& who, pid_t pid) {
    std::map<int, std::string> open;
    std::error_code error;
    for (const auto& entry :
         fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
      const std::string target = fs::read_symlink(entry.path(), error).string();
      const std::string info = proc_file(pid, "fdinfo/" + entry.path().filename().string());
      const std::size_t flags = info.find("flags:\t");
      const int mode = flags == std::string::npos
                           ? -1
                           : static_cast<int>(std::stoul(info.substr(flags + 7), nullptr, 8) & 3);
      const std::size_t colon = target.find(':');
      open[std::stoi(entry.path().filename().string())] =
          (target.starts_with("/") ? target : target.substr(0, colon)) + (mode == 0   ? " read"
                                                                          : mode == 1 ? " write"
                                                                                      : " both");
    }
    if (open.empty()) add(who, "descriptors", "none");
    for (const auto& [number, kind] : open) add(who, "descriptor " + std::to_string(number), kind);
  }

  void limits(const std::string& who, pid_t pid) {
    for (const std::string& line : split(proc_file(pid, "limits"), '\n')) {
      if (line.starts_with("Limit") || line.size() < 60) continue;
      std::istringstream values(line.substr(26));
      std::string soft, hard;
      values >> soft >> hard;
      const std::string name = trimmed(line.substr(0, 26));
      // The others are left as the caller has them: cgroup and deadline count, or nothing is lost.
      constexpr const char* kSet[] = {
          "Max file size",     "Max stack size",    "Max core file size",
          "Max open files",    "Max locked memory", "Max pending signals",
          "Max msgqueue size", "Max nice priority", "Max realtime priority"};
      if (std::ranges::count(kSet, name) == 0) continue;
      add(who, "limit " + name, soft + " " + hard);
    }
  }

  void environment() {
    std::set<std::string> names;
    for (const std::string& each : split(proc_file(guest_, "environ"), '\0'))
      names.insert(each.substr(0, each.find('=')));
    for (const std::string& name : names) add("guest", "variable", name);
    const bool wiped = proc_file(init_, "environ").find_first_not_of('\0') == std::string::npos;
    add("init", "variables and arguments", wiped ? "none" : "some");
  }

  void namespaces() {
    for (const char* name : {"user", "pid", "mnt", "ipc", "uts", "cgroup", "net", "time"}) {
      const std::string link = std::string("ns/") + name, inits = proc_link(init_, link);
      const bool shared = inits == proc_link(owner_, link) || inits == proc_link(::getpid(), link);
      add("namespace", name,
          (shared ? "the host's" : "its own") +
              std::string(proc_link(guest_, link) == inits ? "" : ", and the guest in another"));
    }
    for (const char* map : {"uid_map", "gid_map"}) {
      std::string text;
      for (const std::string& line : split(proc_file(guest_, map), '\n')) {
        std::istringstream numbers(line);
        std::string inside, outside, count;
        numbers >> inside >> outside >> count;
        text +=
            (text.empty() ? "" : "; ") + inside + " is " + id(outside) + ", " + count + " of it";
      }
      add("namespace", map, text);
    }
    add("namespace", "host name", host_name());
  }

  std::string host_name() const {
    int ends[2];
    if (::pipe(ends) != 0) return {};
    const pid_t child = ::fork();
    if (child == 0) {
      const int uts = ::open(("/proc/" + std::to_string(init_) + "/ns/uts").c_str(), O_RDONLY);
      utsname name{};
      if (::setns(uts, CLONE_NEWUTS) == 0 && ::uname(&name) == 0)
        (void)!::write(ends[1], name.nodename, std::string(name.nodename).size());
      ::_exit(0);
    }
    ::close(ends[1]);
    char bytes[256] = {};
    const ssize_t n = ::read(ends[0], bytes, sizeof bytes - 1);
    ::close(ends[0]);
    ::waitpid(child, nullptr, 0);
    return n > 0 ? bytes : "";
  }

  void mounts() {
    std::vector<std::string> all;
    for (const std::string& line : split(proc_file(guest_, "mountinfo"), '\n')) {
      const std::vector<std::string> fields = split(line, ' ');
      const auto dash = std::ranges::find(fields, "-");
      if (fields.size() < 7 || std::distance(dash, fields.end()) < 4) continue;
      std::string text = fields[4] + " " + fields[5];
      if (fields[6] != "-") text += " propagates";
      const std::string type = dash[1];
      // What lies below root and devices is the host's own; of the rest the options count.
      if (type == "proc" || type == "tmpfs") {
        if (fields[4].starts_with("/dev/") && !fields[4].ends_with("shm")) {
          all.push_back(text);
          continue;
        }
        text += " " + type;
        for (const std::string& option : split(dash[3], ',')) {
          const bool counts = option.starts_with("size=") || option.starts_with("nr_inodes=") ||
                              option.starts_with("hidepid") || option.starts_with("subset");
          if (counts) text += " " + option;
        }
      }
      all.push_back(text);
    }
    std::ranges::sort(all);
    for (const std::string& each : all) add("mount", "at", each);
  }

  void network() {
    std::vector<std::string> devices = split(proc_file(guest_, "net/dev"), '\n');
    for (std::size_t i = 2; i < devices.size(); ++i) {
      const std::string line = trimmed(devices[i]);
      add("network", "interface",
          line.substr(0, line.find(':')) +
              (line.find_first_of("123456789") == std::string::npos ? ", never used" : ", used"));
    }
    const bool up = proc_file(guest_, "net/fib_trie").find("LOCAL") != std::string::npos;
    add("network", "addresses", up ? "some" : "none");
  }

  void cgroup() {
    const bool hybrid = fs::exists("/sys/fs/cgroup/unified/cgroup.procs");
    std::map<std::string, std::string> groups;
    for (const std::string& line : split(proc_file(guest_, "cgroup"), '\n')) {
      const std::size_t first = line.find(':'), second = line.find(':', first + 1);
      const std::string name = line.substr(first + 1, second - first - 1);
      const std::string mount = name.empty() ? (hybrid ? "/unified" : "") : "/" + name;
      groups[name] = "/sys/fs/cgroup" + mount + line.substr(second + 1);
    }
    const auto value = [&](const char* controller, const char* v1, const char* v2) {
      const bool old = groups.contains(controller);
      std::ifstream file(groups[old ? controller : ""] + "/" + (old ? v1 : v2));
      std::string text;
      std::getline(file, text);
      return text.empty() ? "none" : text;
    };
    add("cgroup", "memory", value("memory", "memory.limit_in_bytes", "memory.max"));
    add("cgroup", "processes and threads", value("pids", "pids.max", "pids.max"));
    std::string cpu = value("cpu", "cpu.cfs_quota_us", "cpu.max");
    add("cgroup", "microseconds of CPU in a period", cpu.substr(0, cpu.find(' ')));
  }

  static std::string task_file(pid_t pid, const std::string& task, const char* name) {
    return proc_file(pid, "task/" + task + "/" + name);
  }

  static std::string status_of(pid_t pid, const std::string& task, const std::string& name) {
    for (const std::string& line : split(task_file(pid, task, "status"), '\n')) {
      if (line.starts_with(name + ":")) return trimmed(line.substr(name.size() + 1));
    }
    return {};
  }

  static std::string trimmed(const std::string& text) {
    const std::size_t first = text.find_first_not_of(" \t\n"),
                      last = text.find_last_not_of(" \t\n");
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
  }

  static int bits_of(const std::string& mask) {
    int bits = 0;
    for (const char digit : mask) {
      if (digit != ',')
        bits += __builtin_popcount(
            static_cast<unsigned>(std::stoul(std::string(1, digit), nullptr, 16)));
    }
    return bits;
  }

  pid_t owner_, init_, guest_;
  std::string uid_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> posture_text(pid_t owner, pid_t init, pid_t guest) {
  return Reader(owner, init, guest).read();
}

std::string differences(const std::vector<std::string>& expected,
                        const std::vector<std::string>& seen) {
  std::string text;
  for (const std::string& line : expected) {
    if (std::ranges::count(seen, line) < std::ranges::count(expected, line))
      text += "- " + line + "\n";
  }
  for (const std::string& line : seen) {
    if (std::ranges::count(expected, line) < std::ranges::count(seen, line))
      text += "+ " + line + "\n";
  }
  return text;
}

}  // namespace jailrun::test
