"""fd3_server.py: takes over the listening socket that was left at descriptor 3 (LISTEN_FDS), and echoes lines."""

import os
import signal
import socket
import threading

assert os.environ["LISTEN_FDS"] == "1" and int(os.environ["LISTEN_PID"]) == os.getpid()
listener = socket.socket(fileno=3)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def serve(connection):
    with connection, connection.makefile("rwb") as file:
        for line in file:
            file.write(line.upper())
            file.flush()


while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
