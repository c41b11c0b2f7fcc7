"""netcat: files both ways, the one after the other and at once, with half-closed connections"""

from harness.case import sha

NEEDS = ["nc"]
LARGE, SMALL = 20_000_000, 5_000_000


def run(case):
    large, small = case.suite.data(LARGE), case.suite.data(SMALL)
    exchange(case, "to the server", b"", large, at_server=["-d"], at_client=["-N"])
    exchange(case, "from the server", large, b"", at_server=["-N"], at_client=["-d"])
    # A server that has nothing to say closes its half at once, perhaps before the client could see that both
    # ends are here: then everything stays with the kernel.
    exchange(case, "to a server that closed its half", b"", large, at_server=["-N"], at_client=["-N"], ring=False)
    # A netcat that listens leaves when its peer has closed, so the client begins when the server is through.
    exchange(case, "after the server closed its half", small, large, at_server=["-N"], at_client=["-N"], delay=0.3)


def exchange(case, what, from_server, from_client, at_server, at_client, delay=0, ring=True):
    port = case.port()
    sizes = [len(side) if isinstance(side, bytes) else side.stat().st_size for side in (from_server, from_client)]
    client = ["nc", *at_client, "127.0.0.1", port]
    if delay:
        client = ["sh", "-c", '(sleep "$1"; cat "$2") | { shift 2; "$@"; }', "sh", delay, from_client, *client]
    with case.ring(what, sum(sizes) // 4 if ring else 0):
        server = case.server("nc", *at_server, "-l", "127.0.0.1", port, stdin=from_server, ready=port)
        got = case.run(*client, stdin=None if delay else from_client, step=f"nc {what}")
        served = case.wait(server)
    case.same(f"{what}: what the client got", sha(got), sha(from_server))
    case.same(f"{what}: what the server got", sha(served), sha(from_client))
