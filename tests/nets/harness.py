"""One case: a folder, nets of its own, its processes, and what went wrong."""

import json
import os
import shutil
import signal
import subprocess
import time

SECONDS = 30
# What tshark must not find: a packet that is not one, a wrong checksum, anything that TCP would be asked about.
COMPLAINTS = (
    "_ws.malformed || tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment || tcp.analysis.retransmission"
    " || tcp.analysis.out_of_order || tcp.analysis.window_full || tcp.analysis.zero_window"
    " || tcp.checksum.status==Bad || ip.checksum.status==Bad || udp.checksum.status==Bad || icmp.checksum.status==Bad"
)
CHECKSUMS = [word for name in ("tcp", "udp", "ip") for word in ("-o", f"{name}.check_checksum:TRUE")]
TAIL_LINES = 15


class Failure(Exception):
    """The case cannot go on."""


class Skip(Exception):
    """The case does not apply here; the text is the reason."""


class Process:
    """A program that was started and not waited for; its output is in a file."""

    def __init__(self, popen, name, log):
        self.popen, self.name, self.log = popen, name, log

    def text(self):
        return self.log.read_text(errors="replace")


class Case:
    def __init__(self, name, folder, shm, library, command):
        self.name, self.folder, self.shm, self.command = name, folder, shm, str(command)
        self.net = name.replace("_", "-")
        self.problems, self.started = [], []
        self.capturing = self.captured = None
        folder.mkdir()
        shm.mkdir()
        bare = {k: v for k, v in os.environ.items() if not k.startswith(("LANDLINE_", "LD_PRELOAD"))}
        self.environment = bare | {"LANDLINE_DIR": str(shm), "LANDLINE_LIB": str(library), "LC_ALL": "C"}

    # What a case calls ------------------------------------------------------------------------------

    def on(self, host, *command, net=None):
        """The command line that runs a program on a host, `HOST` or `HOST=ADDRESS`."""
        return [self.command, "run", "--net", net or self.net, "--host", host, "--", *map(str, command)]

    def start(self, host, *command, net=None, env=None, cwd=None):
        """Starts a program on a host."""
        return self.spawn(self.on(host, *command, net=net), command[0], env, cwd)

    def spawn(self, argv, name, env=None, cwd=None):
        log = self.folder / f"{len(self.started)}-{str(name).rsplit('/', 1)[-1]}.log"
        with open(log, "wb") as out:
            popen = subprocess.Popen(
                list(map(str, argv)), env=self.environment | (env or {}), cwd=cwd or self.folder, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        process = Process(popen, name, log)
        self.started.append(process)
        return process

    def run(self, host, *command, net=None, status=0, seconds=SECONDS, stdin=None, env=None):
        """Runs a program on a host to its end; returns what it wrote, both streams together."""
        return self.execute(self.on(host, *command, net=net), status, seconds, stdin, env)

    def landline(self, *words, status=0, seconds=SECONDS):
        """Runs the command itself."""
        return self.execute([self.command, *words], status, seconds, None, None)

    def json(self, *words):
        return json.loads(self.landline(*words, "--json"))

    def execute(self, argv, status, seconds, stdin, env):
        argv = list(map(str, argv))
        popen = subprocess.Popen(
            argv, env=self.environment | (env or {}), cwd=self.folder, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            out, _ = popen.communicate(stdin, seconds)
        except subprocess.TimeoutExpired:
            os.killpg(popen.pid, signal.SIGKILL)
            out, _ = popen.communicate()
            raise Failure(f"{' '.join(argv[1:])}: not over after {seconds} s\n{tail(out.decode(errors='replace'))}") from None
        text = out.decode(errors="replace")
        if status is not None and popen.returncode != status:
            raise Failure(f"{' '.join(argv[1:])}: status {popen.returncode}, expected {status}\n{tail(text)}")
        return text

    def check(self, condition, text):
        if not condition:
            self.problems.append(text)

    def same(self, what, got, expected):
        self.check(got == expected, f"{what}: {got!r}, expected {expected!r}")

    def until(self, what, true, seconds=SECONDS):
        """Waits for something to become true; returns it."""
        end = time.monotonic() + seconds
        while not (value := true()):
            if time.monotonic() > end:
                logs = "\n".join(f"{p.name}: {tail(p.text())}" for p in self.started)
                raise Failure(f"not within {seconds} s: {what}\n{logs}")
            time.sleep(0.02)
        return value

    def listens(self, host, port, net=None):
        """Waits until somebody listens on a port of a host."""
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
        self.until(f"{host} listens on {port}", lambda: self.try_run(host, "/usr/bin/python3", "-c", script, net=net))

    def try_run(self, host, *command, net=None):
        """Whether a program ends well."""
        done = subprocess.run(
            self.on(host, *command, net=net), env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=SECONDS, start_new_session=True)
        return done.returncode == 0

    def stop(self, process, how=signal.SIGTERM, status=None):
        """Ends a program that was started, and waits for it."""
        if process.popen.poll() is None:
            os.killpg(process.popen.pid, how)
        code = process.popen.wait(SECONDS)
        if status is not None and code != status:
            self.problems.append(f"{process.name}: status {code}, expected {status}\n{tail(process.text())}")

    # Captures ---------------------------------------------------------------------------------------

    def capture(self, prefix=()):
        """From now on what crosses the net is captured; at the end tshark must find no fault with it."""
        if shutil.which("tshark") is None:
            return
        self.captured = self.folder / "all.pcapng"
        self.capturing = subprocess.Popen(
            [*prefix, self.command, "--net", self.net, "capture", "-w", str(self.captured)], env=self.environment, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        if b"capturing" not in (said := self.capturing.stderr.readline()):
            raise Failure(f"the capture does not begin: {said.decode()}")

    def end_capture(self):
        capturing, self.capturing = self.capturing, None
        if capturing is None:
            return
        capturing.send_signal(signal.SIGINT)
        try:
            _, said = capturing.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            capturing.kill()
            capturing.wait()
            raise
        self.check(capturing.returncode == 0, f"the capture ended with {capturing.returncode}: {said.decode()}")
        done = subprocess.run(
            ["tshark", "-N", "n", "-r", self.captured, *CHECKSUMS, "-Y", COMPLAINTS], capture_output=True, text=True, timeout=120, check=False)
        self.check(done.returncode == 0, f"tshark: {done.stderr}")
        self.check(not done.stdout, f"tshark finds fault with the capture:\n{done.stdout[:1500]}")
        count = subprocess.run(["tshark", "-r", self.captured, "-c", "1"], capture_output=True, text=True, timeout=60, check=False)
        self.check(count.stdout.strip() != "", "nothing was captured")

    # The end ----------------------------------------------------------------------------------------

    def finish(self):
        try:
            self.end_capture()
        except Exception as error:
            self.problems.append(f"the capture: {error}")
        for process in self.started:
            if process.popen.poll() is None:
                for how in (signal.SIGTERM, signal.SIGKILL):
                    try:
                        os.killpg(process.popen.pid, how)
                        process.popen.wait(5)
                        break
                    except (subprocess.TimeoutExpired, ProcessLookupError):
                        continue
            elif process.popen.returncode < 0 and -process.popen.returncode in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL):
                self.problems.append(f"{process.name}: died of signal {-process.popen.returncode}\n{tail(process.text())}")
        for process in self.started:
            try:
                os.killpg(process.popen.pid, signal.SIGKILL)  # what it started itself
            except ProcessLookupError:
                pass
        if self.problems:
            for process in self.started:
                self.problems.append(f"{process.name} wrote:\n{tail(process.text())}")


def tail(text):
    return "\n".join(text.splitlines()[-TAIL_LINES:])
