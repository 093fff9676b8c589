#!/usr/bin/env python3
"""jailagent under load while it, its jaild, guests and clients are killed at random instants.

    kill_soak.py BIN_DIR [--rounds N | --minutes M] [--seed N] [--clients N]

Two owners' clients execute in sessions, run single jails, store, read and remove files, look for what is not
theirs, and hang up in the middle. Ends with what they saw; status 1 if an answer was wrong, a session was lost
that jaild still had, a stored file is gone or in part, somebody saw what is another's, a status 500 came, or
anything is left.
"""

import argparse
import collections
import hashlib
import json
import os
import random
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "soak"))
from daemons import Daemons, kill  # noqa: E402
from ledger import PATIENCE_S, Ledger, look  # noqa: E402
from paths import GONE, Line  # noqa: E402


class Wrong(Exception):
    """What must not be, whatever is killed."""


class World(Daemons):
    """The two daemons, and what all clients know of their deaths."""

    def __init__(self, programs):
        self.kills = collections.Counter()
        self.epoch = 0       # of all kills, before and after each
        self.jaild_epoch = 0  # of those that end jails
        self.agent_epoch = 0
        self.stop = False
        super().__init__(programs, owners="ab")

    def kill(self, victim):
        self.epoch += 1
        if victim == "jailagent":
            self.agent_epoch += 1
        else:
            self.jaild_epoch += 1
        self.kills[victim] += 1
        if victim == "jailagent":
            self.restart_agent()
        elif victim == "jaild":
            self.jaild.kill()
            self.jaild.wait()
            self.start_jaild()
        elif guests := self.guests():
            kill(random.choice(guests))
        self.epoch += 1
        if victim != "jailagent":
            self.jaild_epoch += 1


class Http:
    """One connection of one owner; made again where it broke."""

    def __init__(self, world, owner):
        self.world, self.owner, self.epoch = world, owner, 0
        self.line = Line(world.port, world.keys[owner], 60)

    def ask(self, method, path, body=None, kind="application/json"):
        if self.epoch != self.world.epoch:
            self.line.close()
        self.epoch = self.world.epoch
        status, content = self.line.ask(method, path, body, kind)
        if status == 500:
            raise Wrong(f"{method} {path}: 500 {content[:300]}")
        return status, content

    def hang_up(self, path, body):
        """Asks, and is gone."""
        with socket.create_connection(("127.0.0.1", self.world.port), timeout=10) as line:
            text = json.dumps(body).encode()
            line.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: "
                         b"application/json\r\nContent-Length: %d\r\n\r\n%s"
                         % (path.encode(), self.world.keys[self.owner].encode(), len(text), text))


