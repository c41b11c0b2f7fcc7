"""captures of curl and http.server, redis, UDP, refused connects and an end by SIGKILL, read by tshark without complaint"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NEEDS = ["tshark", "curl", "redis-server", "redis-cli", "redis-benchmark"]
# What tshark must not find: a packet that is not one, a wrong checksum, anything that TCP would be asked about.
COMPLAINTS = (
    "_ws.malformed || tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment || tcp.analysis.retransmission"
    " || tcp.analysis.out_of_order || tcp.analysis.window_full || tcp.analysis.zero_window"
    " || tcp.checksum.status==Bad || ip.checksum.status==Bad || udp.checksum.status==Bad || icmp.checksum.status==Bad"
)
CHECKSUMS = [word for name in ("tcp", "udp", "ip") for word in ("-o", f"{name}.check_checksum:TRUE")]
WEB, DB, CLIENT = "10.9.0.1", "10.9.0.2", "10.9.0.3"

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

# One connection whose server end is left open, for the capture to begin in the middle of.
TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], 7))
s.sendall(b"before the capture")
assert s.recv(100) == b"before the capture"
print("talked", flush=True)
sys.stdin.readline()
for _ in range(3):
    s.sendall(b"during the capture")
    got = b""
    while len(got) < 18:
        got += s.recv(100)
print("talked", flush=True)
sys.stdin.readline()
"""


class Net:
    """A private net in a folder of its own."""

    def __init__(self, command, folder):
        self.command, self.folder, self.processes = command, Path(folder), []
        (self.folder / "arena").mkdir(mode=0o700)
        self.which = ["--net", "captured", "--dir", str(self.folder / "arena")]

    def landline(self, *words):
        return [self.command, *self.which, *map(str, words)]

    def on(self, host, *words):
        return self.landline("run", "--host", host, "--", *words)

    def run(self, host, *words, status=0, **options):
        done = subprocess.run(self.on(host, *words), capture_output=True, timeout=60, check=False, **options)
        assert done.returncode == status, (words, done)
        return done.stdout

    def start(self, *words, **options):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder, **options)
        self.processes.append(process)
        return process

    def capture(self, *words):
        """Starts a capture and waits until it has begun."""
        process = self.start(*self.landline("capture", *words))
        line = process.stderr.readline()
        assert b"capturing" in line, line
        return process

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def end(process):
    """Ends a capture by SIGINT; what it wrote, and what it said of it."""
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return out, said.decode()


