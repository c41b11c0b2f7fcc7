"""chronyd as a server that leaves the clock alone, asked by a chronyd that does too, and by chronyc"""

from harness import processes

NEEDS = ["chronyd", "chronyc"]


def run(case):
    port, commands, folder = case.port(), case.port(), case.path("run")
    folder.mkdir(0o750)
    path = folder / "chronyd.sock"
    configuration = case.write("chrony.conf", CONFIGURATION.format(port=port, commands=commands, path=path, folder=folder))
    # -x: the clock is not touched; -U: whoever we are; -Q: ask, print, leave.
    plain = ["-U", "-u", case.me, "-F", 0]
    server = case.server(
        "chronyd", "-d", "-x", *plain, "-f", configuration, ready=lambda: path.exists() and processes.bound_udp(port)
    )
    # The kernel is asked when each packet left and came, so it has to carry them.
    with case.ring("queries", 0):
        queries = [
            case.start("chronyd", "-Q", "-t", 10, *plain, f"server 127.0.0.1 port {port} iburst maxsamples 4", f"pidfile {folder}/{n}")
            for n in range(3)
        ]
        for query in queries:
            case.wait(query)
            case.check(b"System clock wrong by" in query.log() and b"(ignored)" in query.log(), f"chronyd -Q: {query.log()}")
    # UNIX datagrams are the kernel's own.
    for what, where, by_ring in (("UDP", ["-h", "127.0.0.1", "-p", commands], 100), ("UNIX", ["-h", path], 0)):
        with case.ring(f"chronyc by {what}", by_ring):
            tracking = case.run("chronyc", "-n", *where, "-c", "tracking").split(b",")
            case.record(f"tracking by {what}", tracking[:3])
            case.check(case.run("chronyc", "-n", *where, "-m", "tracking", "sources", "activity").count(b"\n") > 10, what)
    case.record("packets", int(case.run("chronyc", "-h", path, "-c", "serverstats").split(b",")[0]) >= 12)
    case.idle(server, "chronyd")
    case.stop(server)


CONFIGURATION = """
port {port}
bindaddress 127.0.0.1
allow 127.0.0.1
local stratum 3
cmdport {commands}
bindcmdaddress 127.0.0.1
bindcmdaddress {path}
pidfile {folder}/pid
"""