class Client(threading.Thread):
    def __init__(self, world, number, seed, everybody):
        super().__init__(daemon=True)
        self.world, self.owner, self.name = world, number % 2, f"client {number}"
        self.dice = random.Random(seed)
        self.http = Http(world, self.owner)
        self.user = f"u{number}"
        self.files = {}  # id -> SHA-256, of what was acknowledged
        self.doubtful = set()  # removed without an answer
        self.session = None
        self.everybody = everybody
        self.seen = collections.Counter()
        self.faults = []

    def run(self):
        while not self.world.stop:
            epoch = self.world.epoch
            try:
                self.dice.choice((self.in_session, self.in_session, self.single, self.put_file, self.read_file,
                                  self.put_file, self.pry, self.leave))()
            except GONE as gone:
                self.heard(epoch, gone)
            except Wrong as wrong:
                self.faults.append(str(wrong))

    def heard(self, epoch, what):
        if self.world.epoch == epoch and epoch % 2 == 0:
            self.faults.append(f"{type(what).__name__} {what} while everything lived")
            return
        self.seen["interrupted"] += 1
        time.sleep(.01)

    def refused(self, epoch, status, content):
        """A status that only a kill explains."""
        if status not in (404, 409, 429, 503):
            raise Wrong(f"status {status}: {content[:300]}")
        if status in (409, 429):  # of the moment
            time.sleep(.02)
            return
        # jaild needs a while to have jails again, and says so.
        if self.world.epoch == epoch and self.world.jaild_epoch == 0:
            raise Wrong(f"status {status} while everything lived: {content[:300]}")
        self.seen["refused"] += 1
        time.sleep(.02)

    def cell(self, code):
        status, content = self.http.ask("POST", self.session[0] + "/execute", {"code": code})
        if status != 200:
            return status, content
        reply = json.loads(content)
        return 200, reply

    def in_session(self):
        epoch, jails = self.world.epoch, self.world.jaild_epoch
        if self.session is None:
            status, content = self.http.ask("POST", "/v1/sessions", {})
            if status != 201:
                return self.refused(epoch, status, content)
            self.session = ["/v1/sessions/" + json.loads(content)["id"], None, jails, self.world.agent_epoch]
        path, n, born, served = self.session
        status, reply = self.cell("n = 0; n" if n is None else "n")
        if status == 404 and self.world.jaild_epoch == born:
            self.session = None
            raise Wrong(f"{path} is lost, though only jailagent was killed")
        if status in (404, 503):
            self.session = None
            self.seen["session lost"] += 1
            return self.refused(epoch, status, reply)
        if status != 200:
            return self.refused(epoch, status, reply)
        if reply["outcome"] != "ok":
            return self.died(reply)
        got = int(reply["displays"][-1]["data"]["text/plain"])
        if n is not None and served != self.world.agent_epoch:
            self.session[3] = self.world.agent_epoch
            self.seen["sessions taken up"] += 1
        if n is not None and got not in (n, n + 1):
            raise Wrong(f"{path}: n is {got}, was {n}")
        self.session[1] = got
        body = self.dice.choice(("n += 1; n", "import time; time.sleep(.05); n += 1; n",
                                 "print('x' * 200_000); n += 1; n", "sum(range(500_000)); n += 1; n"))
        status, reply = self.cell(body)
        if status != 200:
            return None  # what became of it, the next one will show
        if reply["outcome"] != "ok":
            return self.died(reply)
        if int(reply["displays"][-1]["data"]["text/plain"]) != got + 1:
            raise Wrong(f"{path}: {body!r} after {got} gave {reply['displays']}")
        self.session[1] = got + 1
        self.seen["cells"] += 1
        if self.dice.random() < .1:
            self.session = None  # whether or not it hears of it
            self.http.ask("DELETE", path)
        return None

    def died(self, reply):
        """The guest was hit, or a cell of before was interrupted."""
        if reply["outcome"] == "interrupted":
            self.seen["interrupted"] += 1
            return
        if self.world.jaild_epoch == self.session[2]:
            raise Wrong(f"a cell ended by itself: {json.dumps(reply)[:500]}")
        self.session = None
        self.seen["guest died"] += 1

    def single(self):
        epoch = self.world.epoch
        number = self.dice.randrange(10**9)
        status, content = self.http.ask("POST", "/v1/run", {"code": f"print({number})"})
        if status != 200:
            return self.refused(epoch, status, content)
        reply = json.loads(content)
        if reply["outcome"] == "ok" and reply["stdout"] == f"{number}\n":
            self.seen["runs"] += 1
        elif self.world.epoch == epoch and epoch % 2 == 0 and self.world.jaild_epoch == 0:
            raise Wrong(f"print({number}) gave {content[:500]}")
        elif reply["outcome"] == "ok":
            raise Wrong(f"print({number}) gave {content[:500]}")
        else:
            self.seen["guest died"] += 1
        return None

    def put_file(self):
        if len(self.files) > 10:  # the store has room for twenty, then the oldest would go
            return self.remove_file()
        epoch = self.world.epoch
        body = self.dice.randbytes(self.dice.choice((10, 5_000, 300_000, 2_000_000)))
        content = hashlib.sha256(body).hexdigest().encode() + body
        status, reply = self.http.ask("POST", f"/v1/users/{self.user}/files?filename={self.dice.randrange(9)}.bin", content,
                                      "application/octet-stream")
        if status != 201:
            return self.refused(epoch, status, reply)
        self.files[json.loads(reply)["file_id"]] = hashlib.sha256(content).hexdigest()
        self.seen["files stored"] += 1
        return None

    def check_file(self, name, digest):
        status, content = self.http.ask("GET", f"/v1/users/{self.user}/files/{name}/content")
        if status == 404 and name in self.doubtful:
            return
        if status != 200:
            raise Wrong(f"stored file {name}: status {status}")
        if hashlib.sha256(content[64:]).hexdigest().encode() != content[:64]:
            raise Wrong(f"stored file {name} is in part")
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise Wrong(f"stored file {name} is another one")
        self.seen["files read"] += 1

    def read_file(self):
        if self.files:
            name = self.dice.choice(list(self.files))
            self.check_file(name, self.files[name])

    def remove_file(self):
        if self.files:
            name = self.dice.choice(list(self.files))
            self.doubtful.add(name)
            status, _ = self.http.ask("DELETE", f"/v1/users/{self.user}/files/{name}")
            if status in (200, 404):
                del self.files[name]

    def pry(self):
        """What is another owner's does not exist."""
        others = [each for each in self.everybody if each.owner != self.owner]
        if not others:
            return
        other = self.dice.choice(others)
        session, files = other.session, list(other.files)
        if session:
            status, content = self.http.ask("POST", session[0] + "/execute", {"code": "n += 1000"})
            if status != 404:
                raise Wrong(f"somebody else's session answers {status}: {content[:300]}")
        if files:
            status, _ = self.http.ask("GET", f"/v1/users/{other.user}/files/{files[0]}/content")
            if status != 404:
                raise Wrong(f"somebody else's file answers {status}")
        self.seen["refusals of what is another's"] += 1

    def leave(self):
        self.http.hang_up("/v1/run", {"code": "import time; time.sleep(5)"})
        self.seen["clients gone"] += 1

    def conclude(self):
        """With both daemons alive: all that was acknowledged is there, all that is there is whole."""
        try:
            for name, digest in self.files.items():
                self.check_file(name, digest)
            _, content = self.http.ask("GET", f"/v1/users/{self.user}/files")
            for each in json.loads(content)["files"]:
                self.check_file(each["file_id"], None)
            if self.session:
                self.http.ask("DELETE", self.session[0])
        except (Wrong, *GONE) as fault:
            self.faults.append(f"at the end: {fault!r}")


