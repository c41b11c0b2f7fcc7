"""multiprocessing_client.py PATH FILE: asks everything of multiprocessing_server.py and prints the answers."""

import hashlib
import multiprocessing
import os
import random
import socket
import sys
import threading
from multiprocessing import reduction
from multiprocessing.connection import Client

KEY = b"a common secret"
LARGE = 3_000_000


def digest(data):
    return hashlib.sha256(data).hexdigest()


def main():
    path, name = sys.argv[1:]
    multiprocessing.current_process().authkey = KEY
    server = int(open(name + ".pid").read())

    def ask(what, value=None):
        connection.send((what, value))
        return connection.recv()

    try:
        Client(path, "AF_UNIX", authkey=b"another")
    except multiprocessing.AuthenticationError as error:
        print(error)
    with Client(path, "AF_UNIX", authkey=KEY) as connection:
        for size in (0, 1, 16_384, 70_000, LARGE):
            data = random.Random(size).randbytes(size)
            assert ask("echo", data) == data, f"{size} bytes came back changed"
        print(ask("echo", {"a": [1, 2.5, None], "b": "text"}))

        with open(name, "rb") as file:
            connection.send(("file", None))
            reduction.send_handle(connection, file.fileno(), server)
            theirs = connection.recv()
            file.seek(0)  # the place in the file is common to both
            assert theirs == digest(file.read()), "another file arrived"

        for make in (socket.socketpair, connected_pair):
            ours, theirs = make()
            connection.send(("socket", None))
            reduction.send_handle(connection, theirs.fileno(), server)
            theirs.close()
            print(connection.recv())
            data = b"abc" * (LARGE // 3)
            sending = threading.Thread(target=lambda: (ours.sendall(data), ours.shutdown(socket.SHUT_WR)))
            sending.start()
            back = b"".join(iter(lambda: ours.recv(65536), b""))
            sending.join()
            assert back == data.swapcase(), "a passed socket gave something else"
            print(connection.recv())

        ours, theirs = multiprocessing.Pipe()
        connection.send(("connection", theirs))
        got = ours.recv_bytes()
        ours.send_bytes(got)
        print(connection.recv() == digest(got), digest(got))

        for method in ("fork", "spawn", "forkserver"):
            print(ask("children", method))
        print(ask("managed"), ask("leave"))


def connected_pair():
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


main()
