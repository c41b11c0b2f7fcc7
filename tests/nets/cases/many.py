"""200 hosts with a server and a client each: up, every pair of a random sample talks, down, in under 20 seconds"""

import os
import random
import time

HOSTS = int(os.environ.get("NETS_HOSTS", "200"))
PEERS = 8
PYTHON = "/usr/bin/python3"

# Without the parts of the library that take longest to load: four hundred times that counts.
SERVER = """
import _socket
listener = _socket.socket()
listener.bind(('0.0.0.0', 80))
listener.listen(200)
while True:
    client = _socket.socket(fileno=listener._accept()[0])
    while data := client.recv(100):
        client.send(data)
    client.close()
"""

CLIENT = """
import _socket, sys
for address in sys.argv[1:]:
    server = _socket.socket()
    server.connect((address, 80))
    for word in (b'one', b'two', b'three'):
        server.send(word)
        assert server.recv(100) == word
    server.close()
print('talked to', len(sys.argv) - 1)
"""


def address(host):
    return f"10.80.{host // 200}.{host % 200 + 1}"


def run(case):
    chance = random.Random(5)
    lines = ['net = "many"']
    for host in range(HOSTS):
        lines.append(f'[hosts.h{host}]\naddress = "{address(host)}"')
    (case.folder / "server.py").write_text(SERVER)
    (case.folder / "client.py").write_text(CLIENT)
    for host in range(HOSTS):
        peers = chance.sample(range(HOSTS), PEERS)
        to = ", ".join(f'"{address(peer)}"' for peer in peers)
        after = ", ".join(f'"s{peer}"' for peer in peers)
        lines.append(f"""
[[programs]]
name = "s{host}"
host = "h{host}"
command = ["{PYTHON}", "-S", "-E", "server.py"]
ready = {{ port = 80 }}
[[programs]]
name = "c{host}"
host = "h{host}"
command = ["{PYTHON}", "-S", "-E", "client.py", {to}]
after = [{after}]
once = true
""")
    clients = ", ".join(f'"c{host}"' for host in range(HOSTS))
    lines.append(f'[[programs]]\nname = "done"\nhost = "h0"\ncommand = ["true"]\nafter = [{clients}]\nonce = true\n')
    (case.folder / "many.toml").write_text("\n".join(lines))
    before = time.monotonic()
    case.landline("up", "many.toml", "--quiet", "--logs", "logs", "--until-exit", "done", seconds=60)
    took = time.monotonic() - before
    case.check(took < 20, f"it took {took:.1f} s")
    silent = [host for host in range(HOSTS) if f"talked to {PEERS}" not in (case.folder / f"logs/c{host}.log").read_text()]
    case.same("clients that did not talk to all", silent, [])
    case.same("nets left", os.listdir(case.shm), [])
