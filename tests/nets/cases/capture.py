"""captures of curl and http.server, redis, UDP, refused connects and an end by SIGKILL, read by tshark without complaint"""

import hashlib
import json
import signal
import subprocess
import time

from harness import CHECKSUMS, COMPLAINTS

NEEDS = ["tshark", "curl", "redis-server", "redis-cli", "redis-benchmark"]
WEB, DB, CLIENT, ECHO_AT = "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"
PYTHON = "/usr/bin/python3"
SIZES = [0, 1, 1472, 9000, 65507]

# A server that echoes what comes, over TCP and UDP, both families.
ECHO = """
import socket, sys, threading
def stream(s):
    s.listen()
    while True:
        c, _ = s.accept()
        threading.Thread(target=echo, args=(c,), daemon=True).start()
def echo(c):
    while data := c.recv(100000):
        c.sendall(data)
    c.close()
def datagrams(s):
    while True:
        data, who = s.recvfrom(70000)
        s.sendto(data, who)
tcp, udp = [socket.socket(socket.AF_INET6, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
for s in (tcp, udp):
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", 7))
threading.Thread(target=stream, args=(tcp,), daemon=True).start()
print("ready", flush=True)
datagrams(udp)
"""

# Datagrams there and back; one to a port that nobody has, by a connected socket.
UDP = """
import socket, sys
for family, address in ((socket.AF_INET, sys.argv[1]), (socket.AF_INET, "127.0.0.1")):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        if address != "127.0.0.1":
            for size in (0, 1, 1472, 9000, 65507):
                s.sendto(bytes(i % 251 for i in range(size)), (address, 7))
                assert len(s.recvfrom(70000)[0]) == size
        s.connect((address, 99))
        s.send(b"anybody?")
        try:
            s.send(b"again")
            s.recv(1)
            sys.exit("nobody answered that nobody is there")
        except ConnectionRefusedError:
            pass
"""

# A connection that the capture begins in the middle of, and whose client is killed.
TALK = """
import os, socket, sys, time
s = socket.create_connection((sys.argv[1], 7))
s.sendall(b"before the capture")
assert s.recv(100) == b"before the capture"
print("talked", flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.05)
for _ in range(3):
    s.sendall(b"during the capture")
    got = b""
    while len(got) < 18:
        got += s.recv(100)
print("talked", flush=True)
time.sleep(60)
"""


class Capture:
    """A capture that has begun."""

    def __init__(self, case, *words):
        argv = [case.command, "--net", case.net, "capture", *words]
        self.popen = subprocess.Popen(
            argv, env=case.environment, cwd=case.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)
        case.captures.append(self.popen)
        self.said = self.popen.stderr.readline().decode()
        assert "capturing" in self.said, self.said

    def end(self):
        """Ends it by SIGINT; what it wrote, and what it said in the end."""
        self.popen.send_signal(signal.SIGINT)
        out, said = self.popen.communicate(timeout=60)
        assert self.popen.returncode == 0, said
        return out, said.decode()


def is_quiet(case):
    """Whether no connection is open any more."""
    return "ESTAB" not in case.landline("--net", case.net, "ss")


