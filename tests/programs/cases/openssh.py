"""OpenSSH: a login with some MB of output, ports forwarded both ways, files by sftp"""

import contextlib
import getpass
import os
import signal
from pathlib import Path

from harness import http, processes
from harness.case import sha

NEEDS = ["sshd", "ssh", "ssh-keygen", "sftp", "curl", "/usr/lib/openssh/sftp-server"]
PAIRS = {"server", "client"}  # privilege separation; sftp and its ssh
SIZES = [0, 1, 1000, 65536, 1_000_003, 5_000_000]
PRIVILEGE_SEPARATION = Path("/run/sshd")


def run(case):
    with serve(case) as client:
        commands(case, ["ssh", "-F", client, "test"])
        forward(case, ["ssh", "-F", client])
        files(case, ["sftp", "-q", "-F", client])


@contextlib.contextmanager
def serve(case):
    """A server, and the configuration of a client that may log in as who we are."""
    for name in ("host_key", "user_key"):
        case.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", case.path(name), role="witness")
    port = case.port()
    server_configuration = case.write("sshd_config", SERVER.format(folder=case.folder, port=port))
    client = case.write("ssh_config", CLIENT.format(folder=case.folder, port=port, user=getpass.getuser()))
    made = os.getuid() == 0 and not PRIVILEGE_SEPARATION.exists()
    if made:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    try:
        # sshd must be named by its full path: it starts itself anew for each connection.
        server = case.server(case.tool("sshd"), "-D", "-e", "-f", server_configuration, ready=port)
        yield client
        case.idle(server, "sshd")
        case.stop(server, status=None)
    finally:
        if made:
            PRIVILEGE_SEPARATION.rmdir()


def commands(case, ssh):
    case.record("a status", case.run(*ssh, "echo out; echo err >&2; exit 7", status=7))
    large = case.suite.data(20_000_000)
    with case.ring("a command's output", 1_000_000):
        case.same("output", sha(case.run(*ssh, f"cat {large}")), sha(large))
    with case.ring("a command's input", 1_000_000):
        case.record("what cat got", case.run(*ssh, "sha256sum", stdin=large))
    given = case.suite.data(1_000_003)
    case.same("there and back", sha(case.run(*ssh, "cat", stdin=given)), sha(given))
    clients = [case.start(*ssh, f"seq {n} 20000 | sha256sum") for n in range(4)]
    case.record("four at a time", [case.wait(client) for client in clients])
    case.record("a terminal", case.run(*ssh[:1], "-tt", *ssh[1:], "tty > /dev/null && seq 1000", stdin=b""))


def forward(case, ssh):
    """curl to a port of ssh, and from sshd to the server; then to a port of sshd, and from ssh to the server."""
    for what, option, asks, answers in (("local", "-L", "witness", "client"), ("remote", "-R", "client", "server")):
        listens, serves = case.port(), case.port()
        backend = http.backend(case, serves, what, SIZES, role=answers)
        tunnel = case.start(
            *ssh, "-N", option, f"127.0.0.1:{listens}:127.0.0.1:{serves}", "test",
            ready=lambda port=listens: processes.listening(port),
        )
        at = f"http://127.0.0.1:{listens}"
        with case.ring(f"a {what} port", 1_000_000):
            for size in SIZES:
                http.fetch(case, f"{at}/{size}", case.suite.data(size), role=asks)
        urls = [word for n in range(8) for word in ("-o", case.path(f"parallel-{n}"), f"{at}/1000003?{n}")]
        case.run("curl", "-sS", "-Z", "--parallel-max", 8, *urls, role=asks)
        sums = {sha(case.path(f"parallel-{n}")) for n in range(8)}
        case.same(f"eight at a time by a {what} port", sums, {sha(case.suite.data(1_000_003))})
        case.stop(tunnel, signal.SIGTERM, status=None)
        case.stop(backend)


def files(case, sftp):
    large, put, got = case.suite.data(20_000_000), case.path("put"), case.path("got")
    with case.ring("files by sftp", 1_000_000):
        batch = f"put {large} {put}\nget {put} {got}\nls -1 {put}\nrename {put} {put}.2\nrm {put}.2\n".encode()
        case.run(*sftp, "-b", "-", "test", stdin=batch)
    case.same("a file there and back", sha(got), sha(large))
    case.check(not put.exists() and not case.path("put.2").exists(), "a removed file is there")


SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
PermitRootLogin yes
StrictModes no
UsePAM no
UseDNS no
MaxStartups 100
Subsystem sftp /usr/lib/openssh/sftp-server
"""

CLIENT = """
Host test
HostName 127.0.0.1
Port {port}
User {user}
IdentityFile {folder}/user_key
IdentitiesOnly yes
GlobalKnownHostsFile /dev/null
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking no
BatchMode yes
LogLevel ERROR
ExitOnForwardFailure yes
"""
