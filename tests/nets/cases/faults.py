"""Faults while programs run: delay, rate, loss, cuts, resets and the rest, with the same fate for the same seed"""

import hashlib
import json
import os

NEEDS = ["iperf3", "curl"]
A, B = "10.2.0.1", "10.2.0.2"

# What is sent comes back; datagrams too.
ECHO = """
import socket, threading
tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
tcp.bind(("", 7)), udp.bind(("", 7)), tcp.listen()
def datagrams():
    while True:
        data, peer = udp.recvfrom(65536)
        udp.sendto(data, peer)
def serve(c):
    try:
        while data := c.recv(65536): c.sendall(data)
    except OSError: pass
    c.close()
threading.Thread(target=datagrams, daemon=True).start()
while True: threading.Thread(target=serve, args=(tcp.accept()[0],), daemon=True).start()
"""

# Prints JSON: how long things took in milliseconds, and what came back.
PRELUDE = """
import asyncio, errno, json, select, socket, sys, time
B = "%s"
def ms(f):
    t = time.monotonic(); value = f(); return [(time.monotonic() - t) * 1000, value]
def echo(s, n):
    data = bytes(i * 7 & 255 for i in range(n)); back = b""
    s.sendall(data)
    while len(back) < n:
        more = s.recv(65536)
        if not more: break
        back += more
    return back == data
def error(f):
    try: f()
    except OSError as e: return errno.errorcode.get(e.errno, str(e))
connect = lambda: socket.create_connection((B, 7))
def udp(timeout=0.5):
    s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(timeout); s.connect((B, 7)); return s
""" % B


def run(case):
    case.start(f"b={B}", "/usr/bin/python3", "-c", ECHO)
    case.run(f"a={A}", "true")
    case.listens("b", 7)
    case.capture()

    def fault(*words):
        case.landline("--net", case.net, "fault", *" ".join(words).split())

    def ask(script, seconds=30):
        return json.loads(case.run("a", "/usr/bin/python3", "-c", PRELUDE + script, seconds=seconds))

    for part in (delay, loop, datagrams, resets, partition, seeds, rates, download):
        fault("clear")
        part(case, fault, ask)
    fault("clear")
    from_file(case)
    case.check(ask("print(json.dumps(ms(lambda: echo(connect(), 100000))))")[1], "a clear net echoes")


def delay(case, fault, ask):
    fault("set --between a b delay 50ms")
    times = ask("""
c = ms(connect); s = c[1]; f = lambda: (s.shutdown(1), s.recv(1) == b"")[1]
print(json.dumps([c[0], *[ms(lambda: echo(s, n)) for n in (1, 100000)], ms(f), ms(lambda: echo(udp(), 10))]))""")
    case.check(times[0] >= 100 and all(t >= 100 and right for t, right in times[1:]), f"a round trip with 50 ms of delay: {times}")
    fault("add --from a --to b accept-delay 200ms")
    times = ask("c = ms(connect); print(json.dumps([c[0], ms(lambda: echo(c[1], 1))]))")
    case.check(times[1][0] >= 190 and times[1][1], f"a slow accept: {times}")
    # Also where the client has nothing more to do with the connection.
    server = case.start("b", "/usr/bin/python3", "-c", "import socket; socket.create_server(('', 8)).accept(); print('accepted', flush=True)")
    case.until("it listens", lambda: "0.0.0.0:8 " in case.landline("--net", case.net, "ss", "-l"))
    client = case.start("a", "/usr/bin/python3", "-c", PRELUDE + "s = socket.create_connection((B, 8)); time.sleep(1000)")
    case.until("it is accepted", lambda: "accepted" in server.text())
    case.stop(client)


def loop(case, fault, ask):
    """Programs with event loops: asyncio by epoll, select and poll."""
    fault("set --between a b delay 50ms")
    took = ask("""
async def main():
    t = time.monotonic(); r, w = await asyncio.open_connection(B, 7)
    for n in (1, 200000):
        w.write(bytes(n)); await r.readexactly(n)
    w.write_eof(); assert await r.read() == b""
    return (time.monotonic() - t) * 1000
print(json.dumps(asyncio.run(main())))""")
    case.check(took >= 400, f"four round trips in an event loop: {took} ms")
    told = ask("""
s = socket.socket(); s.setblocking(False); first = s.connect_ex((B, 99)); again = s.connect_ex((B, 99))
p = select.epoll(); p.register(s, select.EPOLLOUT); soon = p.poll(0)
bits = ms(lambda: p.poll(5)[0][1]); e = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
c = connect(); c.send(b"x"); poll = select.poll(); poll.register(c, select.POLLIN)
early, late = poll.poll(0), ms(lambda: poll.poll(5000)[0][1])
d = udp(); d.send(b"x"); chosen = ms(lambda: len(select.select([d], [], [], 5)[0]))
names = [errno.errorcode.get(x) for x in (first, again, e)]
print(json.dumps([names, soon, bits[1], early, late[1], chosen[1], min(bits[0], late[0], chosen[0])]))""")
    case.same("what loops are told", told[:-1], [["EINPROGRESS", "EALREADY", "ECONNREFUSED"], [], 28, [], 1, 1])
    case.check(told[-1] >= 90, f"loops are told late: {told[-1]} ms")