def tshark(file, *words):
    done = subprocess.run(["tshark", "-N", "n", "-r", file, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fields(file, wanted, *names):
    """The fields of the packets that one of tshark's filters wants."""
    flags = [word for name in names for word in ("-e", name)]
    return [line.split("\t") for line in tshark(file, "-Y", wanted, "-T", "fields", *flags).splitlines()]


def without_complaint(case, file):
    case.same(f"complaints about {file}", tshark(file, *CHECKSUMS, "-Y", COMPLAINTS)[:500], "")
    case.same("packets cut", fields(file, "frame.cap_len < frame.len", "frame.number"), [])


def streams(file, port):
    """The numbers of the TCP connections to a port."""
    return sorted({int(number) for (number,) in fields(file, f"tcp.dstport == {port}", "tcp.stream")})


def payloads(file, wanted):
    """What went in the packets that a filter wants, by the number of their connection."""
    sent = {}
    for number, payload in fields(file, f"({wanted}) && tcp.len > 0", "tcp.stream", "tcp.payload"):
        sent.setdefault(int(number), bytearray()).extend(bytes.fromhex(payload))
    return sent


def followed(file, number):
    """What the two ends of a connection sent: the bytes of the client and those of the server."""
    text = tshark(file, "-q", "-z", f"follow,tcp,raw,{number}")
    lines = text.split("Node 1: ")[1].splitlines()[1:-1]
    sides = [bytearray(), bytearray()]
    for line in lines:
        sides[line.startswith("\t")] += bytes.fromhex(line.strip())
    return [bytes(side) for side in sides]


def http(case):
    """curl and http.server: as many connections as there were, and every byte of the largest."""
    site = case.folder / "site"
    site.mkdir()
    (site / "small").write_bytes(b"hello\n")
    large = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(60000))
    (site / "large").write_bytes(large)
    file = str(case.folder / "http.pcapng")
    capture = Capture(case, "-w", file)
    case.run(f"client={CLIENT}", "curl", "-s", f"http://{WEB}/", status=7)  # no such host yet
    case.start(f"web={WEB}", PYTHON, "-m", "http.server", "-d", site, "80")
    attempts = []
    fetch = lambda: attempts.append(case.try_run("client", "curl", "-s", f"http://{WEB}/small")) or attempts[-1]
    case.until("the server answers", fetch)
    for _ in range(20):
        case.same("a small file", case.run("client", "curl", "-s", f"http://{WEB}/small"), "hello\n")
    case.run("client", "curl", "-s", "-o", "got", f"http://{WEB}/large")
    case.check((case.folder / "got").read_bytes() == large, "the large file is not what it was")
    case.until("the last connection is over", lambda: is_quiet(case))
    _, said = capture.end()
    case.check("missed" not in said and "without" not in said, said)

    without_complaint(case, file)
    connections = streams(file, 80)
    # The first attempts may have found no host.
    case.check(22 <= len(connections) <= len(attempts) + 21, f"connections, those refused included: {len(connections)} of {len(attempts) + 21}")
    case.same("connections made", len(fields(file, "tcp.flags.syn==1 && tcp.flags.ack==1", "frame.number")), 22)
    case.same("requests", len(fields(file, "http.request.uri == \"/small\"", "frame.number")), 21)
    case.check(followed(file, connections[-1])[1].endswith(large), "the large file is not in the capture")
    comment = fields(file, "tcp.flags.syn==1 && tcp.flags.ack==0", "frame.comment")[-1][0]
    case.check(comment.startswith("curl[") and " on client > " in comment and comment.endswith(" on web"), comment)
    case.same("names of hosts", fields(file, "http.request", "ip.src_host", "ip.dst_host")[0], ["client", "web"])


def redis(case):
    """redis-benchmark: every request and every reply, in a capture with a filter, beside another that wants none of it."""
    case.start(f"db={DB}", "redis-server", "--port", "6379", "--save", "", "--protected-mode", "no", "--bind", "0.0.0.0")
    cli = lambda *words, **options: case.run("client", "redis-cli", "-h", DB, *words, **options)
    case.until("redis answers", lambda: case.try_run("client", "redis-cli", "-e", "-h", DB, "PING"))
    file, other = str(case.folder / "redis.pcapng"), str(case.folder / "other.pcapng")
    capture, filtered = Capture(case, "-w", file, "tcp", "port", "6379"), Capture(case, "-w", other, "not", "host", "db")
    value = hashlib.shake_256(b"value").hexdigest(1_500_000).encode()
    cli("-x", "SET", "value", stdin=value)
    case.same("the value's length", len(cli("--raw", "GET", "value")), len(value) + 1)
    case.run("client", "redis-benchmark", "-h", DB, "-t", "set,get", "-n", "5000", "-c", "20", "-q")
    case.run("client", "redis-benchmark", "-h", DB, "-t", "get", "-n", "20000", "-P", "16", "-q")
    calls = int(cli("INFO", "commandstats").split("cmdstat_get:calls=")[1].split(",")[0])
    (_, said), (_, none) = capture.end(), filtered.end()
    case.check("missed" not in said and "without" not in said, said)
    case.same("what another filter wants", none.strip(), "landline: 0 packets")

    without_complaint(case, file)
    sent, got = payloads(file, "tcp.dstport == 6379"), payloads(file, "tcp.srcport == 6379")
    # As many as redis has counted, and the last ones of clients that had enough.
    gets = sum(data.count(b"$3\r\nGET\r\n") for data in sent.values())
    case.check(25001 <= calls <= gets <= calls + 20 + 50 * 16, f"redis counts {calls} GETs, the capture has {gets}")
    case.same("the value, there and back", [sum(value in data for data in side.values()) for side in (sent, got)], [1, 1])
    first = min(sent)
    case.check(followed(file, first) == [sent[first], got[first]], "a connection as tshark follows it is another")


def datagrams(case):
    """UDP, answers that nobody is there, and a connection that was open before; live, and in a file."""
    echo = case.start(f"echo={ECHO_AT}", PYTHON, "-c", ECHO)
    case.until("the server is ready", lambda: "ready" in echo.text())
    go = case.folder / "go"
    talk = case.start("client", PYTHON, "-c", TALK, ECHO_AT, go)
    case.until("a connection is open", lambda: "talked" in talk.text())
    file = str(case.folder / "udp.pcapng")
    capture, lines, text = Capture(case, "-w", file), Capture(case, "--json"), Capture(case, "udp")
    case.run("client", PYTHON, "-c", UDP, ECHO_AT)
    go.touch()
    case.until("it has talked again", lambda: talk.text().count("talked") == 2)
    case.stop(talk, signal.SIGKILL)
    case.until("its end is noticed", lambda: is_quiet(case))
    capture.end()
    events = [json.loads(line) for line in lines.end()[0].splitlines()]
    shown = text.end()[0].decode().splitlines()

    without_complaint(case, file)
    sizes = [int(n) - 8 for (n,) in fields(file, "udp && !icmp && udp.port == 7", "udp.length")]
    case.same("datagrams in the file", sizes, [n for size in SIZES for n in (size, size)])
    case.check(len(fields(file, "icmp.type == 3 && icmp.code == 3", "frame.number")) >= 2, "nobody answered that nobody is there")
    case.same("the connection", followed(file, streams(file, 7)[0]), [b"during the capture" * 3] * 2)
    case.check(fields(file, "tcp.flags.fin == 1 || tcp.flags.reset == 1", "frame.number"), "the end by SIGKILL is not in the file")
    interfaces = {name for (name,) in fields(file, "ip.addr == 127.0.0.1", "frame.interface_name")}
    case.same("the interface of a host's own 127.0.0.1", interfaces, {"lo@client"})

    kinds = lambda protocol: {e["event"] for e in events if e["protocol"] == protocol}
    udp = [e for e in events if e["protocol"] == "udp"]
    case.same("datagrams, live", [e["bytes"] for e in udp if e["to"].endswith(":7")], SIZES)
    case.same("what happened", (kinds("udp"), kinds("icmp")), ({"datagram"}, {"unreachable"}))
    case.check({"data"} < kinds("tcp") <= {"data", "end", "reset"}, f"what happened: {kinds('tcp')}")
    case.same("bytes of the connection", sum(e["bytes"] for e in events if e["event"] == "data"), 2 * 3 * 18)
    case.check(all(e["program"].startswith("python3") for e in udp), "the program is another")
    case.same("lines", len(shown), len(udp))
    case.check(f" client {CLIENT}:" in shown[0] and f" > echo {ECHO_AT}:7 udp 0 bytes  python3" in shown[0], shown[0])


def ends(case):
    """A number of packets, a time, a reader that is killed, and one that does not read: the programs go on."""
    load = lambda: case.run("client", "redis-benchmark", "-h", DB, "-t", "set", "-n", "20000", "-d", "2000", "-q")
    file = str(case.folder / "few.pcapng")
    few = Capture(case, "-w", file, "-c", "5")
    case.until("five packets came", lambda: load() and few.popen.poll() == 0)
    case.same("packets asked for", len(tshark(file).splitlines()), 5)
    case.same("the end after a time", Capture(case, "--for", "0.3").popen.wait(timeout=10), 0)
    killed = Capture(case, "-w", case.folder / "killed.pcapng").popen
    killed.kill()
    killed.wait()
    load()
    stuck = Capture(case, "-w", case.folder / "stuck.pcapng")
    stuck.popen.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    load()
    case.check(time.monotonic() - began < 20, "programs wait for a capture that does not read")
    stuck.popen.send_signal(signal.SIGCONT)
    _, said = stuck.end()
    case.check("missed" in said or "without their bytes" in said, said)
    # What was missed leaves no hole.
    case.same("complaints", tshark(str(case.folder / "stuck.pcapng"), *CHECKSUMS, "-Y", COMPLAINTS)[:500], "")


def run(case):
    case.captures = []
    try:
        for part in (http, redis, datagrams, ends):
            part(case)
    finally:
        for popen in case.captures:
            if popen.poll() is None:
                popen.kill()
            popen.communicate()
