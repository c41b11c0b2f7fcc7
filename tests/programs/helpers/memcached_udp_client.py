"""memcached_udp_client.py PORT: memcached's datagrams: values, answers of several datagrams, clients at once.

Each datagram begins with the number of the request, of the datagram in the answer, and how many those are.
"""

import hashlib
import random
import socket
import struct
import sys
import threading

SIZES = [0, 1, 100, 1300]
LARGE = 50_000  # an answer of some 36 datagrams


class Client:
    def __init__(self, port, first=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self.number = first

    def send(self, command):
        self.number = (self.number + 1) % 65536
        self.socket.send(struct.pack(">HHHH", self.number, 0, 1, 0) + command)
        return self.number

    def answer(self, number):
        parts, count = {}, 1
        while len(parts) < count:
            data = self.socket.recv(65536)
            request, part, count, _ = struct.unpack(">HHHH", data[:8])
            assert request == number, f"an answer to {request}, not to {number}"
            assert part not in parts, f"part {part} twice"
            parts[part] = data[8:]
        assert sorted(parts) == list(parts), f"parts in the order {list(parts)}"
        return b"".join(parts[part] for part in sorted(parts))

    def ask(self, command):
        return self.answer(self.send(command))

    def get(self, key):
        head, _, rest = self.ask(b"get %s\r\n" % key).partition(b"\r\n")
        if head == b"END":
            return None
        size = int(head.split()[3])
        assert rest[size:] == b"\r\nEND\r\n", "a value without its end"
        return rest[:size]


def one_of_many(port, number, failures):
    try:
        client, numbers = Client(port, number * 500), random.Random(number)
        for turn in range(50):
            key, value = b"many:%d:%d" % (number, turn), numbers.randbytes(numbers.randint(0, 1300))
            assert client.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)) == b"STORED\r\n"
            assert client.get(key) == value, "another value came back"
    except Exception as error:  # noqa: BLE001 - told by the main thread
        failures.append(f"client {number}: {error!r}")


def main():
    port = int(sys.argv[1])
    client = Client(port)
    for size in SIZES:
        value = random.Random(size).randbytes(size)
        print(size, client.ask(b"set size:%d 0 0 %d\r\n%s\r\n" % (size, size, value)).strip().decode())
        assert client.get(b"size:%d" % size) == value, f"{size}: another value came back"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as tcp:  # a large value must be set by TCP
        large = random.Random(LARGE).randbytes(LARGE)
        tcp.sendall(b"set large 0 0 %d\r\n%s\r\n" % (LARGE, large))
        print("large", tcp.recv(100).strip().decode())
    for _ in range(20):
        assert client.get(b"large") == large, "another large value came back"
    print("large", hashlib.sha256(large).hexdigest(), client.get(b"absent"), client.ask(b"nonsense\r\n"))

    client.ask(b"set n 0 0 1\r\n0\r\n")
    for _ in range(50):  # requests on the way at once, fewer than the server's buffer holds
        numbers = [client.send(b"incr n 1\r\n") for _ in range(20)]
        waiting = set(numbers)
        while waiting:
            data = client.socket.recv(65536)
            waiting.remove(struct.unpack(">H", data[:2])[0])
    print("n", client.get(b"n"))

    failures = []
    threads = [threading.Thread(target=one_of_many, args=(port, n, failures)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("many", failures)
    sys.exit(bool(failures))


main()