def datagrams(case, fault, ask):
    fault("set --from a --to b duplicate 100%")
    case.same("twice", ask("s = udp(); s.send(b'x'); print(json.dumps([s.recv(9).decode(), s.recv(9).decode()]))"), ["x", "x"])
    fault("set --from a --to b corrupt 100%")
    wrong = ask("s = udp(); s.send(bytes(100)); print(json.dumps(sum(b.bit_count() for b in s.recv(200))))")
    case.same("wrong bits", wrong, 1)
    fault("set --from a --to b loss 100%")
    case.same("lost", ask("s = udp(); s.send(b'x'); print(json.dumps(error(lambda: s.recv(9))))"), "timed out")
    fault("set --from a --to b delay 300ms")
    order = ask("""
import subprocess
s = udp(5); s.send(b"late")
print(json.dumps(s.recv(9).decode()))""")
    case.same("late", order, "late")
    fault("set --from a --to b delay 20ms 20ms")
    got = ask("""
s = udp()
for n in range(200): s.send(b"%d" % n)
print(json.dumps([int(s.recv(9)) for n in range(200)]))""")
    case.check(sorted(got) == list(range(200)) and got != sorted(got), "jitter reorders datagrams, and loses none")


def resets(case, fault, ask):
    fault("set --from a --to b reset-after 1000B")
    told = ask("""
s = connect(); whole = echo(s, 900); s.send(bytes(200)); back = 0
def rest():
    global back
    while True: back += len(s.recv(1000)) or 1 / 0
print(json.dumps([whole, error(rest), error(lambda: s.send(b"x")) ]))""")
    case.same("a reset after 1000 bytes", told, [True, "ECONNRESET", "EPIPE"])
    fault("set --between a b connect refuse delay 20ms")
    case.same("refused", ask("print(json.dumps(error(connect)))"), "ECONNREFUSED")
    fault("set --between a b connect hang")
    hangs = ask("""
s = socket.socket(); s.settimeout(0.3)
print(json.dumps(error(lambda: s.connect((B, 7)))))""")
    case.same("no answer", hangs, "timed out")
    fault("set --between a b short-io")
    case.check(ask("""
s = connect(); n = [s.send(bytes(1000)) for i in range(30)]; left = sum(n); got = []
while left: got.append(len(s.recv(1000))); left -= got[-1]
print(json.dumps([min(n) < 1000 > min(got), echo(s, 100000)]))""") == [True, True], "short calls")


def partition(case, fault, ask):
    fault("partition a b")
    told = ask("""
s = udp(0.1); s.send(b"x"); c = socket.socket(); c.settimeout(0.3)
print(json.dumps([error(lambda: s.recv(9)), error(lambda: c.connect((B, 7)))]))""")
    case.same("across a partition", told, ["timed out", "timed out"])
    fault("heal")
    # A connection outlives one.
    client = case.start("a", "/usr/bin/python3", "-c", PRELUDE + """
s = connect(); print(echo(s, 1), flush=True)
while not __import__("os").path.exists("go"): time.sleep(0.01)
print(echo(s, 300000), s.shutdown(1), s.recv(1), flush=True)""")
    case.until("it is connected", lambda: "True" in client.text())
    fault("partition a b")
    (case.folder / "go").touch()
    case.check(case.try_run("b", "sleep", "0.3") and client.text() == "True\n", f"nothing passes: {client.text()}")
    fault("heal a b")
    case.until("all passes", lambda: client.text() == "True\nTrue None b''\n")
    client.popen.wait(10)  # the end of a connection throws dice as well


def seeds(case, fault, ask):
    script = """
s = udp(0.05); got = ""
for n in range(40):
    s.send(b"%d" % n)
    try: got += "1" if s.recv(9) == b"%d" % n else "?"
    except TimeoutError: got += "0"
print(json.dumps(got))"""
    fates = []
    for seed in (1, 1, 2):
        fault(f"set --from a --to b --seed {seed} loss 30%")
        fates.append(ask(script))
    case.check(fates[0] == fates[1] != fates[2], f"the same seed, the same losses: {fates}")
    rules = case.json("--net", case.net, "fault", "ls")
    case.same("counted", [rules[0]["packets"], rules[0]["dropped"]], [40, fates[2].count("0")])


def rates(case, fault, ask):
    case.start("b", "iperf3", "-s")
    case.listens("b", 5201)
    fault("set --between a b rate 100mbit")
    told = json.loads(case.run("a", "iperf3", "-c", B, "-t", 3, "-J"))["end"]
    for side in ("sum_sent", "sum_received"):
        mbit = told[side]["bits_per_second"] / 1e6
        case.check(94.5 <= mbit <= 100.5, f"iperf3 at 100 Mbit/s, {side}: {mbit:.1f}")


def download(case, fault, ask):
    (case.folder / "www").mkdir()
    data = os.urandom(5_000_000)
    (case.folder / "www/file").write_bytes(data)
    case.start("b", "/usr/bin/python3", "-m", "http.server", "80", "-d", "www")
    case.listens("b", 80)
    fault("set --between a b delay 5ms loss 5%")
    case.run("a", "curl", "-sS", "-o", "file", f"http://{B}/file", seconds=60)
    case.same("the file", hashlib.sha256((case.folder / "file").read_bytes()).digest(), hashlib.sha256(data).digest())


def from_file(case):
    """The links of a net file."""
    net = case.net + "-file"
    (case.folder / "net.toml").write_text(f"""
net = "{net}"
[hosts.a]
[hosts.b]
address = "{B}"
[[programs]]
name = "server"
host = "b"
command = ["/usr/bin/python3", "-m", "http.server", "80"]
ready = {{ port = 80 }}
[[programs]]
name = "client"
host = "a"
command = "curl -s -o /dev/null -w '%{{time_connect}}' http://{B}/ > time"
after = ["server"]
once = true
[[links]]
from = "a"
to = "b"
both-ways = true
delay = "30ms"
""")
    case.landline("up", "net.toml", "--until-exit", "client")
    took = float((case.folder / "time").read_text())
    case.check(took >= 0.06, f"a connection over the links of a file: {took} s")
