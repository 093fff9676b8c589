#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <pwd.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "jail/confine/cgroup.h"
#include "jail/confine/ids.h"
#include "jail/launch/jail.h"
#include "jail/sys/fd.h"
#include "tools/full/probe_child.h"
#include "tools/full/probes.h"

namespace jailrun::full {
namespace {

// What building a jail needs in the owner's effective set, and what for.
constexpr struct {
  cap_value_t capability;
  const char* what_for;
} kNeeded[] = {
    {CAP_SYS_ADMIN, "namespaces and mounts"},
    {CAP_SETUID, "mapping a host uid that is not one's own"},
    {CAP_SETGID, "mapping a host gid that is not one's own"},
    {CAP_SYS_PTRACE, "reading a jail's posture from outside"},
    {CAP_KILL, "ending processes of another uid"},
    {CAP_DAC_OVERRIDE, "cgroup files of another owner"},
};

std::string beside(const char* program) {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0) return program;
  const std::string self(path, static_cast<std::size_t>(length));
  return self.substr(0, self.rfind('/') + 1) + program;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// In a network namespace just made: "" if it holds lo alone, and that down.
std::string what_differs_in_fresh_network() {
  const std::unique_ptr<nl_sock, void (*)(nl_sock*)> socket(nl_socket_alloc(), nl_socket_free);
  if (socket == nullptr || nl_connect(socket.get(), NETLINK_ROUTE) < 0)
    return "netlink does not answer";
  nl_cache* raw = nullptr;
  if (rtnl_link_alloc_cache(socket.get(), AF_UNSPEC, &raw) < 0) return "links cannot be listed";
  const std::unique_ptr<nl_cache, void (*)(nl_cache*)> links(raw, nl_cache_free);
  std::string differs;
  for (nl_object* object = nl_cache_get_first(raw); object != nullptr;
       object = nl_cache_get_next(object)) {
    auto* link = reinterpret_cast<rtnl_link*>(object);
    const std::string name = rtnl_link_get_name(link);
    const bool up = (rtnl_link_get_flags(link) & IFF_UP) != 0;
    if (name != "lo" || up) differs += (differs.empty() ? "" : ", ") + name + (up ? " up" : "");
  }
  return differs;
}

void add_limit(Mechanisms& all, const char* name, const std::string& enforced_by,
               const char* effect) {
  if (!enforced_by.empty()) {
    all.push_back({name, State::Ok, std::string(effect) + " (" + enforced_by + ")", ""});
  } else {
    all.push_back(
        {name, State::Missing, effect,
         "no cgroup hierarchy here counts it; mount the controller, or delegate it to the group "
         "that this runs in"});
  }
}

}  // namespace

void probe_rights(Mechanisms& all, const Error* not_entered) {
  const std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)> own(cap_get_proc(), cap_free);
  std::string lacking;
  for (const auto& needed : kNeeded) {
    // The cgroups of a plain user are its own.
    if (needed.capability == CAP_DAC_OVERRIDE && geteuid() != 0) continue;
    cap_flag_value_t has = CAP_CLEAR;
    cap_get_flag(own.get(), needed.capability, CAP_EFFECTIVE, &has);
    if (has == CAP_SET) continue;
    const std::unique_ptr<char, int (*)(void*)> name(cap_to_name(needed.capability), cap_free);
    lacking += (lacking.empty() ? "" : ", ") + std::string(name.get()) + " for " + needed.what_for;
  }
  Mechanism rights{
      "rights of the owner", State::Ok,
      geteuid() == 0 ? "building the jail; the guest gets none of them"
                     : "building the jail, in a user namespace of this user's own; the guest gets "
                       "none of them",
      ""};
  if (not_entered != nullptr) {
    rights.state = State::Missing;
    rights.remedy = not_entered->line();
  } else if (!lacking.empty()) {
    rights.state = State::Missing;
    rights.remedy = "lacking " + lacking +
                    (geteuid() == 0 ? "; this root is confined: give the container these, or run "
                                      "outside of it"
                                    : "; run as root, or ask a jaild that runs as root");
  }
  all.push_back(rights);
}

void probe_ids(Mechanisms& all) {
  Mechanism range{"host uid range", State::Ok,
                  "one host uid per live jail, " + std::to_string(kUidBase) + " to " +
                      std::to_string(kUidBase + kUidCount - 1),
                  ""};
  if (geteuid() != 0) {
    const std::uint32_t mapped = mapped_uids();
    range.enforces = "one host uid per live jail, " + std::to_string(mapped) +
                     " of this user's own range (/etc/subuid, newuidmap)";
    if (mapped == 0) {
      range.enforces = "one host uid per live jail";
      range.state = State::Weak;
      range.remedy =
          "guests have this user's own uid and groups: give it a range (usermod --add-subuids "
          "300000-365535 --add-subgids 300000-365535) and install newuidmap (package uidmap)";
    }
    all.push_back(range);
    return;
  }
  const passwd* taken = nullptr;
  setpwent();
  while (const passwd* entry = getpwent())
    if (entry->pw_uid >= kUidBase && entry->pw_uid - kUidBase < kUidCount) taken = entry;
  if (taken != nullptr) {
    range.state = State::Missing;
    range.remedy =
        std::string("the user ") + taken->pw_name + " has a uid of this range; give it another";
  }
  endpwent();
  // A map is what tells: inside of a container the range may not exist at all.
  const Tried mapped = try_in_namespaces(0, [](int) { return 0; });
  if (mapped.error != 0) {
    range.state = State::Missing;
    range.remedy =
        lacks_user_namespaces(all)
            ? kSeeUserNamespace
            : "an id of the range cannot be mapped; give this container a larger id range";
  }
  all.push_back(range);
}

