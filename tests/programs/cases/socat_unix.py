"""socat on UNIX sockets: streams, a packet for each write, datagrams, abstract names, pairs; and by UDP"""

from harness import processes
from harness.case import sha

NEEDS = ["socat"]
PAIRS = {"server"}  # EXEC
LARGE = 20_000_000
SEQUENCED = "socktype=5"


def run(case):
    echo(case)
    copy(case)
    packets(case)
    datagrams(case)
    udp(case)


def echo(case):
    """A child for each connection, which speaks to its program through a pair."""
    path, given = case.path("echo.sock"), case.suite.data(5_000_000)
    server = case.server("socat", f"UNIX-LISTEN:{path},fork", "EXEC:cat", ready=path)
    with case.ring("echo", 1_000_000):
        talk = ["socat", "-t", 15, "-", f"UNIX-CONNECT:{path}"]
        case.same("what cat gave back", sha(case.run(*talk, stdin=given)), sha(given))
        clients = [case.start(*talk, stdin=b"line %d\n" % n * 5000) for n in range(8)]
        for n, client in enumerate(clients):
            case.same(f"what cat gave back to client {n}", sha(case.wait(client)), sha(b"line %d\n" % n * 5000))
    case.idle(server, "socat")
    case.stop(server, status=None)


def copy(case):
    """A file by an abstract name, which no folder shows."""
    name, given, copied = f"{case.folder}/copy", case.suite.data(LARGE), case.path("copied")
    with case.ring("a file", LARGE // 4):
        server = case.server(
            "socat", "-u", f"ABSTRACT-LISTEN:{name}", f"OPEN:{copied},creat,trunc,wronly",
            ready=lambda: any(row[7:] == [f"@{name}"] for row in processes.rows_of("unix")),
        )
        case.run("socat", "-u", f"OPEN:{given},rdonly", f"ABSTRACT-CONNECT:{name}")
        case.wait(server)
    case.same("the file", sha(copied), sha(given))


def packets(case):
    """SOCK_SEQPACKET: what was written at once is read at once."""
    path, given = case.path("packets.sock"), case.suite.data(1_000_003)
    server = case.server("socat", "-b", 8192, f"UNIX-LISTEN:{path},{SEQUENCED}", "PIPE", ready=path)
    got = case.run("socat", "-b", 8192, "-t", 5, "-", f"UNIX-CONNECT:{path},{SEQUENCED}", stdin=given)
    case.same("packets there and back", sha(got), sha(given))
    case.wait(server)


def datagrams(case):
    """One receiver, senders one after the other, and one that waits for its answer at an address of its own."""
    path, copied = case.path("datagrams.sock"), case.path("datagrams")
    server = case.server("socat", "-u", f"UNIX-RECV:{path}", f"OPEN:{copied},creat,append,wronly", ready=path)
    for n in range(5):
        case.run("socat", "-u", "-", f"UNIX-SENDTO:{path}", stdin=b"datagram %d\n" % n)
    case.until("all arrived", lambda: copied.exists() and copied.read_bytes().count(b"\n") == 5)
    case.record("datagrams", copied.read_bytes())
    case.stop(server, status=None)
    path, mine = case.path("answers.sock"), case.path("mine.sock")
    server = case.server("socat", f"UNIX-RECVFROM:{path},fork", "EXEC:rev", ready=path)
    case.record("answers", [
        case.run("socat", "-t", 0.3, "-", f"UNIX-SENDTO:{path},bind={mine}", stdin=b"stressed %d\n" % n) for n in range(2)
    ])
    case.stop(server, status=None)


def udp(case):
    """A child for each datagram; then one that answers on the address where it was asked."""
    port = case.port()
    server = case.server(
        "socat", f"UDP4-RECVFROM:{port},bind=127.0.0.1,fork", "EXEC:rev", ready=lambda: processes.bound_udp(port)
    )
    case.record("UDP", [case.run("socat", "-t", 0.3, "-", f"UDP4:127.0.0.1:{port}", stdin=b"live %d\n" % n) for n in range(2)])
    case.stop(server, status=None)
    port = case.port()
    server = case.server(
        "socat", "-b", 1400, f"UDP4-LISTEN:{port},bind=127.0.0.1", "PIPE", ready=lambda: processes.bound_udp(port)
    )
    case.record("UDP echo", case.run("socat", "-t", 0.3, "-", f"UDP4:127.0.0.1:{port}", stdin=b"x" * 1000))
    case.stop(server, status=None)
