"""The variants of a run: whose sockets carry the bytes, and the proof that it was the ring.

K: the kernel's TCP or UDP over loopback. U: AF_UNIX. W: Debian's socket_wrapper. L: Landline.
"""
import glob
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile

from . import proc

NAMES = {"K": "kernel TCP or UDP", "U": "AF_UNIX", "W": "socket_wrapper", "L": "Landline"}

CARRIED = ("ring_bytes",)                        # the counters of what Landline carried; one that is absent is nothing
UNIX_FOR = {"tcp": "unix", "unix": "unix", "unixseq": "unixseq", "unixgram": "unixgram", "udp": "unixgram"}   # what U runs for a work of a family


class Setup:
    """What one run of the benchmark has in common: places, processors, times."""

    def __init__(self, benches, seconds, rounds, verbose):
        root = os.path.dirname(benches)
        self.benches, self.root = benches, root
        self.build = os.path.join(benches, "build")
        self.seconds, self.rounds, self.verbose = seconds, rounds, verbose
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target"))
        self.library = os.path.abspath(os.environ.get("LANDLINE_LIB") or f"{target}/release/liblandline.so")
        self.command = os.path.abspath(os.environ.get("LANDLINE_CMD") or f"{target}/release/landline")
        self.wrapper = next(iter(glob.glob("/usr/lib/*/libsocket_wrapper.so")
                                 + glob.glob("/usr/lib*/libsocket_wrapper.so")), None)
        self.files = tempfile.mkdtemp(prefix="landline-bench-")   # where other users may look, and programs be mapped
        if os.path.exists(self.library) and os.path.exists(self.command):
            self.library, self.command = (shutil.copy(path, self.files) for path in (self.library, self.command))
        self.processors = sorted(os.sched_getaffinity(0))
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = tempfile.mkdtemp(prefix="landline-bench-", dir=memory)
        for folder in (self.files, self.folder):
            os.chmod(folder, 0o711)
        self.landline_settings = {k: v for k, v in os.environ.items()
                                  if k.startswith("LANDLINE_") and k not in ("LANDLINE_LIB", "LANDLINE_CMD")}
        self.plain = {k: v for k, v in os.environ.items()
                      if not k.startswith(("LD_PRELOAD", "LANDLINE_", "SOCKET_WRAPPER_"))}
        self.plain["LC_ALL"] = "C"
        self.estimates = {}                      # rates seen, by (work, variant): to size the next run

    def cpus(self, both_on_one):
        if both_on_one:
            return f"{self.processors[0]},{self.processors[0]}"
        if len(self.processors) < 2:
            raise proc.Failed("needs two processors", bad=False)
        return f"{self.processors[0]},{self.processors[1]}"

    def remove(self):
        for folder in (self.files, self.folder):
            shutil.rmtree(folder, ignore_errors=True)