void probe_network(Mechanisms& all) {
  const Tried tried = try_in_namespaces(CLONE_NEWNET, [](int text_fd) {
    const std::string differs = what_differs_in_fresh_network();
    write_all(text_fd, differs.data(), differs.size());
    return differs.empty() ? 0 : EINVAL;
  });
  Mechanism empty{"fresh network is empty", State::Ok,
                  "no way out: lo alone, and that down (netlink)", ""};
  if (tried.error != 0) {
    empty.state = State::Missing;
    empty.remedy =
        lacks_user_namespaces(all) ? kSeeUserNamespace
        : tried.text.empty()
            ? "a network namespace cannot be looked into; see its own line"
            : "it holds " + tried.text +
                  "; set net.core.fb_tunnels_only_for_init_net=1, and unload what adds devices";
  }
  all.push_back(empty);
}

void probe_cgroups(Mechanisms& all) {
  const CgroupLimits limits{64ull << 20, 16, 500, 0};
  auto made = Cgroup::create("jailrun-doctor-" + std::to_string(getpid()), limits);
  if (!made) {
    const Error& error = made.error();
    std::string why = error.message;
    if (error.errno_value != 0) why += " (" + errno_name(error.errno_value) + ")";
    all.push_back({"cgroup", State::Missing,
                   "memory, processes and CPU of a jail; killing it whole",
                   why + "; " + error.remedy});
    return;
  }
  const Tried into = try_clone_into(made->v2_fd());
  all.push_back({"clone into cgroup", into.error == 0 ? State::Ok : State::Missing,
                 "limits hold before a jail's first instruction (CLONE_INTO_CGROUP)",
                 into.error == 0 ? ""
                                 : errno_name(into.error) +
                                       "; kernel 5.7 has it; allow clone3 in the sandbox that "
                                       "this runs in"});
  const bool can_kill = faccessat(made->v2_fd(), "cgroup.kill", F_OK, 0) == 0 &&
                        write_file_at(made->v2_fd(), "cgroup.kill", "1") == 0;
  all.push_back(
      {"cgroup v2 leaf", can_kill ? State::Ok : State::Weak,
       "every process of a jail dies at once (cgroup.kill)",
       can_kill ? "" : "kernel 5.14 has cgroup.kill; until then init's end kills its namespace"});
  const Enforcement& by = made->enforcement();
  add_limit(all, "memory limit", by.memory, "limits.memory");
  add_limit(all, "process limit", by.pids, "limits.pids");
  add_limit(all, "CPU limit", by.cpu, "limits.cpus");
  made->watch_oom();
  const bool v1 = by.memory.find("v1") != std::string::npos;
  const bool told = !v1 || made->oom_event() >= 0;
  all.push_back(
      {"out of memory is seen", told ? State::Ok : State::Missing,
       v1 ? "the whole jail dies, not one process (eventfd on memory.oom_control)"
          : "the whole jail dies, not one process (memory.oom.group)",
       told ? ""
            : "cgroup.event_control cannot be used; boot with systemd.unified_cgroup_hierarchy=1"});
  const auto removed = made->remove();
  if (!removed)
    all.push_back({"cgroup teardown", State::Weak, "nothing stays", removed.error().line()});
}

void probe_image(Mechanisms& all) {
  const std::string path = image_path("python");
  Mechanism image{"image python", State::Ok, "what a guest sees as / (" + path + ")", ""};
  const Fd tree(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat status{};
  if (!tree.valid() || fstatat(tree.get(), "usr/bin/python3", &status, 0) != 0) {
    image.state = State::Missing;
    image.remedy = tree.valid()
                       ? "it holds no usr/bin/python3; build it again with `jailrun rootfs build`"
                       : "build it with `jailrun rootfs build`";
  }
  all.push_back(image);
}

void probe_policy(Mechanisms& all) {
  const Ran ran = run_program({"/proc/self/exe", "compile", "python"});
  Mechanism policy{"policy python", State::Ok, "limits and system calls of a run (libseccomp)", ""};
  if (ran.status != 0) {
    policy.state = State::Missing;
    policy.remedy = "it does not compile here: " + first_line(ran.err);
  }
  all.push_back(policy);
}

void probe_jail(Mechanisms& all) {
  const std::string program = beside("jailrun");
  const Ran ran =
      run_program({program, "exec", "--cold", "--policy", "python", "--json", "--", "/bin/true"});
  const auto answer = nlohmann::json::parse(ran.out, nullptr, false);
  Mechanism jail{"a whole jail", State::Ok, "/bin/true ran in one and was attested from outside",
                 ""};
  if (ran.status != 0) {
    jail.state = State::Missing;
    jail.enforces = "running /bin/true under the default policy";
    jail.remedy = first_line(ran.err);
    if (answer.is_object() && answer.contains("error") && answer["error"].is_object()) {
      const auto& error = answer["error"];
      jail.remedy = "stage " + error.value("stage", "?") + ": " + error.value("message", "?") +
                    "; " + error.value("remedy", "?");
    }
    if (jail.remedy.empty())
      jail.remedy = program + " ended with status " + std::to_string(ran.status);
  } else if (answer.is_object() && answer.contains("timeline") && !answer["timeline"].empty()) {
    char text[96];
    for (const auto& entry : answer["timeline"]) {
      if (entry.value("stage", "") != "exec") continue;
      std::snprintf(text, sizeof text, ", first instruction after %.1f ms",
                    entry.value("at_ns", 0.0) / 1e6);
      jail.enforces += text;
    }
  }
  all.push_back(jail);
}

}  // namespace jailrun::full