def answers(clients):
    return sum(client.seen["cells"] + client.seen["runs"] for client in clients)


def soak(options):
    dice = random.Random(options.seed)
    random.seed(options.seed)
    before = Ledger(("orphans", "groups"))
    world = World(options.programs)
    clients = []
    for number in range(options.clients):
        clients.append(Client(world, number, dice.random(), clients))
    begun, rounds = time.monotonic(), 0
    for client in clients:
        client.start()
    while (rounds < options.rounds) if options.minutes is None else (time.monotonic() - begun < options.minutes * 60):
        # Some while jaild imports, most while there is much to do.
        answered, patience = answers(clients), time.monotonic() + 60
        waits = dice.random() < .75
        while waits and answers(clients) == answered:
            time.sleep(.005)
            if time.monotonic() > patience:
                clients[0].faults.append("nothing was answered for a minute")
                break
        time.sleep(dice.random() * .4)
        world.kill(dice.choices(("jailagent", "jaild", "guest"), (3, 1, 1))[0])
        rounds += 1
        if rounds % 50 == 0:
            print(f"{time.monotonic() - begun:.0f} s, {rounds} kills,",
                  sum(len(client.faults) for client in clients), "faults", file=sys.stderr, flush=True)
    world.stop = True
    for client in clients:
        client.join(PATIENCE_S * 2)
        if client.is_alive():
            client.faults.append("it hangs")
    for client in clients:
        client.conclude()
    print("jailagent at the end:", json.dumps(look(world.agent.pid)))
    left = world.end().union(*before.left().values())
    seen = sum((client.seen for client in clients), collections.Counter())
    faults = [f"{client.name}: {fault}" for client in clients for fault in client.faults]
    print(f"{sum(world.kills.values())} kills in {time.monotonic() - begun:.0f} s:",
          ", ".join(f"{count} of {name}" for name, count in sorted(world.kills.items())))
    print(", ".join(f"{count} {name}" for name, count in sorted(seen.items())))
    print(f"{len(faults)} faults", *faults[:20], f"{len(left)} left", *sorted(left)[:20], sep="\n")
    if faults or left:
        print("log:", world.log.name)
        return 1
    world.forget()
    return 0 if all(seen[each] for each in ("cells", "runs", "files read", "sessions taken up")) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", metavar="BIN_DIR")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=6)
    sys.exit(soak(parser.parse_args()))
