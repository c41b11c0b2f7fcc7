"""multiprocessing_server.py PATH: a Listener that echoes objects, takes over connections and files that are passed to
it, and works with processes of its own, forked, spawned and from a fork server."""

import hashlib
import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing import reduction
from multiprocessing.connection import Listener

KEY = b"a common secret"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def child(connection):
    """Sums what comes by the connection until None."""
    while (data := connection.recv()) is not None:
        connection.send((len(data), digest(data)))
    connection.close()


def children(method):
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    process.start()
    theirs.close()
    answers = []
    for size in (0, 1, 70_000, 3_000_000):
        ours.send(bytes(size))
        answers.append(ours.recv())
    ours.send(None)
    process.join()
    pool = context.Pool(3)
    sums = pool.map(digest, [bytes([n % 256]) * n for n in range(0, 40_000, 400)])
    pool.close()  # not terminate, as at the end of `with`: on a busy machine that hangs now and then, without the library
    pool.join()
    return method, answers, digest("".join(sums).encode()), process.exitcode


def managed():
    with multiprocessing.get_context("forkserver").Manager() as manager:
        values, lock = manager.dict(), manager.Lock()
        for n in range(100):
            with lock:
                values[n] = "v" * n
        return sum(len(value) for value in values.values())


def serve(connection):
    while True:
        what, value = connection.recv()
        if what == "echo":
            connection.send(value)
        elif what == "file":
            with os.fdopen(reduction.recv_handle(connection), "rb") as file:
                connection.send(digest(file.read()))
        elif what == "socket":
            with socket.socket(fileno=reduction.recv_handle(connection)) as passed:
                connection.send((passed.family.name, passed.type.name))
                while data := passed.recv(65536):
                    passed.sendall(data.swapcase())
            connection.send("end")
        elif what == "connection":  # pickled: the sender's process serves the descriptor at a socket of its own
            value.send_bytes(b"from the other end " * 10_000)
            connection.send(digest(value.recv_bytes()))
            value.close()
        elif what == "children":
            connection.send(children(value))
        elif what == "managed":
            connection.send(managed())
        elif what == "leave":
            connection.send("bye")
            return


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    multiprocessing.current_process().authkey = KEY
    with Listener(sys.argv[1], "AF_UNIX", backlog=16, authkey=KEY) as listener:
        while True:
            try:
                connection = listener.accept()
            except multiprocessing.AuthenticationError:
                continue
            with connection:
                serve(connection)


if __name__ == "__main__":
    main()
