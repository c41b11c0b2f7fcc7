"""gdb and strace attached to a server, and to a client, while they talk"""

import signal

NEEDS = ["gdb", "strace"]


def run(case):
    port = case.port()
    server = case.server(*case.helper("echo_server.py"), port, ready=port)
    blocking_port = case.port()
    blocking = case.server(
        "socat", f"TCP-LISTEN:{blocking_port},bind=127.0.0.1,fork,reuseaddr", "EXEC:cat,nofork", ready=blocking_port
    )
    with case.ring("traffic", 1_000_000):
        clients = [case.start(*case.helper("echo_checker.py"), at, case.path("enough")) for at in (port, port, blocking_port)]
        for client in clients:
            case.until(f"{client.step}: has begun", lambda client=client: b"begun" in client.out.read_bytes())
        for process in (server, clients[0], clients[2]):
            gdb(case, process)
            strace(case, process)
        case.write("enough", "")
        case.record("clients", [case.wait(client) for client in clients])
    case.idle(server, "the echo server")
    case.stop(server)
    case.stop(blocking, status=None)


def gdb(case, process):
    """Attaches twice, looks around, lets it go."""
    for _ in range(2):
        output = case.run(
            "gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-p", process.pid, "-ex", "bt 3", "-ex", "detach",
            role="witness",
        )
        case.check(b"detached" in output, f"gdb: {output.decode(errors='replace')[-300:]}")


def strace(case, process):
    """Attaches until it has seen some calls, among them an interrupted one, then leaves."""
    trace = case.path(f"trace-{process.pid}")
    tracer = case.start("strace", "-f", "-o", trace, "-p", process.pid, role="witness")
    case.until("strace sees calls", lambda: trace.exists() and trace.read_bytes().count(b"\n") > 100)
    process.popen.send_signal(signal.SIGSTOP)
    process.popen.send_signal(signal.SIGCONT)
    case.until("strace sees the signals", lambda: b"SIGCONT" in trace.read_bytes())
    case.stop(tracer, signal.SIGINT, status=None)
    trace.unlink()
