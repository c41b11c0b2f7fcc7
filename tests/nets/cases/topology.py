"""landline up, net ls, show and rm, ss --net and top: a small topology comes up in order, is seen, and goes without a trace"""

import json
import os
import re
import signal
import time
import xml.etree.ElementTree

from harness import Failure

PYTHON = "/usr/bin/python3"

SERVER = """
import selectors, socket
listener = socket.create_server(("0.0.0.0", 80))
waiting = selectors.DefaultSelector()
waiting.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        if key.fileobj is listener:
            waiting.register(listener.accept()[0], selectors.EVENT_READ)
        elif data := key.fileobj.recv(65536):
            key.fileobj.sendall(data)
        else:
            waiting.unregister(key.fileobj)
            key.fileobj.close()
"""

CLIENT = """
import socket, time
servers = [socket.create_connection((address, 80)) for address in ("10.70.0.5", "10.70.0.6")]
print("connected to both", flush=True)
while True:
    for server in servers:
        server.sendall(b"x" * 100)
        assert server.recv(1000)
    time.sleep(0.01)
"""

TOPOLOGY = f"""
net = "shop"
outside = "deny"
[hosts.db]
address = "10.70.0.5"
[hosts.cache]
address = "10.70.0.6"
[hosts.web]
[[programs]]
name = "web"
command = ["{PYTHON}", "-c", '''{CLIENT}''']
ready = {{ log = "connected to .*", timeout = "20s" }}
after = ["db", "cache", "prepare"]
[[programs]]
name = "db"
command = ["{PYTHON}", "-S", "-c", '''{SERVER}''']
ready = {{ port = 80 }}
[[programs]]
name = "cache"
command = ["{PYTHON}", "-S", "-c", '''{SERVER}''']
ready = {{ command = ["{PYTHON}", "-S", "-c", "import socket; socket.create_connection(('127.0.0.1', 80))"] }}
[[programs]]
name = "prepare"
host = "db"
command = "echo $WHAT of $(hostname); sleep 300 & setsid sleep 301 & exit 0"
env = {{ WHAT = "the shelves" }}
once = true
[[programs]]
name = "shaky"
host = "web"
command = "echo again; exec sleep 0.2"
restart = true
[[links]]
from = "web"
to = "cache"
both-ways = true
delay = "2ms"
[[links]]
from = "db"
to = "any"
rate = "100mbit"
"""


def run(case):
    (case.folder / "shop.toml").write_text(TOPOLOGY)
    up = case.spawn([case.command, "up", "shop.toml", "--json", "--logs", "logs"], "up")
    case.until("all is ready", lambda: '"ready","program":"web"' in up.text() or up.popen.poll() is not None)
    if up.popen.poll() is not None:
        raise Failure(f"up ended with status {up.popen.returncode}: {up.text()}")
    comes_up_in_order(case, up)
    is_seen(case)
    flows(case)
    refusal = case.landline("net", "rm", "shop", status=1)
    case.check("in use by" in refusal and "--force" in refusal, f"net rm says {refusal!r}")
    again = case.landline("up", "shop.toml", status=125)
    case.check("is in it already" in again, f"a second up says {again!r}")
    case.until("a program is started again", lambda: (case.folder / "logs/shaky.log").read_text().count("again") >= 2)
    goes_without_a_trace(case, up)
    ends_as_its_programs_do(case)
    lives_while_it_is_used(case)


def events(up):
    lines = (json.loads(line) for line in up.text().splitlines())
    return [line for line in lines if line["event"] != "output"]


def comes_up_in_order(case, up):
    said = [(event["event"], event.get("program")) for event in events(up)]
    case.check(said[0][0] == "up", f"first comes {said[0]}")
    for before in ("db", "cache", "prepare"):
        case.check(said.index(("ready", before)) < said.index(("started", "web")), f"web is started before {before} is ready: {said}")
    case.same("a log", (case.folder / "logs/prepare.log").read_text().split(" of ")[0], "the shelves")


def is_seen(case):
    (net,) = case.json("net", "ls")
    case.same("net ls", [net[key] for key in ("name", "state", "hosts", "outside")], ["shop", "used", 3, "deny"])
    case.check(net["processes"] >= 4 and net["sockets"] >= 6 and net["memory_bytes"] > 0, f"net ls: {net}")

    net = case.json("net", "show", "shop")
    hosts = {host["name"]: host for host in net["hosts"]}
    case.same("addresses", [hosts[name]["v4"] for name in ("db", "cache")], ["10.70.0.5", "10.70.0.6"])
    for name in ("db", "cache"):
        case.same(f"listeners of {name}", [(one["proto"], one["port"]) for one in hosts[name]["listeners"]], [("tcp", 80)])
        case.check(any("python" in process["program"] for process in hosts[name]["processes"]), f"processes of {name}: {hosts[name]}")
    ends = {(one["from"], one["to"], one["port"]): one for one in net["connections"]}
    case.check({("web", "db", 80), ("web", "cache", 80)} <= set(ends), f"connections: {sorted(ends)}")
    case.check(ends["web", "db", 80]["sent_bytes"] >= 100, f"a connection: {ends['web', 'db', 80]}")
    case.same("faults", [ends["web", name, 80]["faults"] for name in ("cache", "db")], ["delay 2ms", "rate 100mbit \u2190"])
    case.check("web" in case.landline("net", "show"), "net show without a name shows the only one")

    dot = case.landline("net", "show", "shop", "--dot")
    case.check(re.search(r'"web" -> "db" \[label="tcp 80: ', dot) is not None, f"net show --dot: {dot}")
    svg = xml.etree.ElementTree.fromstring(case.landline("net", "show", "shop", "--svg"))
    case.same("boxes of net show --svg", len(svg.findall("{http://www.w3.org/2000/svg}rect")), 3)

    rows = case.json("ss", "--net", "shop")
    connection = [row for row in rows if row["host"] == "web" and row["remote"] == "10.70.0.5:80"]
    case.same("ss, the client's end", [(row["proto"], row["state"], row["remote_host"], row["path"]) for row in connection], [("tcp", "ESTAB", "db", "ring")])
    table = case.landline("ss", "--net", "shop").splitlines()
    case.check("Host" in table[0] and "Remote host" in table[0], f"ss: {table[0]}")


