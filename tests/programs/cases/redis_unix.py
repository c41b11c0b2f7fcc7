"""redis-server on its UNIX socket, with redis-cli and redis-benchmark"""

from harness.case import sha

NEEDS = ["redis-server", "redis-cli", "redis-benchmark"]
SIZES = [1, 4096, 65536, 1_000_003, 5_000_000]


def run(case):
    path = case.path("redis.sock")
    server = case.server("redis-server", "--port", 0, "--unixsocket", path, "--save", "", "--dir", case.folder, ready=path)

    def cli(*words, **options):
        return case.run("redis-cli", "-s", path, *words, **options)

    case.record("ping", cli("PING"))
    # Each value has a connection of its own, and a client that writes 5 MB in one call before the server has come to it
    # is in the kernel until they are through: how much of this goes by the ring is a matter of who comes first.
    with case.ring("values up to 5 MB", 0):
        for size in SIZES:
            value = case.suite.data(size)
            case.record(f"set {size}", cli("-x", "SET", f"value:{size}", stdin=value))
            case.same(f"value of {size} bytes", sha(cli("--raw", "GET", f"value:{size}")[:-1]), sha(value))
    with case.ring("redis-benchmark", 10_000_000):
        for options in (["-n", 20000, "-c", 50], ["-n", 40000, "-c", 50, "-P", 16], ["-n", 1000, "-c", 20, "-d", 65536]):
            output = case.run("redis-benchmark", "-s", path, "-t", "set,get", "--csv", *options).decode()
            case.check("Error" not in output, f"redis-benchmark {options}: {output}")
            case.record(f"redis-benchmark {options}", [line.split(",")[0] for line in output.splitlines()])
    blocked = case.start("redis-cli", "-s", path, "BLPOP", "queue", "10")
    case.until("a client waits", lambda: b"blocked_clients:1" in cli("INFO", "clients"))
    cli("RPUSH", "queue", "at last")
    case.record("blocking pop", case.wait(blocked))
    case.idle(server, "redis-server")
    cli("SHUTDOWN", "NOSAVE", status=None)
    case.wait(server)
