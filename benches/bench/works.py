"""The work lines: what is run, what is read from it, what it must reach.

To add one: write a function that takes a `Run` and returns figures by name, and a `Work` in `WORKS`
with a `Row` for every figure that deserves a line.
"""
import glob
import json
import os
import re
import statistics
import time
from dataclasses import dataclass

from .proc import Failed, read_text, session_members
from .variants import free_port

BOTH = ("server", "client")
KIB = 1024


@dataclass
class Need:
    """A required minimum. kind: "K" or "U": so many times as good as that variant; "most"/"least": the
    figure itself; "over": at most so much more than K."""
    kind: str
    value: float


@dataclass
class Row:
    figure: str                                  # the key in what `measure` returned
    label: str
    unit: str                                    # "us", "ms", "KiB": less is better; "x/s", "B/s", "%": more
    needs: tuple = ()
    base: str = "K"                              # the variant it is compared with, also in the plot

    @property
    def less_is_better(self):
        return not self.unit.endswith(("/s", "%"))


@dataclass
class Work:
    name: str
    measure: object
    rows: list
    variants: str = "K U W L"                    # K1: K arranged otherwise; K2: K once more, to see the noise
    family: str = "tcp"                          # or "udp", "unix", "unixseq", "unixgram": of K, W and L
    preloaded_ends: tuple = BOTH
    uses_sockets: bool = True
    least_on_ring: float = 0.9                   # share of the bytes, where both ends are preloaded
    programs: tuple = ()                         # names or patterns of paths
    net: str = ""                                # the private net that L runs in
    user: str = ""                               # who runs the programs when we are root
    repeat: float = 1                            # times as many rounds: more for ratios near one, fewer for slow tools


# ---- our own programs

def pingpong(arrangement, size=8):
    def measure(run):
        if arrangement == "pairs":
            return run.program("pingpong", "-n", 8, "-s", size, "-t", run.seconds)
        one = arrangement == "one" or run.variant == "K1"
        return run.program("pingpong", "-p", run.setup.cpus(one), "-s", size, "-t", run.seconds)
    return measure


def stream(size):
    return lambda run: run.program("stream", "-p", run.setup.cpus(False), "-s", size, "-t", run.seconds)


def datagrams(size):
    def measure(run):
        figures = run.program("udpstream", "-p", run.setup.cpus(False), "-s", size, "-t", run.seconds)
        if figures["lost"]:
            raise Failed(f"{figures['lost']:.0f} datagrams lost, with at most {figures['window']:.0f} on the way")
        return figures
    return measure


def senders(count):
    """For longer than the others: each sender has its turn on the processor several times."""
    return lambda run: run.program("udpfan", "-p", run.setup.cpus(False), "-n", count, "-t", 2 * run.seconds)


def epoll(connections, one):
    return lambda run: run.program("epollsrv", "-p", run.setup.cpus(one), "-n", connections, "-t", run.seconds)


def connrate(run):
    return run.program("connrate", "-p", run.setup.cpus(False), "-t", run.seconds)


def idle(run):
    connections, silence = 1000, 3.0
    program = run.start([os.path.join(run.setup.build, "idle"), run.family, "-n", connections])
    _, *ids = program.wait_for("\n", run.limit()).split()
    arena, private = run.arena_bytes(), sum(private_bytes(pid) for pid in ids)
    program.say("\n")
    program.wait_for("ready", run.limit())
    time.sleep(0.5)
    arena, private = run.arena_bytes() - arena, sum(private_bytes(pid) for pid in ids) - private
    before = [activity(pid) for pid in ids]
    time.sleep(silence)
    after = [activity(pid) for pid in ids]
    program.check_alive()
    return {"cpu": sum(a[0] - b[0] for a, b in zip(after, before)),
            "wakeups": sum(a[1] - b[1] for a, b in zip(after, before)),
            "memory": (arena + private) / connections / KIB}


def private_bytes(pid):
    return int(re.search(r"RssAnon:\s+(\d+)", read_text(f"/proc/{pid}/status"))[1]) * KIB


def activity(pid):
    """Milliseconds of processor time and voluntary context switches, of all its threads so far."""
    cpu = switches = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        base = f"/proc/{pid}/task/{task}"
        exact = read_text(f"{base}/schedstat").split()
        ticks = read_text(f"{base}/stat").rpartition(")")[2].split()[11:13]
        cpu += int(exact[0]) / 1e6 if exact and exact[0].isdigit() \
            else 1000 * sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        switches += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", read_text(f"{base}/status"))[1])
    return cpu, switches


