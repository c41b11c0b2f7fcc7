"""xinetd and systemd-socket-activate: filters with a connection as their standard input and output"""

from harness import processes

NEEDS = ["xinetd", "systemd-socket-activate", "sed", "perl"]
FILTERS = {"cat": [], "sed": ["-u", "s/ + / plus /"], "perl": ["-pe", "BEGIN { $| = 1 } s/ . / with /"]}


def run(case):
    xinetd(case)
    inetd_style(case)
    listening_socket(case)


def xinetd(case):
    ports = {name: case.port() for name in FILTERS}
    services = "\n".join(
        f"service {name}\n{{\n type = UNLISTED\n socket_type = stream\n protocol = tcp\n bind = 127.0.0.1\n port = {port}\n"
        f" wait = no\n user = {case.me}\n server = {case.tool('sh')}\n"
        f" server_args = {case.write(name + '.sh', 'exec ' + quoted(name))}\n}}"
        for name, port in ports.items()
    )
    configuration = case.write("xinetd.conf", f"defaults\n{{\n instances = 60\n cps = 1000 1\n}}\n{services}\n")
    server = case.server(
        "xinetd", "-dontfork", "-f", configuration, "-pidfile", case.path("xinetd.pid"), ready=lambda: all_listen(ports.values())
    )
    with case.ring("xinetd", 10_000):
        for name, port in ports.items():
            case.record(f"xinetd: {name}", talk(case, port))
        clients = [case.start(*case.helper("line_client.py"), port, 100) for port in [*ports.values()] * 3]
        case.record("xinetd: nine at a time", [case.wait(client) for client in clients])
    case.idle(server, "xinetd")
    case.stop(server, status=None)


def inetd_style(case):
    """One child for each connection, with the connection as descriptors 0, 1 and 2."""
    for name in FILTERS:
        port = case.port()
        server = activate(case, port, ["-a", "--inetd"], [case.tool(name), *FILTERS[name]])
        with case.ring(f"socket activation: {name}", 1000):
            case.record(f"socket activation: {name}", talk(case, port))
        case.stop(server, status=None)


def listening_socket(case):
    """One child for the first connection, which then accepts by itself."""
    port = case.port()
    server = activate(case, port, [], case.helper("fd3_server.py"))
    with case.ring("a listening socket", 10_000):
        case.record("a listening socket", [talk(case, port) for _ in range(3)])
    case.stop(server, status=None)


def activate(case, port, options, program):
    # It gives its children an environment of their own, but for what it is told to hand on.
    passed = [f"--setenv={name}" for name in ("LD_PRELOAD", "LANDLINE_DIR") if case.mode in ("both", "server")]
    return case.server("systemd-socket-activate", "-l", f"127.0.0.1:{port}", *passed, *options, *program, ready=port)


def talk(case, port):
    return case.run(*case.helper("line_client.py"), port, 200)


def all_listen(ports):
    return all(processes.listening(port) for port in ports)


def quoted(name):
    return " ".join([name, *(f"'{word}'" for word in FILTERS[name])])
