"""A python asyncio echo server with 50 concurrent clients"""

NEEDS = []


def run(case):
    port = case.port()
    server = case.server(*case.helper("echo_server.py"), port, ready=port)
    with case.ring("fifty clients", 15_000_000):
        case.record("clients", case.run(*case.helper("echo_clients.py"), port, 50, seconds=30))
    case.idle(server, "the echo server")
    case.stop(server)
    case.record("server", server.out.read_bytes())
