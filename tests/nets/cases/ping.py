"""ping and traceroute, which need no privilege here: every host answers, and what cannot be reached is said so"""

import ast
import os
import re
import select
import subprocess

NEEDS = ["ping", "traceroute"]
HOSTS = {"a": "10.221.0.1", "b": "10.221.0.2"}
PYTHON = "/usr/bin/python3"


def run(case):
    # A net lives while somebody uses it.
    for host, address in HOSTS.items():
        user = case.start(f"{host}={address}", PYTHON, "-c", "import socket, time; s = socket.socket(); print('here', flush=True); time.sleep(999)")
        case.until(f"somebody is on {host}", lambda user=user: "here" in user.text())
    case.capture()
    answered(case)
    case.end_capture()  # what traceroute sends is not what the ports promise
    traced(case)
    nobody(case)
    large_and_many(case)
    without_privilege(case)
    seen_by_others(case)
    late(case)


def pinged(case, host, *argv, status=0):
    """What ping says: packets sent and received, and the times of the answers in milliseconds."""
    text = case.run(host, "ping", "-n", *argv, status=status)
    counts = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    if counts is None:
        return text, None, []
    for ttl in re.findall(r"ttl=(\d+)", text):
        case.same(f"{argv}: ttl", ttl, "64")
    return text, (int(counts[1]), int(counts[2])), [float(t) for t in re.findall(r"time=([\d.]+) ms", text)]


def answered(case):
    for argv in (["-4", "b"], ["-6", "b"], [HOSTS["b"]], ["127.0.0.1"], ["::1"], ["-4", "a"]):
        text, counts, times = pinged(case, "a", "-c", "3", "-i", "0.01", *argv)
        case.same(f"ping {argv}", counts, (3, 3))
        case.check(len(times) == 3 and all(t > 0 for t in times), f"ping {argv}: times {times}\n{text}")
    text = case.run("a", "ping", "-c", "1", "b")
    case.check(f"from b ({HOSTS['b']})" in text, f"the name of who answers: {text}")


def traced(case):
    for argv in (["-4"], ["-6"], ["-I"], ["-6", "-I"], ["-U", "-p", "53"]):
        text = case.run("a", "traceroute", "-w", "2", *argv, "b")
        hops = [line.split() for line in text.splitlines()[1:]]
        case.check(len(hops) == 1 and hops[0][:2] == ["1", "b"] and hops[0].count("ms") == 3, f"traceroute {argv}: {text}")


def nobody(case):
    """A host that is not there: its net says so. The outside cannot be reached."""
    absent = case.run("auto", PYTHON, "-c", "import socket; print(socket.gethostbyname('auto'))").strip().rsplit(".", 1)[0] + ".99"
    text, counts, _ = pinged(case, "auto", "-c", "2", "-i", "0.01", absent, status=1)
    case.same("ping of nobody", counts, (2, 0))
    case.same("what it is told", text.count("Destination Host Unreachable"), 2)
    for argv in ([], ["-I"]):
        text = case.run("auto", "traceroute", "-n", "-q", "1", "-m", "2", "-w", "1", *argv, absent)
        case.check("!H" in text, f"traceroute {argv} of nobody: {text}")
    text, _, _ = pinged(case, "a", "-c", "1", "192.0.2.1", status=2)
    case.check("unreachable" in text, f"ping of the outside: {text}")


def large_and_many(case):
    _, counts, _ = pinged(case, "a", "-c", "2", "-i", "0.01", "-s", "60000", "b")
    case.same("ping of 60000 bytes", counts, (2, 2))
    _, counts, _ = pinged(case, "a", "-q", "-f", "-c", "1000", "b")
    case.same("a flood", counts, (1000, 1000))


