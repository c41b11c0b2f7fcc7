"""One program in one mode: its files, its processes, its ring, and what was observed."""

import contextlib
import hashlib
import json
import os
import pwd
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import processes

# Who runs under the library, by mode. `server` is the program that the test is about, `client` is whoever
# talks to it (load generators, backends, replicas), `witness` looks at a client's work: it is preloaded
# only if everybody is, so that a mode with one end has no ring at all.
MODES = {
    "plain": set(),
    "both": {"server", "client", "witness"},
    "server": {"server"},
    "client": {"client"},
}

# What a supervisor writes about a child of its own that crashed; we cannot wait for grandchildren.
CRASHED = re.compile(
    rb"exited on signal|terminated by signal|was terminated by|killed by signal|crashed by signal"
    rb"|Segmentation fault|SIGSEGV|SIGABRT|SIGBUS|stack smashing|corrupted|double free|panicked at"
)

# What `landline stats --json` tells: totals, and what must be nothing when all processes are gone.
COUNTERS = ("ring_bytes", "ring_messages", "circuits")
HOLDINGS = ("sockets", "circuits_open", "block_bytes")
STEP_SECONDS = 20
TAIL_LINES = 12


class Failure(Exception):
    """The test cannot go on."""


class Skip(Exception):
    """The test does not apply here; the text is the reason."""


