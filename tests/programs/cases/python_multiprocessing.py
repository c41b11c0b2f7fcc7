"""python's multiprocessing: Listener and Client, connections and files passed on, fork, spawn and forkserver"""

NEEDS = []
PAIRS = {"server", "client"}  # the children, and the ends that are passed on


def run(case):
    path, file = case.path("listener.sock"), case.path("file")
    file.write_bytes(case.suite.data(1_000_003).read_bytes())
    server = case.server(*case.helper("multiprocessing_server.py"), path, ready=path)
    case.write("file.pid", str(server.pid))
    with case.ring("all", 10_000_000):
        case.record("client", case.run(*case.helper("multiprocessing_client.py"), path, file, seconds=40))
    case.idle(server, "the listener")
    case.stop(server)
