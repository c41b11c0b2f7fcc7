"""socat: an echo by EXEC in forked children, and files of 50 MB copied both ways"""

from harness.case import sha

NEEDS = ["socat"]
PAIRS = {"server"}  # EXEC
LARGE = 50_000_000


def run(case):
    echo(case)
    copy(case, "to the server", ["-u"], ["-u"])
    copy(case, "from the server", ["-U"], ["-U"])


def echo(case):
    port, given = case.port(), case.suite.data(5_000_000)
    server = case.server("socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", "EXEC:cat", ready=port)
    talk = ["socat", "-t", 15, "-", f"TCP:127.0.0.1:{port}"]
    with case.ring("echo", 1_000_000):
        case.same("what cat gave back", sha(case.run(*talk, stdin=given)), sha(given))
    clients = [case.start(*talk, stdin=b"line %d\n" % n * 5000) for n in range(8)]
    for n, client in enumerate(clients):
        case.same(f"what cat gave back to client {n}", sha(case.wait(client)), sha(b"line %d\n" % n * 5000))
    case.idle(server, "socat")
    case.stop(server, status=None)


def copy(case, what, at_server, at_client):
    """One file through one connection; -u is to the right, -U to the left."""
    port, given, copied = case.port(), case.suite.data(LARGE), case.path("copied")
    to_server = "-u" in at_server
    source, sink = f"OPEN:{given},rdonly", f"OPEN:{copied},creat,trunc,wronly"
    with case.ring(f"a file {what}", LARGE // 4):
        server = case.server(
            "socat", *at_server, f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr", sink if to_server else source, ready=port,
        )
        here = f"TCP:127.0.0.1:{port}"
        case.run("socat", *at_client, *([source, here] if to_server else [sink, here]))
        case.wait(server)
    case.same(f"the file {what}", sha(copied), sha(given))
    copied.unlink()