def startup(run):
    """What the variant adds to a program that does nothing: the median difference of pairs, one plain, one not."""
    def spawn(env):
        begin = time.perf_counter()
        _, status = os.waitpid(os.posix_spawn("/bin/true", ["true"], env), 0)
        if status:
            raise Failed(f"/bin/true: wait status {status:#x}")
        return 1000 * (time.perf_counter() - begin)
    env = run.env()
    pairs = [(spawn(run.setup.plain), spawn(env)) for _ in range(60 if run.seconds >= 1 else 30)]
    return {"added": statistics.median(b - a for a, b in pairs)}


# ---- programs of the world

def redis(options, probe, tests=("GET", "SET")):
    def measure(run):
        path = os.path.join(run.folder, "redis")
        port = free_port()
        where = ["--port", 0, "--unixsocket", path] if run.family == "unix" else ["--port", port]
        server = run.start(["redis-server", *where, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                           "server")
        server.wait_for("eady to accept", run.limit())
        to = ["-s", path] if run.family == "unix" else ["-p", port]

        def rates(requests):
            out = run.run(["redis-benchmark", *to, *options, "-n", requests, "-t", ",".join(tests).lower(), "--csv"],
                          "client")
            found = {name: float(rate) for name, rate in re.findall(r'^"(\w+)","([\d.]+)"', out, re.M)}
            if set(tests) - set(found):
                raise Failed(f"redis-benchmark gave no figures: {out[-200:]}")
            return {name: found[name] for name in tests}

        key = run.work.name, run.variant
        if key not in run.setup.estimates:
            run.setup.estimates[key] = min(rates(probe).values())
        figures = rates(max(probe, int(run.setup.estimates[key] * run.seconds)))
        run.setup.estimates[key] = min(figures.values())
        server.check_alive()
        return figures
    return measure


NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr warn; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 60s; default_type text/plain;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def nginx(size):
    def measure(run):
        folder, port = run.folder, free_port()
        with open(f"{folder}/page", "wb") as page:
            page.write(b"x" * size)
        with open(f"{folder}/nginx.conf", "w", encoding="utf-8") as conf:
            conf.write(NGINX.format(folder=folder, port=port, user="user root;" if os.getuid() == 0 else ""))
        server = run.start(["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", "stderr"], "server")
        end = time.monotonic() + run.limit()
        while not (os.path.exists(f"{folder}/pid") and len(session_members(server.pid)) == 2):
            server.check_alive()
            if time.monotonic() > end:
                raise Failed("nginx: no worker")
            time.sleep(0.01)
        out = run.run(["wrk", "-t1", "-c32", f"-d{max(1, round(run.seconds))}s", f"http://127.0.0.1:{port}/page"],
                      "client")
        server.check_alive()
        wrong = re.search(r"(Socket errors|Non-2xx).*", out)
        if wrong:
            raise Failed(f"wrk: {wrong[0]}")
        return {"requests": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])}
    return measure


def iperf(*options):
    def measure(run):
        port = free_port()
        ipv4 = ["-4"] if run.transport == "W" else []   # socket_wrapper has no IPv4 clients on an IPv6 listener
        server = run.start(["iperf3", "-s", "-1", "-p", port, "--forceflush", *ipv4], "server")
        server.wait_for("listening", run.limit())
        out = run.run(["iperf3", "-c", "127.0.0.1", "-p", port, "-t", max(1, round(run.seconds)), "-J", *options],
                      "client")
        report = json.loads(out)
        if "sum_received" not in report["end"]:
            raise Failed(f"iperf3 gave no figures: {report.get('error', out[-300:])}")
        received = report["end"]["sum_received"]
        return {"rate": received["bits_per_second"] / 8, "bytes": received["bytes"]}
    return measure


