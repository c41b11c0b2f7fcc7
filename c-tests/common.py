"""What the runners of the C tests and of the probe have in common."""
import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


CLONE_NEWNET = 0x40000000


def _loopback_up():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14s", b"lo", 0x49, b""))  # SIOCSIFFLAGS: up, running
    s.close()


def own_network(script):
    """Starts the script again in a network namespace of its own, where that is allowed."""
    if os.environ.get("C_TESTS_OWN_NETWORK"):
        _loopback_up()
        return
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return
    if subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        return
    os.environ["C_TESTS_OWN_NETWORK"] = "1"
    os.execvp("unshare", ["unshare", "-n", sys.executable, str(pathlib.Path(script).resolve()), *sys.argv[1:]])


def another_network():
    """For Popen's preexec_fn: a namespace for this child alone, where the script has one of its own."""
    if os.environ.get("C_TESTS_OWN_NETWORK") and ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
        _loopback_up()


def listed_differences():
    rows = []
    for line in (HERE / "differences.md").read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) >= 3 and ":" in cells[0]:
            rows.append(cells[0].replace(" ", ""))
    return rows


def library():
    """The library under test; ends the program when it is not there."""
    path = pathlib.Path(os.environ.get("LANDLINE_LIB", HERE / "../target/release/liblandline.so")).resolve()
    if not path.exists():
        print(f"no library at {path}: build it, or name it in LANDLINE_LIB, or ask for --plain")
        sys.exit(2)
    return path


def bare_environment():
    """Ours, without anything that would bring the library in."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("LANDLINE_", "LD_PRELOAD"))}


@contextlib.contextmanager
def preloaded_environment(path, net=None):
    """With the library, and a private folder for its shared memory that is removed at the end; in a private net if
    one is named."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="landline-c-tests-", dir=shm)
    try:
        yield bare_environment() | {
            "LD_PRELOAD": str(path), "LANDLINE_DIR": folder, "C_TESTS_EXPECT_RING": "1"} | (
            {"LANDLINE_NET": net} if net else {})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
