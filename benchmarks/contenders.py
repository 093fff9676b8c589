"""Who takes part in benchmarks/compare: jailrun in all its ways, and the sandboxes that are installed."""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import time

from figures import percentile

SCRIPT = "print(6 * 7)"
PANDAS = "import pandas, matplotlib.pyplot; print(6 * 7)"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
               "HOME": "/root"}


LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, CLONE_NEWNS = 1, 36, 0x20000


def stand_alone():
    """From here on mounts are this process's own, and it inherits the orphans of what it starts: some
    sandboxes end before what they have started does."""
    if LIBC.unshare(CLONE_NEWNS) != 0 or LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def reap_orphans(kill=False):
    """Waits for all that is left of what was started, but for daemons of ours; gives its CPU time."""
    spent = 0
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            left = [pid for pid in map(int, file.read().split()) if pid not in Daemon.pids]
        if not left:
            return spent
        for pid in left:
            if kill:
                os.kill(pid, signal.SIGKILL)
            spent += cpu_ns(os.wait4(pid, 0)[2])


def cpu_ns(usage):
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


class Contender:
    """A command that is started again and again. `env` replaces ENVIRONMENT."""

    def __init__(self, name, command, env=None, sleeper=None, daemon=None):
        self.name, self.command, self.env = name, command, env or ENVIRONMENT
        self.sleeper = sleeper  # the same with a guest that sleeps, for the supervisor's memory
        self.daemon = daemon  # the jaild that works for it
        self.wall_ns, self.cpu_ns, self.supervisor_kib = [], [], None
        self.daemon_cpu_ns = 0  # of a run, beside its client's
        self.per_second = {}  # clients → runs per second

    def slow(self):
        return "pandas" in self.name and not self.daemon  # jobs of half a second

    def start(self):
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, flags, 0)
                for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY))]
        return os.posix_spawn(self.command[0], self.command, self.env, file_actions=null)

    def measure(self, keep=True):
        begin = time.monotonic_ns()
        _, status, usage = os.wait4(self.start(), 0)
        wall = time.monotonic_ns() - begin
        spent = cpu_ns(usage) + reap_orphans()
        if keep:
            self.wall_ns.append(wall)
            self.cpu_ns.append(spent)
        return os.waitstatus_to_exitcode(status)

    def measure_daemon(self, runs):
        """CPU time that its daemon spends on a run: until it is quiet again, refill and teardown included."""
        before = self.daemon.quiet_ns()
        for _ in range(runs):
            self.measure(keep=False)
        self.daemon_cpu_ns = (self.daemon.quiet_ns() - before) / runs

    def measure_load(self, clients, seconds):
        """Runs per second with so many commands at a time; all that are begun are counted, until they have ended."""
        poll, live, done, begin = select.poll(), {}, 0, time.monotonic()
        while live or time.monotonic() < begin + seconds:
            while len(live) < clients and time.monotonic() < begin + seconds:
                pid = self.start()
                fd = os.pidfd_open(pid)
                live[fd] = pid
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll():
                poll.unregister(fd)
                os.close(fd)
                done += os.waitpid(live.pop(fd), 0)[1] == 0
        reap_orphans()
        self.per_second[clients] = done / (time.monotonic() - begin)

    def complaint(self):
        """Why it does not work here, or ''."""
        try:
            done = subprocess.run(self.command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode == 0:
            return ""
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        return f"exit status {done.returncode}: {said[-1] if said else 'no message'}"

    def measure_memory(self):
        """VmHWM of the first process while a guest sleeps under it."""
        sleeping = Contender(self.name, self.sleeper, self.env)
        pid = sleeping.start()
        try:
            time.sleep(0.5)  # the guest is certainly asleep by then; nothing is timed here
            with open(f"/proc/{pid}/status", encoding="ascii") as status:
                lines = dict(line.split(":", 1) for line in status if ":" in line)
            self.supervisor_kib = int(lines["VmHWM"].split()[0])
        except (OSError, KeyError):
            pass
        finally:
            os.kill(pid, signal.SIGTERM)
            os.wait4(pid, 0)
            reap_orphans(kill=True)

    def row(self):
        wall, cpu = self.wall_ns, self.cpu_ns
        shares = (("p50", .5), ("p90", .9), ("p99", .99), ("p99.9", .999))
        return {"name": self.name, "command": self.command, "rounds": len(wall),
                "wall_ms": {"min": min(wall) / 1e6, **{name: percentile(wall, of) / 1e6 for name, of in shares}},
                "cpu_ms_p50": (percentile(cpu, .5) + self.daemon_cpu_ns) / 1e6,
                "daemon_cpu_ms": self.daemon_cpu_ns / 1e6, "supervisor_rss_kib": self.supervisor_kib,
                "per_second": self.per_second}


class Daemon:
    """A jaild of our own; `complaint` says why there is none."""

    pids = set()

    def __init__(self, stack, jailrun, directory, name, *options):
        program = os.path.join(os.path.dirname(jailrun), "jaild")
        self.socket, self.complaint = os.path.join(directory, name), ""
        if not os.access(program, os.X_OK):
            self.complaint = f"no program at {program}"
            return
        log = stack.enter_context(open(f"{self.socket}.log", "wb"))
        self.process = subprocess.Popen([program, "--socket", self.socket, *options], stdout=log, stderr=log,
                                        preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM))
        self.pids.add(self.process.pid)
        stack.callback(self.process.wait)
        stack.callback(self.process.terminate)
        while not os.path.exists(self.socket):
            if self.process.poll() is not None:
                with open(f"{self.socket}.log", encoding="utf-8", errors="replace") as said:
                    self.complaint = (said.read().strip().splitlines() or ["it ended"])[-1]
                return
            time.sleep(0.01)

    def cpu_ns(self):
        """Of its one thread and of its worlds: keepers, zygotes, slots, guests, alive or dead."""
        with open(f"/proc/{self.process.pid}/schedstat", encoding="ascii") as own:
            total = int(own.read().split()[0])
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as keepers:
            for keeper in keepers.read().split():
                total += world_cpu_ns(keeper)
        return total

    def quiet_ns(self):
        """cpu_ns() once it no longer moves; a pool that has grown needs a while."""
        before = self.cpu_ns()
        for _ in range(60):
            time.sleep(1.5)
            now = self.cpu_ns()
            if now - before < 1_500_000:
                break
            before = now
        return now


