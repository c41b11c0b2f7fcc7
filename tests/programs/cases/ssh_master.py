"""ssh with a master: sessions that pass their descriptors over its UNIX socket, and UNIX sockets forwarded"""

from harness import http
from harness.case import sha

from . import openssh

NEEDS = openssh.NEEDS
PAIRS = {"server", "client"}
SIZES = [0, 1, 65536, 5_000_000]


def run(case):
    with openssh.serve(case) as client:
        path = case.path("master.sock")
        master = case.start("ssh", "-F", client, "-M", "-S", path, "-N", "test", ready=path.exists)
        ssh = ["ssh", "-F", client, "-S", path, "-o", "ControlMaster=no"]
        case.run(*ssh, "-O", "check", "test")
        case.record("a status", case.run(*ssh, "test", "echo out; exit 7", status=7))
        large = case.suite.data(20_000_000)
        with case.ring("a command's output and input", 1_000_000):
            case.same("output", sha(case.run(*ssh, "test", f"cat {large}")), sha(large))
            case.record("what cat got", case.run(*ssh, "test", "sha256sum", stdin=large))
        clients = [case.start(*ssh, "test", f"seq {n} 20000 | sha256sum") for n in range(6)]
        case.record("six at a time", [case.wait(client) for client in clients])

        backend = http.backend(case, case.path("back.sock"), "unix", SIZES, role="server")
        front = case.path("front.sock")
        case.run(*ssh, "-O", "forward", "-L", f"{front}:{case.path('back.sock')}", "test")
        with case.ring("a UNIX socket forwarded", 1_000_000):
            for size in SIZES:
                got = case.run("curl", "-sS", "--fail", "--unix-socket", front, f"http://localhost/{size}")
                case.same(f"{size} bytes", sha(got), sha(case.suite.data(size)))
        case.stop(backend)
        case.run(*ssh, "-O", "exit", "test")
        case.wait(master, status=None)