class Run:
    """One run of one work under one variant: its own folder, its own net."""

    def __init__(self, setup, work, variant):
        self.setup, self.work, self.variant = setup, work, variant
        self.transport = variant[0]              # "K1" is K in another arrangement
        self.seconds = setup.seconds
        self.folder = tempfile.mkdtemp(prefix=f"{variant}-", dir=setup.folder)
        self.net = os.path.join(self.folder, "net")
        os.mkdir(self.net, 0o700)
        self.identity = {}                       # who runs the programs, if not we
        if work.user and os.getuid() == 0:
            user = pwd.getpwnam(work.user)
            self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for folder in (self.folder, self.net):
                os.chown(folder, user.pw_uid, user.pw_gid)
        if self.private_net():
            # A net goes with its last program, and its counters are read then: one of which something was said stays.
            subprocess.run([setup.command, "--net", work.net, "run", "--outside", "deny", "--", "true"], check=True, stdin=subprocess.DEVNULL,
                           env=dict(setup.plain, LANDLINE_DIR=self.net, LANDLINE_LIB=setup.library), **self.identity)
        self.family = UNIX_FOR[work.family] if self.transport == "U" else work.family
        self.ring = None

    def env(self, end="both"):
        """The environment of one end: "server", "client", "both" for a program that is both, or "neither"."""
        env = dict(self.setup.plain)
        if end == "neither":
            return env
        if self.transport == "W":
            env.update(LD_PRELOAD=self.setup.wrapper, SOCKET_WRAPPER_DIR=self.net)
        elif self.transport == "L" and (end == "both" or end in self.work.preloaded_ends):
            env.update(self.setup.landline_settings, LD_PRELOAD=self.setup.library, LANDLINE_DIR=self.net, **self.private_net())
        return env

    def private_net(self):
        """What puts L's programs into a private net, where the work wants that."""
        return {"LANDLINE_NET": self.work.net} if self.work.net and self.transport == "L" else {}

    def start(self, argv, end="both", name=None):
        return proc.Process(argv, self.env(end), self.folder, name or os.path.basename(str(argv[0])), self.identity)

    def run(self, argv, end="both", timeout=None):
        """Runs a command to its end within the time, and returns its output."""
        process = self.start(argv, end)
        output = process.finish(timeout or self.limit())
        process.end()
        return output

    def limit(self):
        """How long a command may take: long enough for a busy machine, short enough for a hang."""
        return 4 * self.seconds + (8 if self.transport == "W" else 20)

    def program(self, name, *arguments, timeout=None):
        """Runs one of our own programs; its "name=value" words as a dict of numbers."""
        output = self.run([os.path.join(self.setup.build, name), self.family, *arguments], timeout=timeout)
        return {key: float(value) for key, value in (word.split("=") for word in output.split())}

    def arena_bytes(self):
        """Memory the net holds now."""
        total = 0
        for folder, _, files in os.walk(self.net):
            for name in files:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
        return total

    def read_ring_counters(self):
        """The net's counters since it was created; raises Failed when they cannot be read."""
        env = dict(self.setup.plain, LANDLINE_DIR=self.net, **self.private_net())
        try:
            done = subprocess.run([self.setup.command, "stats", "--json"], env=env, stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=10, check=False, **self.identity)
            self.ring = json.loads(done.stdout)
            return self.ring
        except (OSError, subprocess.TimeoutExpired) as error:
            raise proc.Failed(f"ring use unknown: {error}") from None
        except ValueError:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[-200:]
            raise proc.Failed(f"ring use unknown: `landline stats --json` {proc.ending(done.returncode)}: {said}") \
                from None

    def check_path(self, figures):
        """The counters must say that the bytes went where this work expects them."""
        ring = self.read_ring_counters()
        moved = sum(ring.get(counter, 0) for counter in CARRIED)
        if self.work.preloaded_ends != ("server", "client"):
            if moved:
                raise proc.Failed(f"{moved} bytes on the ring, though one end is not preloaded")
        elif not moved and self.work.least_on_ring:
            raise proc.Failed("not on the ring", bad=False)
        elif "bytes" in figures and moved < self.work.least_on_ring * figures["bytes"]:
            raise proc.Failed(f"only {100 * moved / figures['bytes']:.0f} % on the ring", bad=False)

    def measure(self):
        """The figures of the work. Whatever happens, nothing of it is left running."""
        try:
            figures = self.work.measure(self)
            proc.end_all()
            if self.transport == "L" and self.work.uses_sockets:
                self.check_path(figures)
            return figures
        except proc.Hung as hang:
            raise proc.Hung(f"{hang} (see {self.describe_hang(str(hang))})") from None
        except (KeyError, TypeError, ValueError, OSError) as odd:   # a program said something unheard of
            said = "; ".join(f"{p.name}: {p.said()}" for p in proc.LIVE)
            raise proc.Failed(f"{type(odd).__name__} {odd} ({said})") from None
        finally:
            proc.end_all()
            shutil.rmtree(self.folder, ignore_errors=True)

    def describe_hang(self, why):
        folder = os.path.join(self.setup.build, "hangs")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"{self.work.name.replace(' ', '-').replace(',', '')}-{self.variant}.txt")
        more = [(["ss", "-tanoi"], None)] if shutil.which("ss") else []
        if self.transport == "L" and os.path.exists(self.setup.command):
            env = dict(self.setup.plain, LANDLINE_DIR=self.net, **self.private_net())
            more += [([self.setup.command, "ss"], env), ([self.setup.command, "stats", "--json"], env)]
        proc.describe(path, f"{self.work.name}, {NAMES[self.transport]}: {why}", more)
        if proc.STAY_ON_HANG:
            ids = [p.pid for p in proc.LIVE]
            print(f"\n{why}\nprocesses {ids} are left running; LANDLINE_DIR={self.net}\n"
                  f"network namespace: nsenter -t {os.getpid()} -n\nPress Enter to end them.", flush=True)
            input()
        return os.path.relpath(path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
