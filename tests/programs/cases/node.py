"""node: an HTTP server and a client with streams, and a cluster of two workers"""

from harness import http

NEEDS = ["node", "ab"]


def run(case):
    serve(case, "one process", [])
    serve(case, "a cluster", [2])


def serve(case, what, workers):
    port = case.port()
    server = case.server("node", case.suite.helpers / "node_server.js", port, *workers, ready=port)
    client = ["node", case.suite.helpers / "node_client.js", port]
    with case.ring(f"{what}: streams", 5_000_000):
        case.record(f"{what}: a client", case.run(*client))
    with case.ring(f"{what}: ab", 1):
        http.ab(case, f"http://127.0.0.1:{port}/name", 1000, 20, "-k")
    if not workers:
        case.idle(server, f"node, {what}")
    case.stop(server)
