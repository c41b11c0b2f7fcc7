"""Processes of a test: who descends from us, what they are doing, and how they are made to end."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None, use_errno=True)


def adopt_orphans():
    """Orphans of our descendants become our children, so that none escapes the cleaning or its verdict."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent():
    """For the child, between fork and exec."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def children(pid):
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except OSError:
        pass  # ended meanwhile
    return found


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def name_of(pid):
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return " ".join(b" ".join(argv).decode(errors="replace").split()) or Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def state_of(pid):
    """The letter that ps shows, or None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def has_ended(pid):
    """Whether none of its threads runs any more; the first may be a zombie while others still close files."""
    try:
        return state_of(pid) in (None, "Z") and len(list(Path(f"/proc/{pid}/task").iterdir())) <= 1
    except OSError:
        return True


def cpu_seconds(pid):
    """The processor time used so far; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def maps_file(pid, path):
    try:
        return str(path) in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def listening(where):
    """Whether a TCP socket of this network namespace listens on the port, or a UNIX socket is bound to the path and
    listens if it is one that can; without connecting to it."""
    if isinstance(where, Path):
        return listening_unix(str(where))
    return any(row[3] == "0A" and port_of(row) == where for row in rows_of("tcp", "tcp6"))


def bound_udp(port):
    """Whether a UDP socket of this network namespace is bound to the port."""
    return any(port_of(row) == port for row in rows_of("udp", "udp6"))


def rows_of(*tables):
    for table in tables:
        try:
            rows = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        yield from (row.split() for row in rows)


def port_of(row):
    return int(row[1].rpartition(":")[2], 16)


def listening_unix(path):
    datagram, accepts = "0002", 1 << 16
    return any(
        row[7:] == [path] and (row[4] == datagram or int(row[3], 16) & accepts) for row in rows_of("unix")
    )


def end_all(known):
    """Kills by pid whatever descends from us, reaps it, and returns {pid: (name, status)} of the orphans.

    `known` are the pids that somebody else waits for.
    """
    orphans = {}
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        orphans.update(reap_orphans(known))
        alive = [pid for pid in descendants(os.getpid()) if not has_ended(pid)]
        if not alive:
            break
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    return orphans


def reap_orphans(known):
    reaped = {}
    for pid in children(os.getpid()):
        if pid in known:
            continue
        name = name_of(pid)
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
        if ended:
            reaped[pid] = (name, os.waitstatus_to_exitcode(status))
    return reaped


def stacks(limit=8):
    """What every process below us is doing, as text: its state, and its threads' stacks if gdb is here."""
    lines = []
    gdb = shutil.which("gdb")
    pids = [pid for pid in descendants(os.getpid()) if state_of(pid) not in (None, "Z")]
    for pid in pids[:limit]:
        try:
            lines.append(f"process {pid} ({state_of(pid)}, {cpu_seconds(pid)} s of CPU): {name_of(pid)[:120]}")
            threads = debugger_stacks(gdb, pid) if gdb else kernel_waits(pid)
        except OSError:
            continue  # ended meanwhile
        for stack, count in threads.most_common(8):
            lines.append(f"  {count} thread{'s' * (count > 1)}: {stack}")
    if len(pids) > limit:
        lines.append(f"and {len(pids) - limit} more processes")
    return "\n".join(lines)


def kernel_waits(pid):
    """What the threads wait for in the kernel: {description: how many threads}."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return Counter(f"in {(task / 'wchan').read_text()}, call {(task / 'syscall').read_text().strip()}" for task in tasks)


def debugger_stacks(gdb, pid, frames=10):
    """The threads' stacks, innermost first, without what has no name: {stack: how many threads}."""
    argv = [gdb, "-nx", "-batch", "-p", str(pid), "-ex", "thread apply all bt 24"]
    environment = {**os.environ, "DEBUGINFOD_URLS": ""}
    try:
        done = subprocess.run(argv, capture_output=True, timeout=20, env=environment, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return Counter({"gdb did not answer": 1})
    threads = re.split(r"^Thread \d.*$", done.stdout.decode(errors="replace"), flags=re.MULTILINE)[1:]
    return Counter(" < ".join(stack_of(thread)[:frames]) or "no names" for thread in threads)


def stack_of(text):
    frames = []
    for name, rest in re.findall(r"^#\d+ +(?:0x\w+ in )?(\S+) \((.*)$", text, flags=re.MULTILINE):
        place = re.search(r" at (?:\S*/)?(\S+:\d+)", rest)
        arguments = re.sub(r"=0x\w+", "=…", f"({rest.partition(')')[0][:80]})") if not frames else ""
        if name != "??":
            frames.append(f"{name}{arguments}{' ' + place[1] if place else ''}")
    return frames
