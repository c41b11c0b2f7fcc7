"""http_backend.py PORT|PATH FOLDER: serves the folder by HTTP/1.1 with connections that stay open; ends on SIGTERM."""

import functools
import http.server
import signal
import socket
import socketserver
import sys


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


class UnixServer(Server):
    address_family = socket.AF_UNIX

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # HTTPServer's takes the address for a host and a port
        self.server_name, self.server_port = "localhost", 80

    def get_request(self):
        return super().get_request()[0], ("unix", 0)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
handler = functools.partial(Handler, directory=sys.argv[2])
if sys.argv[1].isdigit():
    Server(("127.0.0.1", int(sys.argv[1])), handler).serve_forever()
else:
    UnixServer(sys.argv[1], handler).serve_forever()
