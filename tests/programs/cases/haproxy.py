"""haproxy in front of two servers, by HTTP and by plain TCP"""

from collections import Counter

from harness import http
from harness.case import sha

NEEDS = ["haproxy", "curl", "ab"]
SIZES = [0, 1, 1000, 100_000, 5_000_000]


def run(case):
    http_port, tcp_port = case.port(), case.port()
    backends = {name: case.port() for name in ("one", "two")}
    started = [http.backend(case, port, name, SIZES) for name, port in backends.items()]
    servers = "\n".join(f"  server {name} 127.0.0.1:{port} check inter 200" for name, port in backends.items())
    configuration = case.write("haproxy.cfg", CONFIGURATION.format(servers=servers, http=http_port, tcp=tcp_port))
    server = case.server("haproxy", "-db", "-f", configuration, ready=tcp_port)

    for what, port in (("http", http_port), ("tcp", tcp_port)):
        at = f"http://127.0.0.1:{port}"
        answers = Counter(case.run("curl", "-sS", f"{at}/name") for _ in range(10))
        case.record(f"{what}: who answers", dict(answers))
        with case.ring(f"{what}: files", 1_000_000):
            for size in SIZES:
                http.fetch(case, f"{at}/{size}", case.suite.data(size))
        several = case.run("curl", "-sS", *[f"{at}/{size}" for size in SIZES[:4] * 3])
        case.record(f"{what}: several in one connection", sha(several))
        # The backend does not tell ab that the connection stays open; haproxy does, where it speaks HTTP.
        with case.ring(f"{what}: ab", 1):
            http.ab(case, f"{at}/1000", 500, 10, *(["-k"] if what == "http" else []))
    case.idle(server, "haproxy")
    case.stop(server, status=None)
    for backend in started:
        case.stop(backend)


CONFIGURATION = """
global
  nbthread 2
  maxconn 500
defaults
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend web
  mode http
  bind 127.0.0.1:{http}
  default_backend web
backend web
  mode http
  balance roundrobin
{servers}
listen raw
  mode tcp
  bind 127.0.0.1:{tcp}
  balance roundrobin
{servers}
"""
