"""two nets of one name in two folders, two nets in one folder, and two hosts of one net: the same ports, and nobody meets"""

import os
import signal

SERVER = """
import socket, sys
s = socket.create_server(("", 80)); u = socket.socket(type=socket.SOCK_DGRAM); u.bind(("", 80)); print("ready", flush=True)
while True:
    c, _ = s.accept(); c.sendall(sys.argv[1].encode()); c.close()
"""
CLIENT = """
import socket, sys
try: print(socket.create_connection((sys.argv[1], 80), 2).recv(100).decode())
except OSError as e: print(e.errno)
"""
PYTHON = "/usr/bin/python3"
REFUSED, UNREACHABLE, NO_HOST = "111", "101", "113"


def run(case):
    other = case.shm / "other"
    other.mkdir()
    elsewhere = {"LANDLINE_DIR": str(other)}
    places = {"here": ("a", {}), "another net": ("b", {}), "another folder": ("a", elsewhere)}
    for what, (net, env) in places.items():
        for host in ("one=10.1.0.1", "two=10.1.0.2"):
            server = case.start(host, PYTHON, "-c", SERVER, f"{host[:3]} {what}", net=net, env=env)
            case.until("it is ready", lambda: "ready" in server.text())

    def ask(host, to, net, env):
        return case.execute(case.on(host, PYTHON, "-c", CLIENT, to, net=net), 0, 10, None, env).strip()

    for what, (net, env) in places.items():
        for host, to in (("one", "10.1.0.1"), ("two", "10.1.0.1"), ("one", "10.1.0.2"), ("two", "127.0.0.1"), ("one", "localhost")):
            whom = {"10.1.0.1": "one", "10.1.0.2": "two"}.get(to, host)
            case.same(f"{what}: {host} asks {to}", ask(host, to, net, env), f"{whom} {what}")
        case.same(f"{what}: a host without a server", ask("three", "127.0.0.1", net, env), REFUSED)
        case.same(f"{what}: an address outside", ask("one", "192.0.2.1", net, env), UNREACHABLE)
    # Nothing of it is to be seen on the machine's own network.
    case.same("the machine's own port 80", case.execute([PYTHON, "-c", CLIENT, "127.0.0.1"], 0, 10, None, None).strip(), REFUSED)
    refused = case.run("one", PYTHON, "-c", "import socket; socket.create_server(('', 80))", net="a", status=1)
    case.check("Address already in use" in refused, refused)
    refused = case.run("one", PYTHON, "-c", "import socket; socket.create_server(('10.1.0.2', 81))", net="a", status=1)
    case.check("Cannot assign requested address" in refused, refused)
    # A net goes with its last program, used or not, and what a crash leaves of one is not taken over.
    left = lambda net: [name for name in os.listdir(case.shm) if name.endswith(f"@{net}")]
    case.run("one", "true", net="gone")
    case.same("a net that was not used", left("gone"), [])
    crashed = case.start("one=10.1.0.1", PYTHON, "-c", SERVER, "crashed", net="old")
    case.until("it is ready", lambda: "ready" in crashed.text())
    case.landline("--net", "old", "fault", "set", "connect", "refuse")
    os.kill(crashed.popen.pid, signal.SIGKILL)
    crashed.popen.wait(10)
    server = case.start("two=10.1.0.1", PYTHON, "-c", SERVER, "two", net="old")
    case.until("it is ready", lambda: "ready" in server.text())
    case.same("the next net of that name", case.run("three", PYTHON, "-c", CLIENT, "10.1.0.1", net="old").strip(), "two")