def flows(case):
    sample = case.json("top", "--net", "shop", "--once", "--interval", "500ms")
    pairs = {(pair["from"], pair["to"]): pair for pair in sample["pairs"]}
    case.check({("web", "db"), ("web", "cache")} <= set(pairs), f"top: {sample}")
    pair = pairs["web", "db"]
    case.check(pair["there"]["bytes_per_s"] > 500 and pair["back"]["messages_per_s"] > 5, f"top: {pair}")
    case.same("top's path", pair["path"], "ring")
    case.same("top's faults", pairs["web", "cache"]["faults"], "delay 2ms")
    programs = case.json("top", "--net", "shop", "--once", "--interval", "200ms", "--programs")
    case.check(any(pair["from"].startswith("web:python") for pair in programs["pairs"]), f"top --programs: {programs}")


def processes_of(folder):
    """Live processes that were started in a folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == str(folder):
                found.append((pid, open(f"/proc/{pid}/cmdline").read()))
        except OSError:
            pass
    return found


def goes_without_a_trace(case, up):
    before = time.monotonic()
    os.kill(up.popen.pid, signal.SIGTERM)
    case.same("status of up after SIGTERM", up.popen.wait(10), 128 + signal.SIGTERM)
    case.check(time.monotonic() - before < 3, "up takes long to end its programs")
    case.same("processes left", processes_of(case.folder), [])
    case.same("nets left", os.listdir(case.shm), [])


def up(case, programs, *options, status):
    """Brings up a net of one host; returns what was said."""
    text = "[hosts.h]\n" + "".join(f'[[programs]]\nname = "p{i}"\nhost = "h"\n{program}\n' for i, program in enumerate(programs))
    (case.folder / "small.toml").write_text(text)
    said = case.landline("up", "small.toml", *options, status=status)
    case.same("nets left", os.listdir(case.shm), [])
    case.same("processes left", processes_of(case.folder), [])
    return said


def ends_as_its_programs_do(case):
    forever = 'command = "exec sleep 300"'
    up(case, [forever, 'command = "sleep 0.1; exit 7"'], status=7)
    up(case, [forever, 'command = "kill -9 $$"'], status=137)
    up(case, [forever, 'command = "exit 0"\nonce = true', 'command = "exit 3"\nonce = true\nafter = ["p1"]'], status=3)
    up(case, ['command = "exit 0"\nonce = true'] * 3, status=0)
    up(case, [forever, 'command = "exit 5"\nonce = true'], "--until-exit", "p1", status=5)
    up(case, [forever], "--for", "0.2", status=0)
    # Deaf to the friendly signal: what it started itself is not.
    up(case, ["command = \"trap '' TERM; sleep 300 & wait; wait\""], "--for", "200ms", status=0)
    said = up(case, [forever + '\nready = { port = 1, timeout = "300ms" }', forever + '\nafter = ["p0"]'], status=1)
    case.check("p0 is not ready after 300ms" in said, f"a program that is never ready: {said}")
    said = up(case, [forever, 'command = ["no-such-program"]'], status=127)
    case.check("no-such-program" in said, f"a program that is not there: {said}")
    said = up(case, ['command = "x"\nafter = ["p1"]', 'command = "x"\nafter = ["p0"]'], status=125)
    case.check("after itself" in said, f"programs that wait for one another: {said}")

    (case.folder / "small.toml").write_text('[hosts.h]\n[[programs]]\nname = "p"\nhost = "h"\ncommand = "exit 0"\nonce = true\n')
    case.landline("up", "small.toml", "--keep")
    case.same("a net that was kept", [(net["name"], net["state"]) for net in case.json("net", "ls")], [("small", "kept")])
    case.landline("net", "rm", "small")
    case.same("nets left", os.listdir(case.shm), [])


def lives_while_it_is_used(case):
    bound = "import socket; s = socket.create_server(('0.0.0.0', 80)); "
    case.run("h", PYTHON, "-c", bound)
    case.same("the net of a program that has ended", os.listdir(case.shm), [])

    # The child of one that has ended has the socket, and has not called the library yet.
    case.run("h", PYTHON, "-c", bound + "import os, time; os.fork() or (os.close(1), os.close(2), time.sleep(1.5))", seconds=10)
    case.same("the net of a child", [net["state"] for net in case.json("net", "ls")], ["used"])
    case.check(case.try_run("h", PYTHON, "-c", "import socket; socket.create_connection(('127.0.0.1', 80))"), "the child's socket is not found")
    case.until("the net goes with its last user", lambda: not case.json("net", "ls"))

    killed = case.start("h", PYTHON, "-c", bound + "print('up', flush=True); import time; time.sleep(300)")
    case.until("it has a socket", lambda: "up" in killed.text())
    case.landline("net", "rm", case.net, status=1)
    case.stop(killed, signal.SIGKILL)
    case.same("the net of a program that was killed", [net["state"] for net in case.json("net", "ls")], ["removed"])
    case.same("nets left", os.listdir(case.shm), [])

    one = case.start("h", "sleep", "300")
    case.until("it is started", lambda: case.json("net", "ls"))
    case.landline("net", "rm", case.net, "--force")
    case.same("nets left", os.listdir(case.shm), [])
    case.stop(one)