def sockperf(test):
    """Both ends on a core of their own; sockperf gives half of the round trip, and what its server received."""
    def measure(run):
        port, seconds = free_port(), max(1, round(run.seconds))
        cores = run.setup.cpus(False).split(",")
        options = ["-i", "127.0.0.1", "-p", port, *(["--tcp"] if run.family == "tcp" else [])]
        server = run.start(["taskset", "-c", cores[0], "sockperf", "server", *options], "server")
        server.wait_for("to block on socket", run.limit())
        # Left to itself it ends with an error after more round trips than it has room to note; paced, it waits between.
        pace = ["--mps=1000000"] if test == "ping-pong" else []
        out = run.run(["taskset", "-c", cores[1], "sockperf", test, *options, "-t", seconds, "-m", SOCKPERF_BYTES, *pace],
                      "client")
        served = re.search(r"Total (\d+) messages received", server.interrupt(run.limit()))
        received = int(served[1])
        if test == "throughput":
            return {"rate": received / seconds, "bytes": received * SOCKPERF_BYTES}
        wrong = re.findall(r"# ([\w-]+) messages = [1-9]", out)
        if wrong:
            raise Failed(f"sockperf: {' '.join(wrong)} messages")
        return {"us": 2 * float(re.search(r"Latency is ([\d.]+) usec", out)[1]),
                "bytes": 2 * received * SOCKPERF_BYTES}
    return measure


POSTGRES = """
listen_addresses = '127.0.0.1'
fsync = off
shared_buffers = 32MB
autovacuum = off
dynamic_shared_memory_type = mmap
"""