def world_cpu_ns(keeper):
    """Of all that a world's cgroup has ever held; the keeper's own leaf lies below it."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{keeper}/cgroup", encoding="ascii") as table:
            leaf = next(line.strip()[3:] for line in table if line.startswith("0::"))
        for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            with contextlib.suppress(OSError):
                with open(f"{root}{os.path.dirname(leaf)}/cpu.stat", encoding="ascii") as stat:
                    return int(stat.readline().split()[1]) * 1000
    return 0


def chroot_command(tree, command):
    """fork + exec + chroot and nothing else: the floor. As nobody: libraries that cache would write to the image."""
    return [shutil.which("chroot") or "/usr/sbin/chroot", "--userspec=65534:65534", tree, *command]


def writable_tmp(tree, place):
    """The image with a /tmp, for what brings none of its own. Mounts are ours (stand_alone) and end with us."""
    os.mkdir(place)
    subprocess.run(["mount", "--bind", tree, place], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", f"{place}/tmp"], check=True)
    return place


def bwrap_commands(tree, command):
    base = [shutil.which("bwrap"), "--unshare-all"]
    rest = ["--ro-bind", tree, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/work",
            "--chdir", "/work", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--", *command]
    return {"": base + rest, ", host net": base + ["--share-net"] + rest}


def nsjail_commands(tree, command):
    base = [shutil.which("nsjail"), "--really_quiet", "-Mo", "--chroot", tree, "--user", "99999", "--group",
            "99999", "--hostname", "jail", "--cwd", "/work", "--tmpfsmount", "/tmp", "--tmpfsmount", "/work",
            "--tmpfsmount", "/dev/shm", "--time_limit", "60"]
    return {"": base + ["--", *command], ", host net": base + ["--disable_clone_newnet", "--", *command]}


def firejail_commands(tree, command):
    base = [shutil.which("firejail"), "--quiet", "--noprofile", "--net=none", "--private-dev", "--private-tmp",
            "--seccomp", "--caps.drop=all", "--nonewprivs"]
    # Debian's configuration forbids --chroot.
    return {"": base + [f"--chroot={tree}", "--", *command], ", host's root": base + ["--", *command]}


def oci_bundle(directory, tree, command):
    """A bundle with the namespaces, mounts and limits of the default policy."""
    os.makedirs(directory, exist_ok=True)
    tmpfs = [{"destination": where, "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "nodev", "mode=1777", "uid=1000", "gid=1000", f"size={size}"]}
             for where, size in (("/tmp", "64m"), ("/work", "256m"))]
    config = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 1000, "gid": 1000}, "args": command, "cwd": "/", "noNewPrivileges": True,
                    "env": ["PATH=/usr/bin:/bin"], "capabilities": {}},
        "root": {"path": tree, "readonly": True},
        "hostname": "jail",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                    "options": ["nosuid", "strictatime", "mode=755", "size=64k"]}, *tmpfs],
        "linux": {"namespaces": [{"type": kind} for kind in
                                 ("pid", "network", "ipc", "uts", "mount", "cgroup")],
                  "resources": {"memory": {"limit": 512 << 20}, "pids": {"limit": 64}}},
    }
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return directory


def docker_command(command, skipped):
    docker = shutil.which("docker")
    if not docker:
        skipped.append(("docker", "not installed"))
        return None
    images = subprocess.run([docker, "images", "-q", "jailrun-compare"], capture_output=True, text=True, check=False)
    if images.returncode != 0:
        skipped.append(("docker", "its daemon does not answer"))
        return None
    if not images.stdout.strip():
        skipped.append(("docker", "no image of the same tree; make one: "
                        "tar -C TREE -c . | docker import - jailrun-compare"))
        return None
    return [docker, "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--memory=512m",
            "--pids-limit=64", "--tmpfs=/tmp", "--tmpfs=/work", "jailrun-compare", *command]


def peers(tree, directory, skipped):
    """Every installed peer with /bin/true, with python3, and with pandas imported."""
    jobs = {"true": ["/bin/true"], "python": ["/usr/bin/python3", "-c", SCRIPT],
            "pandas": ["/usr/bin/python3", "-c", PANDAS]}
    bare = writable_tmp(tree, os.path.join(directory, "tree"))
    for job, command in jobs.items():
        yield Contender(f"bare {job}", chroot_command(bare, command))
        for peer, make in (("bwrap", bwrap_commands), ("nsjail", nsjail_commands), ("firejail", firejail_commands)):
            if not shutil.which(peer):
                if job == "true":
                    skipped.append((peer, "not installed"))
                continue
            for variant, line in make(tree, command).items():
                if job != "true" and variant == ", host net":
                    continue
                sleeper = next(iter(make(tree, ["/bin/sleep", "10"]).values())) if job == "true" else None
                yield Contender(f"{peer} {job}{variant}", line, sleeper=None if variant else sleeper)
        for runtime in ("crun", "runc"):
            if not shutil.which(runtime):
                if job == "true":
                    skipped.append((runtime, "not installed"))
                continue
            bundle = oci_bundle(os.path.join(directory, job), tree, command)
            # The shell gives each container a name: its own process id.
            yield Contender(f"{runtime} {job}", ["/bin/sh", "-c", f"exec {shutil.which(runtime)} --root "
                                                 f"{directory}/{runtime} run --bundle {bundle} compare-$$"])
        if job != "python" and (line := docker_command(command, skipped if job == "true" else [])):
            yield Contender(f"docker {job}", line)


def ours(jailrun, script, state):
    env = dict(ENVIRONMENT, JAILRUN_STATE_DIR=state)
    true = [jailrun, "exec", "--policy", "python", "--cold"]
    sleeper = [*true, "--", "/bin/sleep", "10"]
    yield Contender("jailrun true", [*true, "--", "/bin/true"], env, sleeper)
    yield Contender("jailrun true, own net", [*true, "--set", "network.mode=LOOPBACK", "--", "/bin/true"], env)
    yield Contender("jailrun python", [jailrun, "run", "--cold", script], env)


def ours_warm(jailrun, script, daemons):
    yield Contender("jailrun pandas, cold", [jailrun, "run", "--cold", script])
    for start, daemon in daemons.items():
        yield Contender(f"jailrun pandas, {start}", [jailrun, "run", "--warm", script],
                        dict(ENVIRONMENT, JAILRUN_SOCKET=daemon.socket), daemon=daemon)