def without_privilege(case):
    """As somebody who may do nothing: a ping that has capabilities runs without them."""
    if os.getuid() != 0:
        return
    # What that user can read: the library and the command may lie in a folder that only root enters.
    script = (
        "set -e; d=$(mktemp -d); cp \"$1\" $d/landline; cp \"$2\" $d/liblandline.so; mkdir $d/net; chmod 755 $d; chown 65534 $d/net;"
        "setpriv --reuid=65534 --regid=65534 --clear-groups env LANDLINE_DIR=$d/net LANDLINE_LIB=$d/liblandline.so"
        " $d/landline run --net ping-user --host x -- ping -n -c 1 127.0.0.1; rm -r $d")
    done = subprocess.run(["sh", "-c", script, "sh", case.command, case.environment["LANDLINE_LIB"]], capture_output=True, text=True, timeout=30, check=False)
    case.check(done.returncode == 0 and "1 received" in done.stdout, f"without privilege: {done.stdout}{done.stderr}")


LISTENER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print("ready", flush=True)
packet, peer = s.recvfrom(2000)
print(peer[0], packet[20], flush=True)
"""


def seen_by_others(case):
    """A raw socket on another host sees the request."""
    listener = case.start("b", PYTHON, "-c", LISTENER)
    case.until("a raw socket listens", lambda: "ready" in listener.text())
    pinged(case, "a", "-c", "1", "b")
    case.until("the request was seen", lambda: f"{HOSTS['a']} 8" in listener.text())


# A datagram to a port that nobody has: what is told of it, and after how many milliseconds.
REFUSED = """
import errno, select, socket, time
def told(connected, queue):
    s = socket.socket(type=socket.SOCK_DGRAM)
    if queue: s.setsockopt(0, 11, 1)
    if connected: s.connect(("b", 9))
    start = time.monotonic()
    s.sendto(b"x", ("b", 9)) if not connected else s.send(b"x")
    p = select.poll(); p.register(s, select.POLLIN)
    bits = p.poll(1000)
    ms = (time.monotonic() - start) * 1000
    return [bits and bits[0][1], errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)), ms]
print([told(True, False), told(True, True), told(False, True)])
"""


def late(case):
    """What was set on a link shows."""
    def fault(*words):
        case.landline("fault", "--net", case.net, *" ".join(words).split())

    fault("set --between a b delay 50ms")
    for argv in (["-4"], ["-6"]):
        _, counts, times = pinged(case, "a", "-c", "3", "-i", "0.02", *argv, "b")
        case.check(counts == (3, 3) and all(99.9 < t < 125 for t in times), f"50 ms each way, ping {argv}: {counts}, {times}")
    for argv in ([], ["-I"]):
        text = case.run("a", "traceroute", "-n", *argv, "b")
        times = [float(t) for t in re.findall(r"([\d.]+) ms", text)]
        case.check(len(times) == 3 and all(99.9 < t < 140 for t in times), f"50 ms each way, traceroute {argv}: {text}")
    for bits, name, ms in ast.literal_eval(case.run("a", PYTHON, "-c", REFUSED)):
        case.check((bits, name) == (select.POLLERR, "ECONNREFUSED") and 99.9 < ms < 140, f"refused after 50 ms each way: {bits}, {name}, {ms}")
    fault("clear")
    fault("set --between a b loss 30% seed 3")
    lost = [pinged(case, "a", "-q", "-c", "60", "-i", "0.002", "b", status=None)[1] for _ in range(2)]
    case.check(all(10 < received < 55 for _, received in lost), f"30 % lost each way: {lost}")
    fault("clear")
    fault("set --from a --to b duplicate 100%")
    text = case.run("a", "ping", "-n", "-c", "2", "-i", "0.05", "b")
    case.check("(DUP!)" in text, f"twice: {text}")
    fault("clear")
    fault("partition a b")
    case.same("a cut", pinged(case, "a", "-c", "2", "-i", "0.02", "-W", "0.2", "b", status=1)[1], (2, 0))
    fault("heal")
    case.same("healed", pinged(case, "a", "-c", "2", "-i", "0.02", "b")[1], (2, 2))
