"""valgrind's memcheck on a small client and server in C: no error"""

NEEDS = ["gcc", "valgrind"]
# Not the search for leaks: it reads all memory that is mapped, and the arena's file would have to have it.
MEMCHECK = ["valgrind", "--error-exitcode=99", "--fair-sched=yes", "--leak-check=no"]


def run(case):
    echo, port = case.path("echo"), case.port()
    case.run("gcc", "-g", "-O1", "-o", echo, case.suite.helpers / "echo.c", "-lpthread", role="witness")
    server = case.server(*MEMCHECK, echo, port, ready=port)
    with case.ring("echoes", 500_000):
        client = case.start(*MEMCHECK, echo, port, "client")
        case.record("client", case.wait(client, seconds=40))
        case.wait(server, seconds=40)
    for process in (server, client):
        log = process.log()
        case.check(b"ERROR SUMMARY: 0 errors" in log, f"{process.step}: {log[-2000:].decode(errors='replace')}")
