"""Java: com.sun.net.httpserver with java.net.http, and an echo by Selectors on both sides"""

import signal

NEEDS = ["java", "javac"]


def run(case):
    port, echo_port = case.port(), case.port()
    classes = case.suite.shared / "classes"
    if not classes.exists():
        sources = [case.suite.helpers / name for name in ("Server.java", "Client.java")]
        case.run("javac", "-d", classes, *sources, role="witness", seconds=60)
    java = ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+UseSerialGC", "-Xmx256m", "-cp", classes]
    server = case.server(*java, "Server", port, echo_port, ready=port)
    with case.ring("HTTP and echoes", 10_000_000):
        case.record("client", case.run(*java, "Client", port, echo_port, seconds=30))
    case.idle(server, "java", seconds=1)
    case.stop(server, signal.SIGTERM, status=143)
