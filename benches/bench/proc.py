"""Processes: started in a session of their own, limited in time, ended by their id.

Owns every process the driver starts. A command that does not finish in time raises Hung, and what
its processes were doing is first written to a file (`describe`).
"""
import os
import shutil
import signal
import subprocess
import time

LIVE = []                                        # what was started and not yet ended
STAY_ON_HANG = False                             # leave hung processes alone until Enter is pressed


class Failed(Exception):
    """A run that gave no figure: a crash, a hang, an error, in words. `bad` when it is a defect."""

    def __init__(self, why, bad=True):
        super().__init__(why)
        self.bad = bad


class Hung(Failed):
    pass


class Process:
    def __init__(self, argv, env, folder, name, identity):
        self.argv, self.env, self.name = [str(a) for a in argv], env, name
        serial = len(os.listdir(folder))
        self.out_path = os.path.join(folder, f"{serial:03d}-{name}.out")
        self.err_path = os.path.join(folder, f"{serial:03d}-{name}.err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(self.argv, env=env, stdin=subprocess.PIPE, stdout=out, stderr=err,
                                          cwd=folder, start_new_session=True, **identity)
        self.pid = self.popen.pid
        LIVE.append(self)

    def output(self):
        return read_text(self.out_path)

    def errors(self):
        return read_text(self.err_path)

    def said(self):
        """The last things it said, for a message."""
        lines = (self.errors() + self.output()).strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])[:300]

    def wait_for(self, text, timeout):
        """Waits until its output, or its errors, contain `text`, and returns the output."""
        end = time.monotonic() + timeout
        while True:
            output = self.output()
            if text in output or text in self.errors():
                return output
            if self.popen.poll() is not None:
                raise Failed(f"{self.name}: {ending(self.popen.returncode)} before it was ready: {self.said()}")
            if time.monotonic() > end:
                raise Hung(f"{self.name}: not ready after {timeout:.0f} s: {self.said()}")
            time.sleep(0.005)

    def finish(self, timeout):
        """Waits for its end, and returns its output."""
        try:
            code = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Hung(f"{self.name}: not finished after {timeout:.0f} s: {self.said()}") from None
        if code:
            raise Failed(f"{self.name}: {ending(code)}: {self.said()}")
        return self.output()

    def check_alive(self):
        if self.popen.poll() is not None:
            raise Failed(f"{self.name}: {ending(self.popen.returncode)}: {self.said()}")

    def interrupt(self, timeout):
        """Ends it as Control-C does, for those that then say what they did; returns its output."""
        self.check_alive()
        self.popen.send_signal(signal.SIGINT)
        return self.finish(timeout)

    def say(self, line):
        self.popen.stdin.write(line.encode())
        self.popen.stdin.flush()

    def end(self):
        """Ends it, and what it started in its session."""
        if self not in LIVE:
            return
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(3)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()
        if self.popen.stdin:
            self.popen.stdin.close()
        LIVE.remove(self)


def end_all():
    for process in reversed(list(LIVE)):
        process.end()


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        return f"({error.strerror})"


def ending(code):
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with code {code}"


def session_members(leader):
    """The processes of the session that `leader` began."""
    members = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        fields = read_text(f"/proc/{entry}/stat").rpartition(")")[2].split()
        if len(fields) > 3 and fields[3] == str(leader):
            members.append(int(entry))
    return sorted(members)


def describe(path, why, more=()):
    """Writes what every live process is doing to `path`: for whoever must find the hang."""
    with open(path, "w", encoding="utf-8", errors="replace") as file:
        def section(title, text):
            file.write(f"\n== {title}\n{text.rstrip()}\n")
        file.write(why + "\n")
        for process in LIVE:
            extra = {k: v for k, v in process.env.items()
                     if k.startswith(("LD_", "LANDLINE_", "SOCKET_WRAPPER_"))}
            section(f"{process.name}: command", " ".join([f"{k}={v}" for k, v in extra.items()] + process.argv))
            section(f"{process.name}: standard output (end)", process.output()[-2000:])
            section(f"{process.name}: standard error (end)", process.errors()[-4000:])
            for pid in session_members(process.pid):
                file.write(f"\n-- process {pid}: {read_text(f'/proc/{pid}/cmdline').replace(chr(0), ' ')}\n")
                for task in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
                    base = f"/proc/{pid}/task/{task}"
                    status = dict(line.split(":\t", 1) for line in read_text(f"{base}/status").splitlines()
                                  if ":\t" in line)
                    file.write(f"thread {task}: {status.get('State', '?')}, wchan {read_text(f'{base}/wchan')}, "
                               f"syscall {read_text(f'{base}/syscall').strip()}, "
                               f"voluntary switches {status.get('voluntary_ctxt_switches', '?').strip()}\n")
                descriptors = []
                for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int)[:40]:
                    try:
                        descriptors.append(f"{fd} -> " + os.readlink(f"/proc/{pid}/fd/{fd}"))
                    except OSError:
                        pass
                file.write("descriptors: " + ", ".join(descriptors) + "\n")
                if shutil.which("gdb"):
                    file.write(quick(["gdb", "-p", str(pid), "-batch", "-nx", "-ex", "set pagination off",
                                      "-ex", "thread apply all bt 20"], 20))
        for argv, env in more:
            section(" ".join(argv), quick(argv, 10, env))


def quick(argv, timeout, env=None):
    """The output of a short command, or why there is none."""
    try:
        done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, check=False)
        return done.stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"({error})\n"
