"""echo_checker.py PORT FILE: exchanges with an echo server, checking all, until the file exists; then says so.

Small messages one by one, and now and then a large one that comes back while it is sent.
"""

import os
import random
import socket
import sys
import threading

port, file = int(sys.argv[1]), sys.argv[2]
numbers, rounds = random.Random(port), 0
large = numbers.randbytes(300_000)


def exactly(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more, "the end came early"
        data += more
    return data


with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
    while not os.path.exists(file):
        message = numbers.randbytes(numbers.randint(1, 3000))
        connection.sendall(message)
        assert exactly(connection, len(message)) == message, "another message came back"
        if rounds % 200 == 0:
            sender = threading.Thread(target=connection.sendall, args=(large,))
            sender.start()
            assert exactly(connection, len(large)) == large, "other bytes came back"
            sender.join()
        rounds += 1
        if rounds == 20:
            print("begun", flush=True)
assert rounds > 20
print("all came back")
