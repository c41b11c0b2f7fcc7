"""redis-server with redis-cli and redis-benchmark, a BGSAVE and a replica while traffic flows"""

from harness.case import sha

NEEDS = ["redis-server", "redis-cli", "redis-benchmark", "redis-check-rdb"]
SIZES = [1, 2, 100, 4096, 65535, 65536, 1_000_003, 5_000_000]


def run(case):
    port, replica_port = case.port(), case.port()
    server = start(case, port, "dump.rdb")

    def cli(*words, at=port, role="client", **options):
        return case.run("redis-cli", "-h", "127.0.0.1", "-p", at, *words, role=role, **options)

    case.record("ping", cli("PING"))
    with case.ring("values up to 5 MB", 1_000_000):
        for size in SIZES:
            value = case.suite.data(size)
            case.record(f"set {size}", cli("-x", "SET", f"value:{size}", stdin=value))
            got = cli("--raw", "GET", f"value:{size}")
            case.same(f"value of {size} bytes", sha(got[:-1]), sha(value))
    pipeline(case, cli)
    publish(case, cli, port)
    case.record("transaction", cli(stdin=b"MULTI\nINCR n\nINCRBY n 41\nGET n\nEXEC\nMULTI\nINCR n\nDISCARD\nGET n\n"))
    blocked = case.start("redis-cli", "-p", port, "BLPOP", "queue", "10")
    case.until("a client waits", lambda: b"blocked_clients:1" in cli("INFO", "clients"))
    cli("RPUSH", "queue", "at last")
    case.record("blocking pop", case.wait(blocked))
    case.record("digest", cli("DEBUG", "DIGEST"))

    replica = start(case, replica_port, "replica.rdb", "--replicaof", "127.0.0.1", port, role="client")
    follower = {"at": replica_port, "role": "witness"}
    benchmark = lambda *words: benchmark_at(case, port, *words)
    with case.ring("redis-benchmark with BGSAVE and a replica", 100_000_000):
        benchmark("-n", 20000, "-c", 50)
        loads = case.start("redis-benchmark", "-p", port, "-t", "set", "-n", 60000, "-c", 20, "-d", 100, "-r", 1000, "-q")
        case.record("bgsave", cli("BGSAVE"))
        case.wait(loads)
        benchmark("-n", 40000, "-c", 50, "-P", 16)
        benchmark("-n", 2000, "-c", 20, "-d", 65536)
        benchmark("-n", 10000, "-c", 20, "--threads", 2)
    case.until("BGSAVE is over", lambda: b"rdb_bgsave_in_progress:0" in cli("INFO", "persistence"))
    case.check(b"rdb_last_bgsave_status:ok" in cli("INFO", "persistence"), "BGSAVE failed")
    case.until("the replica is linked", lambda: b"master_link_status:up" in cli("INFO", "replication", **follower))
    case.until(
        "the replica has followed",
        lambda: cli("DEBUG", "DIGEST") == cli("DEBUG", "DIGEST", **follower),
    )
    with case.ring("a value through the replica", 1):
        cli("-x", "SET", "late", stdin=case.suite.data(1_000_003))
        case.until("the replica has it", lambda: len(cli("--raw", "GET", "late", **follower)) == 1_000_004)
    case.same("the replica's value", sha(cli("--raw", "GET", "late", **follower)[:-1]), sha(case.suite.data(1_000_003)))
    for process in (server, replica):
        case.idle(process, "redis-server")

    cli("SHUTDOWN", "NOSAVE", role="witness", at=replica_port, status=None)
    case.wait(replica)
    cli("SHUTDOWN", "SAVE", status=None)
    case.wait(server)
    case.run("redis-check-rdb", case.path("dump.rdb"))


def start(case, port, dump, *more, role="server"):
    return case.server(
        "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", case.folder, "--dbfilename", dump,
        "--enable-debug-command", "local", "--repl-diskless-sync-delay", 0, *more, role=role, ready=port,
    )


def pipeline(case, cli):
    commands = b"".join(
        b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(value), value)
        for key, value in ((b"key:%d" % n, b"v" * (n % 200)) for n in range(20000))
    )
    with case.ring("a pipeline of 20000 commands", 1):
        case.record("pipeline", cli("--pipe", stdin=commands))
    case.record("size", cli("DBSIZE"))


def publish(case, cli, port):
    subscriber = case.start("redis-cli", "-p", port, "SUBSCRIBE", "news")
    case.until("somebody subscribes", lambda: cli("PUBSUB", "NUMSUB", "news").split()[-1] == b"1")
    case.record("publish", cli(stdin=b"".join(b"PUBLISH news item-%d\n" % n for n in range(200))))
    case.until("the subscriber has the last", lambda: b"item-199\n" in subscriber.out.read_bytes())
    case.stop(subscriber, status=None)
    case.record("received", subscriber.out.read_bytes())


def benchmark_at(case, port, *words):
    output = case.run("redis-benchmark", "-p", port, "-t", "set,get", "--csv", *words, seconds=30).decode()
    tests = [line.split(",")[0].strip('"') for line in output.splitlines()]
    case.record(f"redis-benchmark {words}", tests)
    case.check("Error" not in output, f"redis-benchmark {words}: {output}")