def sha(data):
    """A short checksum of bytes or of a file."""
    if isinstance(data, Path):
        with open(data, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return hashlib.sha256(data).hexdigest()[:16]


class Process:
    def __init__(self, popen, step, out, err, preloaded):
        self.popen, self.step, self.out, self.err = popen, step, out, err
        self.pid, self.preloaded = popen.pid, preloaded
        self.signalled = self.waited = False  # whether we sent it a signal, and saw its end

    def log(self):
        return self.out.read_bytes() + (self.err.read_bytes() if self.err != self.out else b"")


class Case:
    def __init__(self, suite, program, mode, folder, net):
        self.suite, self.program, self.mode = suite, program, mode
        self.folder, self.net = folder, net
        self.started, self.problems, self.seen = [], [], {}
        self.user = None
        self.library = suite.library
        self.expects_ring, self.pairs = True, set()
        for path in (folder, net):
            path.mkdir()
            path.chmod(0o700)

    # What was observed ------------------------------------------------------------------------------

    def check(self, right, text):
        """Notes a problem without ending the test. Returns whether it was right."""
        if not right:
            self.problems.append(text)
        return right

    def record(self, what, value):
        """Something that must be the same in every mode."""
        self.seen[what] = value

    def same(self, what, value, expected):
        self.check(value == expected, f"{what}: got {shorten(value)}, expected {shorten(expected)}")

    # Files and names --------------------------------------------------------------------------------

    def run_as(self, user):
        """Processes of this case run as this user, who owns its files, if we are root."""
        if os.getuid() == 0:
            self.user = pwd.getpwnam(user)
            for path in (self.folder, self.net):
                os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def path(self, name):
        return self.folder / name

    def write(self, name, text):
        path = self.path(name)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def helper(self, name):
        """The command line of one of our own small clients and servers."""
        return [self.suite.python, "-B", str(self.suite.helpers / name)]

    def port(self):
        return self.suite.port()

    @property
    def me(self):
        """The name of the user who runs the case's processes."""
        return (self.user or pwd.getpwuid(os.getuid())).pw_name

    def tool(self, name):
        """The full path of a program, for those that want to be started by it."""
        return shutil.which(name, path=self.environment(False)["PATH"]) or name

    # Processes --------------------------------------------------------------------------------------

    def environment(self, preloaded):
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder), "TMPDIR": str(self.folder), "LC_ALL": "C.UTF-8", "TZ": "UTC",
        }
        if preloaded:
            settings = {name: value for name, value in os.environ.items() if name.startswith("LANDLINE_")}
            environment |= settings | {"LD_PRELOAD": str(self.library), "LANDLINE_DIR": str(self.net)}
        return environment

    def start(self, *argv, role="client", step=None, stdin=None, stdout=None, ready=None, seconds=STEP_SECONDS):
        """Starts a process; `ready` is the port or the path on which it will listen, or a function that tells."""
        argv = [str(word) for word in argv]
        step = step or " ".join([Path(argv[0]).name, *argv[1:]])[:80]
        number = len(self.started)
        out = stdout or self.path(f"{number:03}.out")
        err = self.path(f"{number:03}.err")
        preloaded = role in MODES[self.mode]
        who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        if isinstance(stdin, bytes):
            stdin = self.write(f"{number:03}.in", stdin)
        with open(stdin or os.devnull, "rb") as source, open(out, "wb") as sink, open(err, "wb") as complaints:
            popen = subprocess.Popen(
                argv, stdin=source, stdout=sink, stderr=complaints, cwd=self.folder, start_new_session=True,
                env=self.environment(preloaded), preexec_fn=before_exec, **who,
            )
        process = Process(popen, step, out, err, preloaded)
        self.started.append(process)
        if ready is not None:
            tells = ready if callable(ready) else lambda: processes.listening(ready)
            self.until(f"{step}: is ready", lambda: self.alive(process) and tells(), seconds)
            mapped = processes.maps_file(process.pid, self.library)
            self.check(mapped == preloaded, f"{step}: the library is {'' if mapped else 'not '}mapped")
        return process

    def server(self, *argv, role="server", **options):
        return self.start(*argv, role=role, **options)

    def alive(self, process):
        if process.popen.poll() is None:
            return True
        raise Failure(f"{process.step}: ended with {status_text(process.popen.returncode)}\n{tail(process)}")

    def wait(self, process, seconds=STEP_SECONDS, status=0):
        """Waits for the end of a process, which must have this status; returns its output."""
        try:
            process.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.hung(f"{process.step}: not finished", seconds) from None
        process.waited = True
        code = process.popen.returncode
        expected = code == status or (status is None and (code >= 0 or process.signalled))
        if not expected:
            raise Failure(f"{process.step}: ended with {status_text(code)}\n{tail(process)}")
        return process.out.read_bytes()

    def run(self, *argv, seconds=STEP_SECONDS, status=0, **options):
        return self.wait(self.start(*argv, **options), seconds, status)

    def stop(self, process, how=signal.SIGTERM, status=0, seconds=STEP_SECONDS):
        """Asks a process to end, and checks that it does; `status` None means that any status will do."""
        self.alive(process)
        process.signalled = True
        process.popen.send_signal(how)
        return self.wait(process, seconds, status)

    def until(self, what, condition, seconds=STEP_SECONDS):
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            if time.monotonic() > deadline:
                raise self.hung(what, seconds)
            time.sleep(0.02)
        return answer

    def hung(self, what, seconds):
        return Failure(f"{what}: not within {seconds} s; what hangs:\n{processes.stacks()}")

    def idle(self, process, what, seconds=0.5):
        """Checks that the process and its children use no processor while nobody talks to them."""
        before = {pid: processes.cpu_seconds(pid) for pid in (process.pid, *processes.descendants(process.pid))}
        time.sleep(seconds)
        after = {pid: processes.cpu_seconds(pid) for pid in before}
        used = sum(after[pid] - before[pid] for pid in before if before[pid] is not None and after[pid] is not None)
        self.check(used <= 0.1 * seconds, f"{what}: used {used:.2f} s of CPU in {seconds} s of idleness")

    # The ring ---------------------------------------------------------------------------------------

    def stats(self):
        """Totals of this case's net since it was created, and what it holds now."""
        if self.mode == "plain":
            return dict.fromkeys(COUNTERS + HOLDINGS, 0)
        try:
            totals = json.loads(self.landline("stats", "--json"))
            return {name: int(totals[name]) for name in COUNTERS + HOLDINGS}
        except (ValueError, TypeError, KeyError) as error:
            raise Failure(f"landline stats --json is not understood: {error!r}") from None

    def landline(self, *words):
        """What the command says about this case's net."""
        who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        environment = self.environment(True)
        del environment["LD_PRELOAD"]
        try:
            done = subprocess.run(
                [str(self.suite.command), *words], env=environment, capture_output=True, timeout=STEP_SECONDS, **who
            )
        except subprocess.TimeoutExpired:
            raise self.hung(f"landline {' '.join(words)}", STEP_SECONDS) from None
        if done.returncode:
            raise Failure(f"landline {' '.join(words)}: {status_text(done.returncode)}: {done.stderr.decode().strip()}")
        return done.stdout

    @contextlib.contextmanager
    def ring(self, what, at_least):
        """What happens inside carries at least so many bytes by the ring, if both ends are there; else none.

        Each connection begins in the kernel, whose buffers take some megabytes before the other end has so much
        as looked: what is asked for many short connections is that the ring is used at all. A pair of sockets
        that a program makes for itself, and carries nothing, is a circuit all the same.
        """
        before = self.stats()
        yield
        if self.mode == "plain" or self.mode in self.pairs or self.mode == "both" and not self.expects_ring:
            return
        deadline = time.monotonic() + 1
        while True:
            after = self.stats()
            grown = {name: after[name] - before[name] for name in COUNTERS}
            enough = grown["ring_bytes"] >= at_least
            if self.mode != "both" or enough or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if self.mode == "both":
            self.check(enough, f"{what}: {grown['ring_bytes']} bytes by the ring, expected at least {at_least}")
        else:
            self.check(not grown["ring_bytes"], f"{what}: the ring was used with one end alone: {grown}")

    # The end ----------------------------------------------------------------------------------------

    def finish(self):
        """Ends what still runs; notes whatever died by a signal that nobody sent."""
        for process in self.started:
            code = process.popen.poll()
            if code is not None and code < 0 and not process.signalled and not process.waited:
                self.problems.append(f"{process.step}: died by {status_text(code)}\n{tail(process)}")
        orphans = processes.reap_orphans({process.pid for process in self.started})
        for name, code in orphans.values():
            if code < 0 and code not in (-signal.SIGTERM, -signal.SIGINT):
                self.problems.append(f"{name}: died by {status_text(code)}")
        processes.end_all({process.pid for process in self.started})
        for process in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(5)
        for log in sorted(path for path in self.folder.iterdir() if path.suffix in (".out", ".err", ".log")):
            for line in log.read_bytes().splitlines() if log.stat().st_size < 1_000_000 else ():
                if CRASHED.search(line):
                    self.problems.append(f"{log.name}: {line.decode(errors='replace')[:200]}")

    def check_left_nothing(self):
        """With every process gone, some of them killed, the arena holds nothing once it was tidied."""
        if self.mode == "plain":
            return
        try:
            self.landline("gc")
            held = {name: total for name, total in self.stats().items() if name in HOLDINGS and total}
            self.check(not held, f"after the end of all processes and `landline gc` the arena still holds {held}")
        except Failure as failure:
            self.problems.append(str(failure))


def before_exec():
    processes.die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def status_text(code):
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"status {code}"


def tail(process):
    lines = process.log().decode(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"  | {line[:200]}" for line in lines)


def difference(now, was):
    """Two values that should be the same, around the place where they begin to differ."""
    if not (isinstance(now, bytes) and isinstance(was, bytes)):
        return f"{shorten(now)}; on the plain kernel {shorten(was)}"
    at = next((n for n, (a, b) in enumerate(zip(now, was)) if a != b), min(len(now), len(was)))
    around = slice(max(at - 40, 0), at + 60)
    return f"differs at byte {at}: {now[around]!r} ({len(now)} bytes); on the plain kernel {was[around]!r} ({len(was)} bytes)"


def shorten(value, limit=300):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
