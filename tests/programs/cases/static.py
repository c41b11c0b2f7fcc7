"""A static program, which cannot be preloaded, as the client and as the server of a preloaded one"""

from harness.processes import listening

NEEDS = ["gcc"]


def run(case):
    source = case.suite.helpers / "echo.c"
    dynamic, static = case.path("echo-dynamic"), case.path("echo-static")
    case.run("gcc", "-O1", "-o", dynamic, source, "-lpthread", role="witness")
    case.run("gcc", "-O1", "-static", "-o", static, source, "-lpthread", role="witness")
    for what, server, client in (("its client", dynamic, static), ("its server", static, dynamic)):
        port = case.port()
        before = case.stats()["ring_bytes"]
        process = case.start(server, port, role="server")
        case.until(f"{what}: is ready", lambda: case.alive(process) and listening(port))
        case.record(what, case.run(client, port, "client"))
        case.wait(process)
        case.same(f"{what}: bytes by the ring", case.stats()["ring_bytes"], before)
    port = case.port()
    server = case.server(dynamic, port, ready=port)
    with case.ring("both dynamic", 1_000_000):
        case.record("both dynamic", case.run(dynamic, port, "client"))
        case.wait(server)
    if case.library:
        refused = case.run(case.suite.command, "run", static, port, role="witness", status=None, step="landline run")
        case.check(b"static" in case.started[-1].log(), f"landline run does not refuse a static program: {refused}")
