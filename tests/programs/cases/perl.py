"""perl: IO::Socket::INET, a server that forks for each connection, and clients"""

NEEDS = ["perl"]


def run(case):
    port = case.port()
    server = case.server("perl", case.suite.helpers / "fork_server.pl", port, ready=port)
    client = ["perl", case.suite.helpers / "line_client.pl", port]
    with case.ring("one client", 1_000_000):
        case.record("one client", case.run(*client, 0))
    with case.ring("eight clients", 1_000_000):
        clients = [case.start(*client, number) for number in range(8)]
        case.record("eight clients", [case.wait(client) for client in clients])
    case.idle(server, "the perl server")
    case.stop(server)
