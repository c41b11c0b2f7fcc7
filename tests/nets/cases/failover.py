"""redis primary, replica and sentinel on three hosts, all on port 6379: the replica takes over when the primary is away"""

NEEDS = ["redis-server", "redis-cli"]
PRIMARY, REPLICA, SENTINEL = "10.1.0.1", "10.1.0.2", "10.1.0.3"


def run(case):
    options = ["--port", 6379, "--save", "", "--protected-mode", "no", "--repl-diskless-sync-delay", 0]
    case.start(f"primary={PRIMARY}", "redis-server", *options)
    case.start(f"replica={REPLICA}", "redis-server", *options, "--replicaof", PRIMARY, 6379)
    (case.folder / "sentinel.conf").write_text(
        f"port 6379\nsentinel monitor main {PRIMARY} 6379 1\nsentinel down-after-milliseconds main 1000\n"
        "sentinel failover-timeout main 3000\nprotected-mode no\n"
    )
    case.start(f"sentinel={SENTINEL}", "redis-server", "sentinel.conf", "--sentinel")

    def cli(host, *words, status=0):
        return case.run("client", "redis-cli", "-h", host, *words, status=status).strip()

    case.until("the replica follows", lambda: "master_link_status:up" in cli(REPLICA, "INFO", "replication", status=None))
    case.until("the sentinel sees it", lambda: "slaves=1" in cli(SENTINEL, "INFO", "sentinel", status=None))
    case.same("a write", cli(PRIMARY, "SET", "key", "before"), "OK")
    case.until("it arrives", lambda: cli(REPLICA, "GET", "key") == "before")

    case.landline("--net", case.net, "fault", "partition", "primary")
    master = lambda: cli(SENTINEL, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main").split()
    case.until("the replica is the primary now", lambda: master() == [REPLICA, "6379"])
    case.until("it takes writes", lambda: cli(REPLICA, "SET", "key", "after", status=None) == "OK")
    case.landline("--net", case.net, "fault", "heal", "primary")
    case.until("the old one follows it", lambda: cli(PRIMARY, "GET", "key", status=None) == "after")
