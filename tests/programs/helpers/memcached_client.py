"""memcached_client.py PORT|PATH CONNECTIONS: values of all sizes, pipelines and many connections, all checked."""

import hashlib
import random
import socket
import sys
import threading

SIZES = [0, 1, 100, 1400, 65535, 65536, 1_000_003, 5_000_000]


class Client:
    def __init__(self, where):
        if where.isdigit():
            self.socket = socket.create_connection(("127.0.0.1", int(where)), timeout=20)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(20)
            self.socket.connect(where)
        self.file = self.socket.makefile("rb")

    def line(self):
        return self.file.readline().rstrip(b"\r\n")

    def ask(self, command):
        self.socket.sendall(command + b"\r\n")
        return self.line()

    def set(self, key, value):
        self.socket.sendall(b"set %s 7 0 %d\r\n%s\r\n" % (key, len(value), value))
        return self.line()

    def get(self, *keys):
        self.socket.sendall(b"get %s\r\n" % b" ".join(keys))
        found = {}
        while (line := self.line()) != b"END":
            _, key, flags, size = line.split()
            assert flags == b"7", line
            found[key] = self.file.read(int(size))
            assert self.file.read(2) == b"\r\n", "a value without its end"
        return found


def one_of_many(where, number, failures):
    try:
        client, numbers = Client(where), random.Random(number)
        for turn in range(10):
            key, value = b"many:%d:%d" % (number, turn), numbers.randbytes(numbers.randint(0, 3000))
            assert client.set(key, value) == b"STORED"
            assert client.get(key) == {key: value}, "another value came back"
    except Exception as error:  # noqa: BLE001 - told by the main thread
        failures.append(f"connection {number}: {error!r}")


def main():
    where, connections = sys.argv[1], int(sys.argv[2])
    client = Client(where)
    print(client.ask(b"version").split()[0].decode())
    values = {b"size:%d" % size: random.Random(size).randbytes(size) for size in SIZES}
    for key, value in values.items():
        print(key.decode(), client.set(key, value).decode())
    for key, value in values.items():
        assert client.get(key) == {key: value}, f"{key}: another value came back"
    assert client.get(*values) == values, "another set of values came back"
    print(hashlib.sha256(b"".join(client.get(*values).values())).hexdigest())

    client.socket.sendall(b"".join(b"set p%d 7 0 3\r\nabc\r\n" % n for n in range(5000)))
    print("pipeline", sum(client.line() == b"STORED" for _ in range(5000)))
    print(client.set(b"n", b"1").decode(), [client.ask(b"incr n 1").decode() for _ in range(5)])
    print(client.ask(b"delete n").decode(), client.get(b"n"), client.ask(b"nonsense").decode())

    failures = []
    threads = [threading.Thread(target=one_of_many, args=(where, n, failures)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("many", connections, failures)
    sys.exit(bool(failures))


main()