def pgbench(run):
    """Eight clients that read a row by its key, from a database that is made once for all runs."""
    tools = os.path.dirname(max(glob.glob(PGBENCH[0]), key=lambda path: float(path.split("/")[4])))
    data, port = os.path.join(run.setup.files, "postgres"), free_port()

    def serve(folder, end):
        server = run.start([f"{tools}/postgres", "-D", folder, "-p", port, "-k", run.folder], end)
        server.wait_for("ready to accept connections", run.limit())
        return server

    where = ["-h", run.folder if run.family == "unix" else "127.0.0.1", "-p", port, "-U", "postgres"]
    if not os.path.exists(data):
        new = f"{data}.new"
        os.mkdir(new, 0o700)
        os.chown(new, run.identity.get("user", -1), run.identity.get("group", -1))
        run.run([f"{tools}/initdb", "-D", new, "-U", "postgres", "-A", "trust", "--no-sync"], "neither")
        with open(f"{new}/postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(POSTGRES)
        server = serve(new, "neither")
        run.run([f"{tools}/pgbench", *where, "-i", "-q", "postgres"], "neither")
        server.end()
        os.rename(new, data)
    server = serve(data, "server")
    out = run.run([f"{tools}/pgbench", *where, "-n", "-S", "-c", 8, "-T", max(1, round(run.seconds)), "postgres"], "client")
    server.check_alive()
    return {"transactions": float(re.search(r"tps = ([\d.]+) \(without", out)[1])}


def redis_rows(what, *needs):
    return [Row(test, f"redis {test} {what}", "x/s", needs) for test in ("GET", "SET")]


def only(end):
    return f"only the {end} preloaded"


REDIS = ("redis-server", "redis-benchmark")
NGINX_WRK = ("nginx", "wrk")
IPERF = ("iperf3",)
SOCKPERF = ("sockperf", "taskset")
PGBENCH = ("/usr/lib/postgresql/*/bin/pgbench", "/usr/lib/postgresql/*/bin/postgres")
SOCKPERF_BYTES = 64
C20 = ("-c", 20, "-d", 65536)
UDP_MOST = 65507                                 # bytes of the largest datagram

WORKS = [
    Work("ping-pong, two cores", pingpong("two"), [
        Row("us_mean", "8-byte ping-pong, two cores", "us", (Need("K", 80), Need("most", 0.6))),
        Row("us_mean", "8-byte ping-pong, two cores; K on one core", "us", (Need("K", 20),), base="K1"),
    ], variants="K K1 U W L"),
    Work("ping-pong, one core", pingpong("one"),
         [Row("us_mean", "8-byte ping-pong, one core", "us", (Need("K", 1),))]),
    Work("ping-pong, 8 pairs", pingpong("pairs"),
         [Row("us_mean", "8-byte ping-pong, 8 busy pairs on all cores", "us", (Need("K", 1),))]),
    Work("stream, 8 bytes", stream(8),
         [Row("messages_per_s", "stream of 8-byte writes", "x/s", (Need("least", 20e6),))]),
    Work("stream, 64 KiB", stream(64 * KIB),
         [Row("bytes_per_s", "stream of 64 KiB writes", "B/s", (Need("K", 6), Need("U", 3)))]),
    Work("epoll 50, two cores", epoll(50, False),
         [Row("requests_per_s", "epoll, 50 connections, two cores", "x/s", (Need("K", 15),))]),
    Work("epoll 2000, two cores", epoll(2000, False),
         [Row("requests_per_s", "epoll, 2,000 connections, two cores", "x/s", (Need("K", 12),))]),
    Work("epoll 50, one core", epoll(50, True),
         [Row("requests_per_s", "epoll, 50 connections, one core", "x/s", (Need("K", 1),))]),
    Work("epoll 2000, one core", epoll(2000, True),
         [Row("requests_per_s", "epoll, 2,000 connections, one core", "x/s", (Need("K", 1),))]),
    Work("UDP ping-pong, two cores", pingpong("two", 64),
         [Row("us_mean", "UDP 64-byte ping-pong, two cores", "us", (Need("K", 12), Need("most", 0.9)))], family="udp"),
    Work("UDP ping-pong, one core", pingpong("one", 64),
         [Row("us_mean", "UDP 64-byte ping-pong, one core", "us", (Need("K", 1),))], family="udp"),
    *[Work(f"UDP one way, {label}", datagrams(size),
           [Row(figure, f"UDP one way, {label}", unit, (Need("K", need),))], family="udp")
      for label, size, figure, unit, need in [("64 bytes", 64, "datagrams_per_s", "x/s", 10),
                                              ("1,400 bytes", 1400, "datagrams_per_s", "x/s", 6),
                                              ("64 KiB", UDP_MOST, "bytes_per_s", "B/s", 3)]],
    Work("UDP, 100 senders", senders(100), [
        Row("datagrams_per_s", "UDP, 100 senders to one socket", "x/s"),
        Row("fairness", "UDP, 100 senders: least share in the greatest", "%"),
    ], variants="K U L", family="udp"),
    Work("AF_UNIX ping-pong, two cores", pingpong("two"),
         [Row("us_mean", "AF_UNIX 8-byte ping-pong, two cores", "us", (Need("U", 15),), base="U")],
         variants="U L", family="unix"),
    Work("AF_UNIX ping-pong, one core", pingpong("one"),
         [Row("us_mean", "AF_UNIX 8-byte ping-pong, one core", "us", (Need("U", 1),), base="U")],
         variants="U L", family="unix"),
    Work("AF_UNIX stream, 64 KiB", stream(64 * KIB),
         [Row("bytes_per_s", "AF_UNIX stream of 64 KiB writes", "B/s", (Need("U", 3),), base="U")],
         variants="U L", family="unix"),
    Work("AF_UNIX packets, ping-pong", pingpong("two", 64),
         [Row("us_mean", "AF_UNIX SOCK_SEQPACKET 64-byte ping-pong, two cores", "us", base="U")],
         variants="U L", family="unixseq"),
    Work("AF_UNIX packets, 64 bytes", stream(64),
         [Row("messages_per_s", "AF_UNIX SOCK_SEQPACKET packets of 64 bytes one way", "x/s", base="U")],
         variants="U L", family="unixseq"),
    Work("AF_UNIX packets, 64 KiB", stream(64 * KIB),
         [Row("bytes_per_s", "AF_UNIX SOCK_SEQPACKET packets of 64 KiB one way", "B/s", base="U")],
         variants="U L", family="unixseq"),
    Work("AF_UNIX datagrams, ping-pong", pingpong("two", 64),
         [Row("us_mean", "AF_UNIX 64-byte datagrams, ping-pong, two cores", "us", base="U")],
         variants="U L", family="unixgram"),
    Work("redis -c 1", redis(("-c", 1), 2000), redis_rows("-c 1", Need("K", 3), Need("U", 1.5)), programs=REDIS),
    Work("redis -c 50", redis(("-c", 50), 5000), redis_rows("-c 50", Need("K", 3), Need("U", 1.5)), programs=REDIS),
    Work("redis -c 50 -P 16", redis(("-c", 50, "-P", 16), 50000),
         redis_rows("-c 50 -P 16", Need("K", 2), Need("U", 1.5)), programs=REDIS),
    Work("redis 64 KiB", redis(C20, 1000), redis_rows("-c 20 -d 65536", Need("K", 3), Need("U", 1.5)),
         programs=REDIS),
    Work("redis AF_UNIX -c 50", redis(("-c", 50), 5000),
         [Row(test, f"redis {test} -c 50 over AF_UNIX", "x/s", (Need("U", 2),), base="U") for test in ("GET", "SET")],
         variants="U L", family="unix", programs=REDIS),
    Work("nginx 1 KiB", nginx(KIB), [Row("requests", "nginx + wrk, keep-alive, 1 KiB", "x/s", (Need("K", 2),))],
         variants="K W L", programs=NGINX_WRK),
    Work("nginx 100 KiB", nginx(100 * KIB),
         [Row("requests", "nginx + wrk, keep-alive, 100 KiB", "x/s", (Need("K", 2),))],
         variants="K W L", programs=NGINX_WRK),
    *[Work(f"iperf3 {' '.join(options)}", iperf(*options), [Row("rate", f"iperf3, {label}", "B/s", (Need("K", 4),))],
           variants="K W L", programs=IPERF)
      for label, options in [("1 stream", ("-P", "1")), ("4 streams", ("-P", "4")),
                             ("1 stream, -R", ("-P", "1", "-R")), ("4 streams, -R", ("-P", "4", "-R"))]],
    *[Work(f"sockperf {test}, {family.upper()}", sockperf(test), [Row(figure, f"sockperf {test}, {family.upper()}", unit)],
           variants="K L", family=family, programs=SOCKPERF, repeat=0.6)
      for test, figure, unit in [("ping-pong", "us", "us"), ("throughput", "rate", "x/s")]
      for family in ("udp", "tcp")],
    Work("pgbench, TCP", pgbench, [Row("transactions", "pgbench -S -c 8", "x/s", (Need("K", 1.3),))],
         variants="K L", programs=PGBENCH, user="postgres", repeat=2),
    Work("pgbench, AF_UNIX", pgbench, [Row("transactions", "pgbench -S -c 8 over AF_UNIX", "x/s", (Need("U", 1.15),),
                                           base="U")],
         variants="U L", family="unix", programs=PGBENCH, user="postgres", repeat=2),
    Work("connect and close", connrate,
         [Row("connections_per_s", "connect, one exchange, close", "x/s", (Need("K", 0.8),))],
         least_on_ring=0),                       # a connection's first bytes are the kernel's
    Work("private net, connect and close", connrate,
         [Row("connections_per_s", "private net: connect, one exchange, close", "x/s", (Need("K", 3),))],
         variants="K L", net="bench"),
    Work("private net, ping-pong", pingpong("two"),
         [Row("us_mean", "private net: 8-byte ping-pong, two cores", "us", (Need("K", 80),))], variants="K L", net="bench"),
    Work("private net, 64 KiB", stream(64 * KIB),
         [Row("bytes_per_s", "private net: 64 KiB writes", "B/s", (Need("K", 5),))], variants="K L", net="bench"),
    Work("private net, udp ping-pong", pingpong("two"),
         [Row("us_mean", "private net: UDP 8-byte ping-pong, two cores", "us", (Need("K", 12),))],
         variants="K L", family="udp", net="bench"),
    Work("private net, epoll", epoll(50, False),
         [Row("requests_per_s", "private net: epoll server, 50 connections", "x/s", (Need("K", 10),))], variants="K L", net="bench"),
    Work("private net, redis -c 50", redis(("-c", 50), 5000),
         [Row(test, f"private net: redis {test} -c 50", "x/s", (Need("K", 3),)) for test in ("GET", "SET")],
         variants="K L", programs=REDIS, net="bench"),
    *[Work(f"redis, {only(end)}", redis(("-c", 50), 5000),
           [Row(test, f"redis {test} -c 50, {only(end)}", "x/s", (Need("K", 0.97),)) for test in ("GET", "SET")],
           variants="K L K2", preloaded_ends=(end,), programs=REDIS, repeat=2) for end in BOTH],
    *[Work(f"iperf3, {only(end)}", iperf("-P", "1"),
           [Row("rate", f"iperf3, 1 stream, {only(end)}", "B/s", (Need("K", 0.97),))],
           variants="K L K2", preloaded_ends=(end,), programs=IPERF, repeat=2) for end in BOTH],
    Work("idle", idle, [
        Row("cpu", "1,000 idle connections: processor time in 3 s", "ms", (Need("most", 0),)),
        Row("wakeups", "1,000 idle connections: wake-ups in 3 s", "", (Need("most", 0),)),
        Row("memory", "memory of an idle connection, both ends", "KiB", (Need("over", 12),)),
    ], variants="K L"),
    Work("start-up", startup, [Row("added", "added to the start-up of /bin/true", "ms", (Need("most", 2),))],
         variants="K W L", uses_sockets=False),
]
