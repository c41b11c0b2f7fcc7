"""rsyslogd on a UNIX datagram socket, UDP and TCP, with logger"""

from harness import processes

NEEDS = ["rsyslogd", "logger"]
RING = False  # its input is by UNIX datagrams, and by streams that it is only sent to


def run(case):
    path, udp, tcp, log = case.path("log.sock"), case.port(), case.port(), case.path("messages")
    configuration = case.write("rsyslog.conf", CONFIGURATION.format(path=path, udp=udp, tcp=tcp, log=log))
    server = case.server(
        "rsyslogd", "-n", "-f", configuration, "-i", case.path("pid"),
        ready=lambda: path.exists() and processes.bound_udp(udp) and processes.listening(tcp),
    )
    loggers = {
        "unix": ["--socket", path], "udp": ["--server", "127.0.0.1", "--port", udp, "--udp", "--rfc3164"],
        "tcp": ["--server", "127.0.0.1", "--port", tcp, "--tcp", "--rfc3164"],
    }
    for name, options in loggers.items():
        # UNIX datagrams are the kernel's, and what logger says by TCP is over before both ends are there.
        with case.ring(name, 1000 if name == "udp" else 0):
            # No more at once than a socket takes: who logs by UDP is not told that it was too much.
            lines = "".join(f"{name} line {n} {'x' * n}\n" for n in range(150)).encode()
            case.run("logger", *options, "--tag", "test", stdin=lines)
            for n in range(5):
                case.run("logger", *options, "--tag", "test", f"{name} alone {n}")
        case.until(f"{name}: all is written", lambda: log.exists() and written(log, name) == 155)
        case.record(name, [line for line in log.read_bytes().splitlines() if line.startswith(name.encode())])
    case.run("logger", *loggers["unix"], "--tag", "test", "--size", "8000", f"unix long {'y' * 7000}")
    case.until("a long one is written", lambda: written(log, "unix") == 156)
    case.idle(server, "rsyslogd")
    case.stop(server, status=None)


def written(log, name):
    return log.read_bytes().count(f"\n{name} ".encode()) + log.read_bytes().startswith(f"{name} ".encode())


CONFIGURATION = """
global(workDirectory="/tmp" maxMessageSize="16k")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{path}" RateLimit.Interval="0")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="{udp}")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{tcp}")
template(name="bare" type="string" string="%msg:2:$:drop-last-lf%\\n")
*.* action(type="omfile" file="{log}" template="bare")
"""
