"""A session: one interpreter that executes cells, each answered over a channel of its own.

    client ──frames on fd 3──▶ live process ──frames on fd 4──▶ client      streams: fd 0, 1, 2

The live process is the parked guest itself until something is saved. Frames are those of
jail/session/frames.h; states are kept by jailrun_states.py, values told by jailrun_rich.py.
"""

import ast
import base64
import linecache
import os
import signal
import stat
import sys

import jailrun_files
import jailrun_policy
import jailrun_rich as rich
import jailrun_snapshot as snapshot
import jailrun_states as states
import jailrun_trees as trees
from jailrun_channel import (
    MOST_CONTENT,
    Channel,
    Ended,
    Interrupts,
    claimed,
    finish_frame,
    getpid,
    ignore,
    next_request,
    now_ns,
)

CLAIM_SECONDS = 10  # a branch waits for whoever asked for it


class Session:
    def __init__(self, module, adopt_orphans):
        self.names = module.__dict__
        for name in jailrun_files.NAMES:  # a policy's own go before
            self.names.setdefault(name, getattr(jailrun_files, name))
        self.count = 0  # of cells
        self.shown = 0  # displays of the cell that runs
        self.warnings = []  # of the policy's rules for code, about that cell
        self.request = 0
        self.caps = rich.Caps()
        self.interrupts = Interrupts()
        self.states = states.States(adopt_orphans, self.tell_death, self.branched)
        self.channel = Channel(self.interrupts, self.states.owes)
        self.send = self.channel.send
        self.operations = {
            "execute": self.execute,
            "savepoint": self.savepoint,
            "rollback": self.rollback,
            "drop": self.drop,
            "branch": self.branch,
            "arrow": self.arrow,
            "put": self.put,
            "get": self.get,
        }
        self.seen = {}  # files in /work and their stamps, as of the latest answer

    # --- displays -----------------------------------------------------------------------------

    def show(self, *values):
        """display(), as cells call it."""
        for value in values:
            self.display(value)

    def display(self, value, kind="display"):
        """What a person sees of a value, by its MIME types; the last frame kept under the cap."""
        self.shown += 1
        if self.shown > self.caps.displays:
            return None
        data, cut = rich.bundle(value, self.caps)
        self.send_bundle(data, cut, kind)
        return data

    def send_bundle(self, data, cut, kind="display"):
        binary = [(mime, part) for mime, part in data.items() if not isinstance(part, str)]
        head = {"kind": kind, "id": self.request, "n": self.shown}
        head["data"] = {mime: part for mime, part in data.items() if isinstance(part, str)}
        head["bodies"] = [[mime, len(part)] for mime, part in binary]
        if cut:
            head["cut"] = cut
        self.send(head, b"".join(bytes(part) for _, part in binary))

    def show_value(self, value, error, answer):
        """What a notebook shows after a cell, and the same for programs."""
        if error is None and value is not None:
            self.names["_"] = value
            data = self.display(value, "result") or {}
            text = data.get("text/plain")
            answer["value"] = rich.typed(value, self.caps, text=text)
        notes = []
        for png in rich.figures(caps=self.caps, notes=notes, shown=[value]):
            self.shown += 1
            if self.shown <= self.caps.displays:
                self.send_bundle({"image/png": png}, [])
        if notes:
            answer["cut"] = notes
        if isinstance((result := self.names.get("result")), dict) and "type" in result:
            answer["result"] = rich.declared(result, self.caps)

    # --- execute ------------------------------------------------------------------------------

    def compile(self, code, name):
        """Statements, and the last expression apart if a value is to be shown."""
        tree, self.warnings = jailrun_policy.parse(code, name, show=True)
        last = None
        quiet = code.rstrip().endswith(";")
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not quiet:
            last = compile(ast.Expression(tree.body.pop().value), name, "eval", dont_inherit=True)
        return compile(tree, name, "exec", dont_inherit=True) if tree.body else None, last

    def run(self, code, name):
        """Value of the last expression, the exception, and when the first bytecode ran."""
        first, value = 0, None
        try:
            with self.interrupts:
                body, last = self.compile(code, name)
                first = now_ns()
                if body is not None:
                    exec(body, self.names)
                if last is not None:
                    value = eval(last, self.names)
            return value, None, first
        except BaseException as error:
            return None, error, first

    def outcome_of(self, error, name):
        if error is None:
            return {"outcome": "ok"}
        if isinstance(error, SystemExit):
            code = error.code
            if code is None or isinstance(code, int):
                return {"outcome": "exit", "status": (code or 0) & 0xFF}
            print(rich.clean(str(code)), file=sys.stderr)  # as Python itself does
            return {"outcome": "exit", "status": 1}
        told = rich.error(error, name)
        outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
        return {"outcome": outcome, "error": told}

    def execute(self, request):
        self.count += 1
        self.shown, self.warnings = 0, []
        name = f"<cell {self.count}>"
        code = request["code"]
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        trial = request.get("transactional", False)
        if trial:
            saved = self.states.save(request["id"], trial=True)
            self.channel.belongs_here()
            if saved is None:
                return None  # restored: whoever ran the cell has answered
        here = getpid()
        value, error, first = self.run(code, name)
        try:
            answer = self.outcome_of(error, name)
        except BaseException as second:
            answer = {"outcome": "error", "error": rich.error(second, name)}
        if getpid() != here:  # a fork of the cell's own has come to the end of it
            self.flush()
            os._exit(answer.get("status", 0 if error is None else 1))
        try:
            with self.interrupts:  # what is shown runs code of the cell's own
                self.show_value(value, error, answer)
        except BaseException as second:
            if isinstance(second, KeyboardInterrupt):
                answer["outcome"] = "interrupted"
            answer.setdefault("error", rich.error(second, name))
        if self.shown > self.caps.displays:
            answer["displays_dropped"] = self.shown - self.caps.displays
        self.flush()
        self.seen, told = trees.changes(self.states.work, self.seen)
        answer |= told
        if self.warnings:
            answer["warnings"] = self.warnings
        answer["cell"] = self.count
        answer["first_ns"], answer["done_ns"] = first, now_ns()
        if trial and answer["outcome"] != "ok":
            answer["rolled_back"] = True
            self.states.restore(saved, answer=lambda fault: self.restored(request, answer, fault))
        if trial:
            self.states.drop(saved)
        return answer

    def flush(self):
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except Exception:
                pass

    # --- states -------------------------------------------------------------------------------

    def savepoint(self, request):
        self.flush()
        saved = self.states.save(request["id"])
        self.channel.belongs_here()
        return None if saved is None else {"outcome": "ok", "savepoint": saved}

    def rollback(self, request):
        self.flush()
        wanted = int(request["savepoint"])
        self.states.check(wanted)
        answer = {"outcome": "ok", "savepoint": wanted}
        self.states.restore(wanted, answer=lambda fault: self.restored(request, answer, fault))

    def restored(self, request, answer, fault):
        if fault:
            what = f"the files in {self.states.work} could not all be restored: {os.strerror(fault)}"
            answer = {"outcome": "error", "error": {"type": "OSError", "message": what}}
        self.reply(request, answer)

    def drop(self, request):
        self.states.check(int(request["savepoint"]))
        self.states.drop(int(request["savepoint"]))
        return {"outcome": "ok"}

    def branch(self, request):
        self.flush()
        number = request.get("savepoint")
        if number is not None:
            self.states.check(number := int(number))
        made = self.states.branch(request["id"], number)
        if made is None:
            return None  # this is the branch
        return {"outcome": "ok", "branch": {"pid": made[0], "ends": made[1]}}

    def branched(self, theirs):
        """Whoever asked for the branch takes the ends that are not ours, and says so on the pipe."""
        if not claimed(CLAIM_SECONDS):
            os._exit(1)
        for fd in theirs:
            os.close(fd)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        self.seen, _ = trees.changes(self.states.work, self.seen)

    def arrow(self, request):
        name = request["name"]
        if name not in self.names:
            raise snapshot.Refused(f"no variable {name}")
        notes, here = [], getpid()
        try:
            with self.interrupts:
                table = rich.arrow(self.names[name], notes)
        except BaseException as error:
            raise snapshot.Refused(f"{name} cannot be given as Arrow: {error}") from None
        if getpid() != here:  # its own methods may fork
            os._exit(0)
        self.reply(request, {"outcome": "ok", "notes": notes}, table)

    def tell_death(self, request, status, owed):
        """Ours is the latest state; the process after it has died while it served `request`."""
        finish_frame(owed)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            how = "was killed" if number == signal.SIGKILL else f"died of {signal.Signals(number).name}"
        else:
            how = f"ended with status {os.waitstatus_to_exitcode(status)}"
        message = f"the interpreter {how}; the session goes on from its latest saved state"
        self.channel.belongs_here()
        told = {"outcome": "died", "rolled_back": True}
        told["error"] = {"type": "InterpreterDied", "message": message}
        self.reply({"id": request}, told)

    # --- files --------------------------------------------------------------------------------

    def place(self, request):
        name = os.path.normpath(request["name"])
        if name.startswith(("/", "..")) or name == ".":
            raise snapshot.Refused(f"{request['name']} is no name of a file below {snapshot.WORK}")
        return os.path.join(self.states.work, name)

    def put(self, request):
        path = self.place(request)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(base64.b64decode(request["content"]))
            self.seen[path] = trees.stamp(os.lstat(path))
        except OSError as error:
            raise snapshot.Refused(f"cannot write {path}: {error.strerror}") from None
        return {"outcome": "ok"}

    def get(self, request):
        path = self.place(request)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise snapshot.Refused(f"{path} is no regular file")
            if status.st_size > MOST_CONTENT:
                raise snapshot.Refused(f"{path} has more than {MOST_CONTENT >> 20} MiB")
            with open(path, "rb", buffering=0) as file:
                content = file.read(MOST_CONTENT)
        except OSError as error:
            raise snapshot.Refused(f"cannot read {path}: {error.strerror}") from None
        self.reply(request, {"outcome": "ok"}, content)

    # --- the loop -----------------------------------------------------------------------------

    def reply(self, request, answer, body=b""):
        self.send({"kind": "answer", "id": request["id"], **answer}, body)

    def serve(self, had):
        request = next_request(had)
        self.request = request["id"]
        self.states.begin(self.request)
        self.channel.belongs_here()
        received = now_ns()
        try:
            answer = self.operations[request["op"]](request)
            if answer is not None:
                answer["received_ns"] = received
        except snapshot.Refused as refused:
            answer = {"outcome": "refused", "error": {"type": "Refused", "message": str(refused)}}
        except (Ended, BrokenPipeError):
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {rich.clean(str(error))}"
            answer = {"outcome": "refused", "error": {"type": "Refused", "message": what}}
        if answer is not None:
            try:
                self.reply(request, answer)
            except Exception as error:
                if getattr(error, "errno", None):
                    raise
                ignore(error)
                self.reply(request, answer)
            if getpid() != self.channel.pid:  # a fork of the cell's own
                os._exit(0)


def main(module, had, adopt_orphans):
    """Serves until the client is gone. `had`: what was read of the first request already."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)  # nobody answers input()
    os.close(null)
    session = Session(module, adopt_orphans)
    signal.signal(signal.SIGINT, session.interrupts.heard)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    module.display = session.show
    try:
        while True:
            session.serve(had)
            had = b""
    except (Ended, BrokenPipeError):
        session.states.leave()
        return 0
    except OSError as error:
        sys.exit(f"session: descriptor 3 or 4 is not what it was: {error.strerror}")