def until(what, test, seconds=20):
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def tshark(file, *words):
    done = subprocess.run(["tshark", "-N", "n", "-r", file, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fields(file, wanted, *names):
    """The fields of the packets that a filter of tshark's wants."""
    flags = [word for name in names for word in ("-e", name)]
    return [line.split("\t") for line in tshark(file, "-Y", wanted, "-T", "fields", *flags).splitlines()]


def without_complaint(file):
    found = tshark(file, *CHECKSUMS, "-Y", COMPLAINTS)
    assert not found, found
    # With nothing left out that was not asked for.
    assert not fields(file, "frame.cap_len < frame.len", "frame.number")


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


def http(net, folder):
    """curl and http.server: as many connections as there were, and every byte of the largest."""
    site = folder / "site"
    site.mkdir()
    (site / "small").write_bytes(b"hello\n")
    large = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(60000))
    (site / "large").write_bytes(large)
    file = str(folder / "http.pcapng")
    capture = net.capture("-w", file)
    net.run(f"client={CLIENT}", "curl", "-s", f"http://{WEB}/", status=7)  # no such host yet
    net.start(*net.on(f"web={WEB}", "python3", "-m", "http.server", "-d", str(site), "80"))
    refused = 0
    while subprocess.run(net.on("client", "curl", "-s", "-o", "/dev/null", f"http://{WEB}/"), check=False).returncode:
        refused += 1
        assert refused < 200
        time.sleep(0.1)
    for _ in range(20):
        assert net.run("client", "curl", "-s", f"http://{WEB}/small") == b"hello\n"
    assert net.run("client", "curl", "-s", f"http://{WEB}/large") == large
    until("the last connection is over", lambda: b"ESTAB" not in subprocess.run(net.landline("ss"), capture_output=True, check=True).stdout)
    _, said = end(capture)
    assert "missed" not in said and "without" not in said, said

    without_complaint(file)
    assert len(streams(file, 80)) == refused + 22
    assert len(fields(file, "tcp.flags.syn==1 && tcp.flags.ack==1", "frame.number")) == 22
    assert len(fields(file, "tcp.flags.reset==1", "frame.number")) >= refused
    assert len(fields(file, "http.request.uri == \"/small\"", "frame.number")) == 20
    assert followed(file, streams(file, 80)[-1])[1].endswith(large)
    comments = fields(file, "tcp.flags.syn==1 && tcp.flags.ack==0", "frame.comment")[-1][0]
    assert comments.startswith("curl[") and " on client > " in comments and comments.endswith(" on web"), comments
    # Hosts have their names.
    assert fields(file, "http.request", "ip.src_host", "ip.dst_host")[0] == ["client", "web"]
    return len(tshark(file).splitlines())


def redis(net, folder):
    """redis-benchmark: one connection a client, and as many replies as there were requests."""
    net.start(*net.on(f"db={DB}", "redis-server", "--port", "6379", "--save", "", "--protected-mode", "no", "--bind", "0.0.0.0"))
    ping = net.on("client", "redis-cli", "-h", DB, "PING")
    until("redis answers", lambda: subprocess.run(ping, capture_output=True, check=False).stdout == b"PONG\n")
    file, other = str(folder / "redis.pcapng"), str(folder / "other.pcapng")
    capture, filtered = net.capture("-w", file, "tcp", "port", "6379"), net.capture("-w", other, "not", "host", "db")
    value = os.urandom(3_000_000)
    net.run("client", "redis-cli", "-h", DB, "-x", "SET", "value", input=value)
    assert net.run("client", "redis-cli", "-h", DB, "--raw", "GET", "value") == value + b"\n"
    net.run("client", "redis-benchmark", "-h", DB, "-t", "set,get", "-n", "5000", "-c", "20", "-q")
    net.run("client", "redis-benchmark", "-h", DB, "-t", "get", "-n", "20000", "-P", "16", "-q")
    stats = net.run("client", "redis-cli", "-h", DB, "INFO", "commandstats").decode()
    calls = int(stats.split("cmdstat_get:calls=")[1].split(",")[0])
    (_, said), (_, none) = end(capture), end(filtered)
    assert "missed" not in said and "without" not in said, said
    assert none.strip() == "landline: 0 packets", none
    without_complaint(file)
    # As many as redis has counted, and the last ones of clients that had enough.
    sent, got = payloads(file, "tcp.dstport == 6379"), payloads(file, "tcp.srcport == 6379")
    gets = sum(data.count(b"$3\r\nGET\r\n") for data in sent.values())
    assert 25001 <= calls <= gets <= calls + 20 + 50 * 16, (calls, gets)
    assert 70 < len(got) <= len(sent) <= len(streams(file, 6379)), (len(got), len(sent), len(streams(file, 6379)))
    assert sum(value in data for data in sent.values()) == sum(value in data for data in got.values()) == 1
    first = streams(file, 6379)[0]
    assert followed(file, first) == [sent[first], got[first]]


def datagrams(net, folder):
    """UDP, answers that nobody is there, and a connection that was open before; live, and in a file."""
    echo = net.start(*net.on("echo=10.9.0.4", "python3", "-c", ECHO))
    assert echo.stdout.readline() == b"ready\n"
    talk = net.start(*net.on("client", "python3", "-c", TALK, "10.9.0.4"), stdin=subprocess.PIPE)
    assert talk.stdout.readline() == b"talked\n"
    file = str(folder / "udp.pcapng")
    capture, lines, text = net.capture("-w", file), net.capture("--json"), net.capture("udp")
    net.run("client", "python3", "-c", UDP, "10.9.0.4")
    talk.stdin.write(b"\n")
    talk.stdin.flush()
    assert talk.stdout.readline() == b"talked\n"
    talk.kill()
    talk.wait()
    # The other end finds out by itself.
    until("the death is noticed", lambda: b"ESTAB" not in subprocess.run(net.landline("ss"), capture_output=True, check=True).stdout)
    end(capture)
    events = [json.loads(line) for line in end(lines)[0].splitlines()]
    shown = end(text)[0].decode().splitlines()

    without_complaint(file)
    sizes = [int(n) - 8 for (n,) in fields(file, "udp && !icmp && udp.port == 7", "udp.length")]
    assert sizes == [n for size in (0, 1, 1472, 9000, 65507) for n in (size, size)], sizes
    assert len(fields(file, "icmp.type == 3 && icmp.code == 3", "frame.number")) >= 2
    assert followed(file, streams(file, 7)[0]) == [b"during the capture" * 3] * 2
    assert fields(file, "tcp.flags.fin == 1 || tcp.flags.reset == 1", "frame.number")
    # A host's own 127.0.0.1 has an interface of its own.
    assert {name for (name,) in fields(file, "ip.addr == 127.0.0.1", "frame.interface_name")} == {"lo@client"}

    udp = [e for e in events if e["protocol"] == "udp"]
    assert [e["bytes"] for e in udp if e["event"] == "datagram" and e["to"].endswith(":7")] == [0, 1, 1472, 9000, 65507]
    assert {"datagram"} == {e["event"] for e in udp} and {"unreachable"} == {e["event"] for e in events if e["protocol"] == "icmp"}
    assert {e["event"] for e in events if e["protocol"] == "tcp"} <= {"data", "end", "reset"}
    assert sum(e["bytes"] for e in events if e["event"] == "data") == 2 * 3 * 18
    assert all(e["program"].startswith("python3") for e in udp)
    assert len(shown) == len(udp) and " client 10.9.0.3:" in shown[0] and " > echo 10.9.0.4:7 udp 0 bytes  python3" in shown[0], shown[0]


def ends(net, folder):
    """A number of packets, a time, and a reader that is killed: the programs go on, and the memory comes back."""
    file = str(folder / "few.pcapng")
    few = net.capture("-w", file, "-c", "5")
    ping = net.on("client", "redis-cli", "-h", DB, "PING")
    until("five packets came", lambda: subprocess.run(ping, capture_output=True, check=False).stdout == b"PONG\n" and few.poll() is not None)
    assert len(tshark(file).splitlines()) == 5
    timed = net.capture("--for", "0.3")
    assert timed.wait(timeout=10) == 0
    killed = net.capture("-w", str(folder / "killed.pcapng"))
    killed.kill()
    killed.wait()
    net.run("client", "redis-benchmark", "-h", DB, "-t", "set", "-n", "20000", "-d", "2000", "-q")
    stuck = net.capture("-w", str(folder / "stuck.pcapng"))
    stuck.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    net.run("client", "redis-benchmark", "-h", DB, "-t", "set", "-n", "20000", "-d", "2000", "-q")
    assert time.monotonic() - began < 20, "programs wait for a capture that does not read"
    stuck.send_signal(signal.SIGCONT)
    _, said = end(stuck)
    assert "missed" in said or "without their bytes" in said, said
    # What was missed leaves no hole.
    found = tshark(str(folder / "stuck.pcapng"), *CHECKSUMS, "-Y", "_ws.malformed || tcp.analysis.ack_lost_segment")
    assert not found, found[:2000]


def run(command):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        net = Net(command, folder)
        try:
            for part in (http, redis, datagrams, ends):
                began = time.monotonic()
                part(net, Path(folder))
                print(f"{part.__name__}: {time.monotonic() - began:.1f} s", flush=True)
        finally:
            net.close()


if __name__ == "__main__":
    run(str(Path(os.environ.get("LANDLINE_CMD") or sys.argv[1]).resolve()))
